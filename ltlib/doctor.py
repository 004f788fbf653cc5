"""``python -m ltlib doctor``: what this machine has, in lines to paste into a question. Never raises."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import ltlib
from ltlib import paths
from ltlib.data.datasets import DATASETS
from ltlib.errors import InputError, one_line

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "jupyterlab", "ipywidgets", "papermill", "nbval")


def examine() -> list[str]:
    """One line a fact; a line that begins with ``!!`` says what is wrong and what to do."""
    lines = [f"ltlib {ltlib.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"]
    lines.append(", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    lines += _tried("torch", _torch)
    for variable, place in (
        ("LTLIB_DATA", paths.data_root),
        ("LTLIB_CACHE", paths.cache_root),
        ("LTLIB_RUNS", paths.runs_root),
    ):
        lines += _tried(variable, lambda variable=variable, place=place: [_folder(variable, place())])
    lines += _tried("data", lambda: [_data()])
    return lines


def _tried(what: str, look: Callable[[], list[str]]) -> list[str]:
    """What ``look`` finds; on a broken machine what went wrong, because the doctor is asked just there."""
    try:
        return look()
    except Exception as error:
        return [f"!! {what}: {type(error).__name__}: {one_line(error)}"]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _torch() -> list[str]:
    try:
        import torch

        from ltlib.training import device as devices

        device = devices.choose_device()
        devices.use_available_cores()
        lines = [", ".join(f"{key} {value}" for key, value in devices.hardware(device).items())]
        precision = devices.resolve_precision("auto", device)
        lines.append(f"the paper profile trains in {precision}: {devices.why_precision(device)}")
        lines += _gpu(device)
    except InputError as error:
        return [f"!! {error}"]
    except RuntimeError as error:  # a driver that does not fit, a GPU that is lost
        return [f"!! the GPU does not answer ({str(error).splitlines()[0]}): LTLIB_DEVICE=cpu does without it."]
    except (ImportError, OSError) as error:
        return [f"!! torch cannot be imported ({error}): install it again, see README."]
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        lines.append("torch and torchvision match")
    except (ImportError, RuntimeError, AttributeError) as error:
        lines.append(f"!! torchvision does not match torch ({error}): install both from the same package index.")
    return lines


def _gpu(device: torch.device) -> list[str]:
    """What a reader should know of training on this GPU."""
    import torch

    lines = []
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        major, minor = torch.cuda.get_device_capability(device)
        lines.append(
            f"GPU memory: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free; compute capability {major}.{minor}"
        )
        lines.append("float32 is full float32 here: TF32 is off in training, evaluation and attacks")
        lines.append("steps are recorded as CUDA graphs where a method allows it; overrides capture=false forbids it")
        if free < 2 * 2**30:
            lines.append("!! less than 2 GiB of GPU memory is free: end other programs that use the GPU.")
    elif device.type == "mps":
        lines.append(
            "Apple GPU: ltlib has never been run on one. It trains in float32, one process and one run at a time, "
            "without recorded steps; AutoAttack and float64 are not available there. LTLIB_DEVICE=cpu forbids it."
        )
    elif torch.version.cuda and Path("/proc/driver/nvidia").exists():
        lines.append(
            "!! there is an NVIDIA driver but torch finds no GPU: compare nvidia-smi with CUDA_VISIBLE_DEVICES."
        )
    return lines


def _folder(variable: str, folder: Path) -> str:
    """Whether a folder, or the one it would be made in, is writable, and the space left there."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if not os.access(existing, os.W_OK):
        return f"!! {variable}: {folder} is not writable: set {variable} to a folder that is."
    low = "!! little space: " if free < 1 else ""
    return f"{low}{variable}: {folder}, {free:.0f} GB free"


def _data() -> str:
    """Which downloads are already there."""
    root = paths.data_root()
    there = [name for name, entry in DATASETS.items() if any((root / folder).is_dir() for folder in entry.folders)]
    return f"data found: glyphs, digits (always){''.join(', ' + name for name in there)}"
