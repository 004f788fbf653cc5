"""Files of DINO and CLIP: their names, their shapes, and the features of networks written out by their papers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.models import vision_transformer
from ltlib.models.features import extractor
from ltlib.models.vision_transformer import SHAPES, Shape, make, renamed


def dino(shape: Shape, side: int) -> dict[str, torch.Size]:
    """The tensors of a released checkpoint of DINO."""
    d, sizes = shape.width, {}
    sizes |= {"cls_token": (1, 1, d), "pos_embed": (1, (side // shape.patch) ** 2 + 1, d)}
    sizes |= {"patch_embed.proj.weight": (d, 3, shape.patch, shape.patch), "patch_embed.proj.bias": (d,)}
    for b in range(shape.layers):
        for name, out, into in (
            ("attn.qkv", 3 * d, d),
            ("attn.proj", d, d),
            ("mlp.fc1", 4 * d, d),
            ("mlp.fc2", d, 4 * d),
        ):
            sizes |= {f"blocks.{b}.{name}.weight": (out, into), f"blocks.{b}.{name}.bias": (out,)}
        for name in ("norm1", "norm2"):
            sizes |= {f"blocks.{b}.{name}.weight": (d,), f"blocks.{b}.{name}.bias": (d,)}
    return sizes | {"norm.weight": (d,), "norm.bias": (d,)}


def clip(shape: Shape, side: int) -> dict[str, torch.Size]:
    """The tensors of the image tower in a state dict of OpenAI's CLIP."""
    d, sizes = shape.width, {}
    sizes |= {"class_embedding": (d,), "positional_embedding": ((side // shape.patch) ** 2 + 1, d)}
    sizes |= {"proj": (d, shape.projected), "conv1.weight": (d, 3, shape.patch, shape.patch)}
    for name in ("ln_pre", "ln_post"):
        sizes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
    for b in range(shape.layers):
        at = f"transformer.resblocks.{b}"
        sizes |= {f"{at}.attn.in_proj_weight": (3 * d, d), f"{at}.attn.in_proj_bias": (3 * d,)}
        for name, out, into in (("attn.out_proj", d, d), ("mlp.c_fc", 4 * d, d), ("mlp.c_proj", d, 4 * d)):
            sizes |= {f"{at}.{name}.weight": (out, into), f"{at}.{name}.bias": (out,)}
        for name in ("ln_1", "ln_2"):
            sizes |= {f"{at}.{name}.weight": (d,), f"{at}.{name}.bias": (d,)}
    return {f"visual.{name}": size for name, size in sizes.items()}


def drawn(sizes: dict) -> dict[str, torch.Tensor]:
    """Random weights; the matrices are small enough that no layer saturates."""
    torch.manual_seed(0)
    return {name: torch.randn(size) * (0.3 if len(size) == 1 else 0.1) for name, size in sizes.items()}


def attention(x: torch.Tensor, heads: int, qkv: tuple, out: tuple) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v for each head, written out."""
    b, n, d = x.shape
    q, k, v = F.linear(x, *qkv).reshape(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) / (d // heads) ** 0.5).softmax(-1)
    return F.linear((weights @ v).transpose(1, 2).reshape(b, n, d), *out)


def features_of_dino(w: dict, shape: Shape, x: torch.Tensor) -> torch.Tensor:
    """``VisionTransformer.forward`` of DINO's code, from its own tensors."""

    def pair(name):
        return w[f"{name}.weight"], w[f"{name}.bias"]

    d = (shape.width,)
    patches = F.conv2d(x, *pair("patch_embed.proj"), stride=shape.patch).flatten(2).transpose(1, 2)
    h = torch.cat([w["cls_token"].expand(len(x), -1, -1), patches], 1) + w["pos_embed"]
    for b in range(shape.layers):
        at = f"blocks.{b}"
        inner = F.layer_norm(h, d, *pair(f"{at}.norm1"), eps=1e-6)
        h = h + attention(inner, shape.heads, pair(f"{at}.attn.qkv"), pair(f"{at}.attn.proj"))
        inner = F.layer_norm(h, d, *pair(f"{at}.norm2"), eps=1e-6)
        h = h + F.linear(F.gelu(F.linear(inner, *pair(f"{at}.mlp.fc1"))), *pair(f"{at}.mlp.fc2"))
    return F.layer_norm(h, d, *pair("norm"), eps=1e-6)[:, 0]


def features_of_clip(w: dict, shape: Shape, x: torch.Tensor) -> torch.Tensor:
    """``VisionTransformer.forward`` of CLIP's code, from its own tensors."""

    def pair(name):
        return w[f"visual.{name}.weight"], w[f"visual.{name}.bias"]

    d = (shape.width,)
    patches = F.conv2d(x, w["visual.conv1.weight"], stride=shape.patch).flatten(2).transpose(1, 2)
    first = w["visual.class_embedding"].expand(len(x), 1, -1)
    h = torch.cat([first, patches], 1) + w["visual.positional_embedding"]
    h = F.layer_norm(h, d, *pair("ln_pre"))
    for b in range(shape.layers):
        at = f"transformer.resblocks.{b}"
        qkv = w[f"visual.{at}.attn.in_proj_weight"], w[f"visual.{at}.attn.in_proj_bias"]
        h = h + attention(F.layer_norm(h, d, *pair(f"{at}.ln_1")), shape.heads, qkv, pair(f"{at}.attn.out_proj"))
        wide = F.linear(F.layer_norm(h, d, *pair(f"{at}.ln_2")), *pair(f"{at}.mlp.c_fc"))
        h = h + F.linear(wide * torch.sigmoid(1.702 * wide), *pair(f"{at}.mlp.c_proj"))
    return F.layer_norm(h[:, 0], d, *pair("ln_post")) @ w["visual.proj"]


SMALL = {
    "small_vit": (Shape(8, 2, 2, 16), dino, features_of_dino),
    "small_clip": (Shape(8, 2, 2, 16, 12), clip, features_of_clip),
}


@pytest.fixture
def small(monkeypatch):
    for name, (shape, _, _) in SMALL.items():
        monkeypatch.setitem(SHAPES, name, shape)
    monkeypatch.setattr(vision_transformer, "SIDE", 32)


@pytest.mark.parametrize("name", SHAPES)
def test_released_files_have_exactly_the_tensors_of_our_network(name):
    shape = SHAPES[name]
    with torch.device("meta"):
        ours = make(shape, 224).state_dict()
        theirs = {n: torch.empty(size) for n, size in (clip if shape.projected else dino)(shape, 224).items()}
        found = renamed(theirs, "file")
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in ours.items()}


def test_a_file_of_dino_fits_the_network_of_torchvision():
    from torchvision import models as tv

    with torch.device("meta"):
        network = tv.vit_b_16(weights=None)
        network.heads = nn.Sequential()
        theirs = {n: torch.empty(size) for n, size in dino(Shape(16, 12, 12, 768), 224).items()}
        found = renamed(theirs, "file")
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in network.state_dict().items()}


@pytest.mark.parametrize("name", SMALL)
def test_features_are_those_of_the_network_written_out(small, tmp_path, name):
    shape, sizes, expected = SMALL[name]
    weights = drawn(sizes(shape, 32))
    file = tmp_path / "weights.safetensors"
    save_file(weights, file)
    frozen, x = extractor(name, str(file)), torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        found, by_hand = frozen.network(x), expected(weights, shape, x)
    assert by_hand.std() > 0.1
    torch.testing.assert_close(found, by_hand, atol=1e-5, rtol=1e-5)
    assert frozen.side == 32
    assert frozen.mean[0] == (0.48145466 if shape.projected else 0.485)


def test_files_are_read_as_training_programs_wrap_them(small, tmp_path):
    shape, sizes, _ = SMALL["small_vit"]
    weights, x = drawn(sizes(shape, 32)), torch.rand(2, 3, 32, 32)
    torch.save(weights, tmp_path / "plain.pth")
    wrapped = {f"module.backbone.{n}": t for n, t in weights.items()} | {"module.head.mlp.0.weight": torch.ones(2, 2)}
    torch.save({"student": {}, "teacher": wrapped, "epoch": 3}, tmp_path / "whole.pth")
    plain, whole = (extractor("small_vit", str(tmp_path / f"{n}.pth")).network for n in ("plain", "whole"))
    with torch.inference_mode():
        assert torch.equal(plain(x), whole(x))


def test_clip_is_read_from_the_whole_model_in_half_precision(small, tmp_path):
    shape, sizes, expected = SMALL["small_clip"]
    weights = {n: t.half() for n, t in drawn(sizes(shape, 32)).items()}
    text = {"transformer.resblocks.0.ln_1.weight": torch.ones(4), "positional_embedding": torch.ones(77, 4)}
    text |= {"logit_scale": torch.tensor(4.6), "text_projection": torch.ones(4, 4)}
    torch.save(weights | text, tmp_path / "clip.pth")
    network, x = extractor("small_clip", str(tmp_path / "clip.pth")).network, torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        by_hand = expected({n: t.float() for n, t in weights.items()}, shape, x)
        torch.testing.assert_close(network(x), by_hand, atol=1e-5, rtol=1e-5)


def test_another_side_interpolates_the_position_embedding(small, tmp_path):
    """A constant embedding stays what it is, so the features are those of the network written out at that side."""
    shape, sizes, expected = SMALL["small_vit"]
    weights = drawn(sizes(shape, 32))
    weights["pos_embed"] = weights["pos_embed"][:, :1].expand(-1, 17, -1).contiguous()
    save_file(weights, tmp_path / "weights.safetensors")
    frozen, x = extractor("small_vit", str(tmp_path / "weights.safetensors"), side=48), torch.rand(2, 3, 48, 48)
    assert frozen.side == 48
    weights["pos_embed"] = weights["pos_embed"][:, :1].expand(-1, 37, -1)
    with torch.inference_mode():
        torch.testing.assert_close(frozen.network(x), expected(weights, shape, x), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_used_is_refused_in_one_sentence(small, tmp_path):
    shape, sizes, _ = SMALL["small_vit"]
    weights, file = drawn(sizes(shape, 32)), tmp_path / "weights.pth"
    torch.save(weights, file)
    with pytest.raises(InputError, match=r"vit_s_16 has no weights in torchvision: give a file of yours"):
        extractor("vit_s_16")
    with pytest.raises(InputError, match=r"features_side must be a multiple of 8; got 30\."):
        extractor("small_vit", str(file), side=30)
    with pytest.raises(InputError, match="is of another network than small_clip|has no weights for"):
        extractor("small_clip", str(file))
    torch.save(weights | {"blocks.0.ls1.gamma": torch.ones(16)}, file)  # as DINOv2
    with pytest.raises(InputError, match=r"holds blocks\.0\.ls1\.gamma, which is no part of"):
        extractor("small_vit", str(file))
    del weights["norm.bias"]
    torch.save(weights, file)
    with pytest.raises(InputError, match=r"has no weights for encoder\.ln\.bias"):
        extractor("small_vit", str(file))


def test_an_archive_that_runs_code_is_refused_with_how_to_convert_it(small, tmp_path, monkeypatch):
    file = tmp_path / "ViT-B-32.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(file))
    with pytest.raises(InputError, match=r"is a TorchScript archive.*torch\.jit\.load\('ViT-B-32\.pt'") as told:
        extractor("small_clip", str(file))
    monkeypatch.chdir(tmp_path)
    eval(str(told.value).partition("convert it: ")[2], {"torch": torch})  # what the sentence says
    assert set(torch.load(tmp_path / "weights.pth", weights_only=True)) == {"weight", "bias"}


def test_the_head_starts_from_text_features_on_features_of_clip(small, tmp_path, image_folder):
    """From files of the user to a trained head: both rows of the classifier have the directions of the text."""
    shape, sizes, _ = SMALL["small_clip"]
    save_file(drawn(sizes(shape, 32)), tmp_path / "clip.safetensors")
    words = torch.randn(2, shape.projected)
    np.save(tmp_path / "words.npy", words.numpy())
    overrides = (
        f"features=small_clip, features_file={tmp_path / 'clip.safetensors'}, features_side=48, start=text, "
        f"text_features={tmp_path / 'words.npy'}, lr=0"
    )
    experiment = Experiment(
        "lift_head", "folder", 2.0, profile="smoke", data_dir=str(image_folder()), overrides=overrides
    )
    run = execute(experiment, tmp_path / "runs", quiet=True)
    assert run.info["data"]["frozen"]["side"] == 48
    torch.testing.assert_close(load(run).network.classifier.weight, F.normalize(words))


def test_constants_of_clip_and_dino():
    """x / (1 + e^(-1.702 x)) by hand. Differences this small do not show in features of random weights."""
    x = torch.tensor([-1.0, 1.0], dtype=torch.double)
    assert vision_transformer.QuickGELU()(x).tolist() == pytest.approx([-0.154204, 0.845796], abs=1e-6)
    for name, eps in (("small_vit", 1e-6), ("small_clip", 1e-5)):
        norms = [m for m in make(SMALL[name][0], 32).modules() if isinstance(m, nn.LayerNorm)]
        assert {norm.eps for norm in norms} == {eps}
