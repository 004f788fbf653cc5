"""Vision transformers: torchvision's network with the weights of torchvision, DINO or CLIP.

DINO (Caron et al. 2021, arXiv 2104.14294) has torchvision's architecture under other names, so its tensors only need to
be renamed. The image tower of CLIP (Radford et al. 2021, arXiv 2103.00020) differs in five places, each of which
:func:`make` marks. Weights of CLIP and DINO are files of your own: nothing is downloaded.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ltlib.errors import InputError

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

SIDE = 224  # pixels of the training images of all networks below
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation, as DINO normalises
OF_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Shape(NamedTuple):
    """The size of a vision transformer."""

    patch: int  #: side of a patch in pixels
    layers: int
    heads: int
    width: int  #: of the features inside
    projected: int = 0  #: of the features that leave CLIP's network; 0 is DINO, which projects none


# Networks without weights in torchvision. vit_b_16, vit_b_32 and vit_l_16 are torchvision's, and take DINO's files too.
SHAPES = {
    "vit_s_8": Shape(8, 12, 6, 384),
    "vit_s_16": Shape(16, 12, 6, 384),
    "vit_b_8": Shape(8, 12, 12, 768),
    "clip_vit_b_32": Shape(32, 12, 12, 768, 512),
    "clip_vit_b_16": Shape(16, 12, 12, 768, 512),
    "clip_vit_l_14": Shape(14, 24, 16, 1024, 768),
}

# The beginnings of their names -> ours, outside the blocks and inside.
OUTSIDE = {
    # DINO and timm
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj.": "conv_proj.",
    "norm.": "encoder.ln.",
    # CLIP
    "class_embedding": "class_token",
    "positional_embedding": "encoder.pos_embedding",
    "conv1.": "conv_proj.",
    "ln_pre.": "encoder.dropout.",
    "ln_post.": "encoder.ln.",
    "proj": "heads.head.weight",
}
BLOCK = re.compile(r"(?:transformer\.res)?blocks\.(\d+)\.(.+)")
INSIDE = {
    # DINO and timm
    "norm1.": "ln_1.",
    "norm2.": "ln_2.",
    "attn.qkv.": "self_attention.in_proj_",
    "attn.proj.": "self_attention.out_proj.",
    "mlp.fc1.": "mlp.0.",
    "mlp.fc2.": "mlp.3.",
    # CLIP
    "ln_1.": "ln_1.",
    "ln_2.": "ln_2.",
    "attn.in_proj_": "self_attention.in_proj_",
    "attn.out_proj.": "self_attention.out_proj.",
    "mlp.c_fc.": "mlp.0.",
    "mlp.c_proj.": "mlp.3.",
}
NOT_USED = ("head", "fc.")  # classifiers and the projection heads of DINO's training


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), as OpenAI trained CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def make(shape: Shape, side: int) -> VisionTransformer:
    """The network with random weights: normalised images (B, 3, side, side) -> features (B, D) of the class token.

    Args:
        shape: of DINO or CLIP.
        side: in pixels, a multiple of the patch.
    """
    from torchvision.models import VisionTransformer  # takes a second to import

    clip = bool(shape.projected)
    network = VisionTransformer(
        image_size=side,
        patch_size=shape.patch,
        num_layers=shape.layers,
        num_heads=shape.heads,
        hidden_dim=shape.width,
        mlp_dim=4 * shape.width,
        norm_layer=partial(nn.LayerNorm, eps=1e-5 if clip else 1e-6),  # 1. CLIP has PyTorch's eps
    )
    network.heads = nn.Sequential()
    if clip:
        network.heads.add_module("head", nn.Linear(shape.width, shape.projected, bias=False))  # 2. a projection
        # 3. One more LayerNorm between the position embedding and the first block, where torchvision has its dropout.
        network.encoder.dropout = nn.LayerNorm(shape.width)  # pyright: ignore[reportAttributeAccessIssue]
        for block in network.encoder.layers:
            block.get_submodule("mlp").register_module("1", QuickGELU())  # 4. in place of GELU
    return network


def renamed(weights: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """A checkpoint under torchvision's names: DINO's and timm's, or CLIP's with or without its text tower.

    Args:
        weights: name -> tensor. Names that are torchvision's already stay.
        file: as the user named it.

    Raises:
        InputError: it holds a tensor of another architecture, such as the scales of DINOv2.
    """
    if "conv_proj.weight" in weights:
        return dict(weights)
    tower = {name.removeprefix("visual."): t for name, t in weights.items() if name.startswith("visual.")} or weights
    found: dict[str, Tensor] = {}
    for name, tensor in tower.items():
        if name.startswith(NOT_USED):
            continue
        block = BLOCK.fullmatch(name)
        where, rest, names = (
            (f"encoder.layers.encoder_layer_{block[1]}.", block[2], INSIDE) if block else ("", name, OUTSIDE)
        )
        theirs = next((begin for begin in names if rest.startswith(begin)), None)
        if theirs is None:
            raise InputError(
                f"features_file={file} holds {name}, which is no part of DINO's or CLIP's vision transformer: name a "
                f"checkpoint of one of them."
            )
        found[where + names[theirs] + rest.removeprefix(theirs)] = tensor.float()
    return _shaped(found)


def _shaped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's tensors in the shapes of torchvision; DINO's have them."""
    for name in ("class_token", "encoder.pos_embedding"):
        if name in weights:
            weights[name] = weights[name].reshape(1, -1, weights[name].shape[-1])
    if "heads.head.weight" in weights:
        weights["heads.head.weight"] = weights["heads.head.weight"].T
    if "conv_proj.weight" in weights and "conv_proj.bias" not in weights:  # 5. CLIP's first layer has no bias
        weights["conv_proj.bias"] = torch.zeros(len(weights["conv_proj.weight"]))
    return weights


def resized(weights: dict[str, Tensor], side: int, patch: int) -> dict[str, Tensor]:
    """The same weights for images of another side: the position embedding is interpolated (bicubic), as DINO does.

    Args:
        weights: under torchvision's names.
        side: in pixels.
        patch: side of a patch in pixels.
    """
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(interpolate_embeddings(side, patch, weights))  # pyright: ignore[reportArgumentType]
