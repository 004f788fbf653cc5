"""``python -m ltlib doctor``: what this machine has, in lines to paste into a question. Never raises."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ltlib
from ltlib import paths
from ltlib.data.datasets import DATASETS
from ltlib.errors import one_line

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
    except (ImportError, OSError) as error:
        return [f"!! torch cannot be imported ({error}): install it again, see README."]
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        lines.append("torch and torchvision match")
    except (ImportError, RuntimeError, AttributeError) as error:
        lines.append(f"!! torchvision does not match torch ({error}): install both from the same package index.")
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
