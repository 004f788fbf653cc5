"""Frozen features: what a pretrained network makes of images, computed once and kept.

A backbone has a name: ``efficientnet_lite0``, whose weights are the extra ``features``, or any image classifier of
torchvision, whose weights are downloaded once. A checkpoint of your own replaces those weights, such as the ResNet-50
or the vision transformers of DINO, or CLIP's image tower (:mod:`ltlib.models.vision_transformer`).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ltlib import paths
from ltlib.data.images import Images
from ltlib.data.pace import Pace
from ltlib.errors import InputError, nearest
from ltlib.files import write_atomic
from ltlib.models import efficientnet_lite, vision_transformer
from ltlib.models.pretrained import read
from ltlib.models.resnet import resized

FORMAT = 1  # raised whenever the same images and weights would give other features
CHUNK = 512  # images whose features are stored together: what a stopped extraction loses at most
BATCH = 64
LITE = "efficientnet_lite0"


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network without its classifier.

    Attributes:
        name: of the backbone.
        network: normalised images (B, 3, side, side) -> features (B, D), in evaluation mode.
        mean, std: per channel, in [0, 1], of its own training.
        side: of the images of its own training, in pixels.
        sha256: of the file of weights.
    """

    name: str
    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int
    sha256: str


def extractor(name: str, file: str = "", side: int = 0) -> Extractor:
    """The frozen backbone called ``name``.

    Args:
        name: ``efficientnet_lite0``, a classifier of torchvision such as ``resnet50`` or ``vit_b_16``, or a key of
            ``ltlib.models.vision_transformer.SHAPES``.
        file: a checkpoint of your own with weights for it; empty takes the usual ones.
        side: of the images in pixels, for a vision transformer, whose position embedding is resized to it; 0 takes
            that of its training.

    Raises:
        InputError: there is no such backbone, its weights cannot be had, or those of ``file`` do not fit.
    """
    if name == LITE and not file:
        network = efficientnet_lite.imagenet_network().backbone
        lite = efficientnet_lite
        return Extractor(name, network, lite.MEAN, lite.STD, lite.SIDE, lite.SHA256)
    if name in vision_transformer.SHAPES:
        return _transformer(name, file, side or vision_transformer.SIDE)
    return _torchvision(name, file, side)


def _transformer(name: str, file: str, side: int) -> Extractor:
    """A vision transformer of DINO or CLIP."""
    shape = vision_transformer.SHAPES[name]
    if not file:
        raise InputError(f"features={name} has no weights in torchvision: give a file of yours, features_file=FILE.")
    _check_side(name, side, shape.patch)
    weights, sha256 = own_weights(file)
    network = vision_transformer.make(shape, side)
    weights = vision_transformer.resized(vision_transformer.renamed(weights, file), side, shape.patch)
    _fill(network, weights, name, file)
    mean, std = vision_transformer.OF_CLIP if shape.projected else vision_transformer.IMAGENET
    return Extractor(name, network.eval().requires_grad_(False), mean, std, side, sha256)


def _torchvision(name: str, file: str, side: int) -> Extractor:
    """A classifier of torchvision without its last linear layer."""
    from torchvision import models as tv  # takes a second to import

    if name not in tv.list_models(module=tv):
        known = [LITE, *vision_transformer.SHAPES, *tv.list_models(module=tv)]
        raise InputError(f"features={name!r} is no backbone that is known.{nearest(name, known)}")
    usual = tv.get_model_weights(name).__members__["DEFAULT"]
    weights, sha256 = (
        own_weights(file) if file else (read(usual.url), usual.url.rpartition("-")[2].removesuffix(".pth"))
    )
    crop = usual.transforms()
    if name.startswith("vit_"):
        side = side or crop.crop_size[0]
        patch = int(name.rpartition("_")[2])
        _check_side(name, side, patch)
        network = tv.get_model(name, weights=None, image_size=side)
        weights = vision_transformer.resized(vision_transformer.renamed(weights, file), side, patch)
    else:
        side, network = crop.crop_size[0], tv.get_model(name, weights=None)
    last = [key for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not last:
        raise InputError(f"features={name}: its classifier is no linear layer, so its features cannot be told apart.")
    network.set_submodule(last[-1], nn.Identity())
    _fill(network, weights, name, file)
    return Extractor(name, network.eval().requires_grad_(False), tuple(crop.mean), tuple(crop.std), side, sha256)


def _check_side(name: str, side: int, patch: int) -> None:
    if side % patch:
        raise InputError(
            f"features={name} divides images into patches of {patch} pixels: features_side must be a multiple of "
            f"{patch}; got {side}."
        )


def _fill(network: nn.Module, weights: dict[str, Tensor], name: str, file: str) -> None:
    """Load all that the network needs; what else the file holds is left.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    expected = {key for key in network.state_dict() if not key.endswith("num_batches_tracked")}
    kept = {key: tensor for key, tensor in weights.items() if key in expected}
    if missing := sorted(expected - kept.keys()):
        raise InputError(
            f"features_file={file} has no weights for {missing[0]} and {len(missing) - 1} other tensors of {name}: "
            f"name the file of a checkpoint of that network."
        )
    try:
        network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise InputError(f"features_file={file} is of another network than {name}: {error}") from error


def own_weights(file: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint (``.safetensors``, or tensors saved by torch), and the SHA-256 of the file.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    path = paths.user_path(file, "features_file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"features_file={file} cannot be read ({error.strerror}).") from error
    if _runs_code(content):
        raise InputError(
            f"features_file={file} is a TorchScript archive, which runs code when it is opened. If you trust it, "
            f"convert it: torch.save(torch.jit.load({path.name!r}, map_location='cpu').state_dict(), 'weights.pth')"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            found = load(content)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
            for key in ("state_dict", "model", "teacher"):  # as training programs wrap them
                found = found.get(key, found)
        weights = {key.removeprefix("module.").removeprefix("backbone."): t for key, t in found.items()}
    except Exception as error:  # of either reader, which have no common class
        raise InputError(
            f"features_file={file} cannot be read as weights ({type(error).__name__}): save a plain dictionary of "
            f"tensors by torch.save, or a .safetensors file."
        ) from error
    return {key: t for key, t in weights.items() if isinstance(t, Tensor)}, hashlib.sha256(content).hexdigest()


def _runs_code(content: bytes) -> bool:
    """Whether a file is a TorchScript archive, such as those that OpenAI released of CLIP."""
    opened = io.BytesIO(content)
    if not zipfile.is_zipfile(opened):
        return False
    with zipfile.ZipFile(opened) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())


def extract(images: Images, frozen: Extractor, side: int = 0) -> Images:
    """The features of a split as a split of features, float16 (N, D, 1, 1), from ``LTLIB_CACHE`` if they are there.

    The images are resized to ``side`` x ``side`` (bicubic), normalised as the backbone was trained, and seen once,
    without augmentation. What was computed before a kill is kept.

    Args:
        images: uint8.
        frozen: the backbone.
        side: in pixels; 0 takes that of the backbone's training.

    Raises:
        InputError: the features are not finite in float16, or the cache cannot be written.
    """
    side = side or frozen.side
    digest = hashlib.sha256(f"{FORMAT} {frozen.name} {frozen.sha256} {side} {images.pixels.shape}".encode())
    for first in range(0, len(images), CHUNK):
        digest.update(np.ascontiguousarray(images.pixels[first : first + CHUNK]).data)
    folder = paths.make_folder(paths.cache_root() / f"features-{digest.hexdigest()[:24]}", "LTLIB_CACHE")
    starts = range(0, len(images), CHUNK)
    files = [folder / f"{i:05d}.npy" for i in range(len(starts))]
    todo = [i for i, file in enumerate(files) if not file.exists()]
    pace = Pace(sum(min(CHUNK, len(images) - starts[i]) for i in todo))
    for i in todo:
        _write(files[i], _features(images.pixels[starts[i] : starts[i] + CHUNK], frozen, side, pace))
    return Images(np.concatenate([np.load(file) for file in files])[:, :, None, None], images.labels)


def _features(pixels: np.ndarray, frozen: Extractor, side: int, pace: Pace) -> np.ndarray:
    """float16 (N, D)."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = frozen.network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    found = []
    for x in torch.from_numpy(pixels).split(BATCH):
        with torch.inference_mode():
            found.append(network(frozen_input(x.to(device), frozen, side)).float().cpu())
        pace(len(x))
    return torch.cat(found).half().numpy()


def frozen_input(x: Tensor, frozen: Extractor, side: int) -> Tensor:
    """uint8 images (B, 3, H, W) as the backbone expects them, (B, 3, side, side)."""
    x = resized(x.float() / 255, side)
    mean, std = (torch.tensor(values, device=x.device).view(-1, 1, 1) for values in (frozen.mean, frozen.std))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def _write(file: Path, features: np.ndarray) -> None:
    """Write a whole chunk or nothing."""
    if not np.isfinite(features).all():
        raise InputError("The features are not finite in float16: choose another backbone.")
    content = io.BytesIO()
    np.save(content, features)
    write_atomic(file, content.getvalue())
