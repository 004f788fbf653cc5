"""Seconds and peak memory of preparing images and of reading them, for a data set and for one four times as large.

    python tests/benchmarks/preparing.py [--images 4000] [--side 224] [--source FOLDER]

Images are invented JPEG files of 500x375 pixels, or those of ``--source``, an image root with list files (dataset
``list``); then only that is measured, and its side is kept unless given. Every step runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

STEPS = ("prepare", "start again", "read an epoch")


def invent(root: Path, images: int) -> None:
    """Smooth coloured images with noise, in ten classes, and their lists; every tenth is a test image."""
    random = np.random.default_rng(0)
    base = [Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((500, 375)) for _ in range(50)]
    noise = random.integers(-12, 13, (375, 500, 3), dtype=np.int16)
    lists = {"train": [], "test": []}
    for i in range(images):
        split = "test" if i % 10 == 9 else "train"
        path = f"{split}/{i // 10 % 10}/{i}.jpg"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(np.asarray(base[i % 50], dtype=np.int16) + np.roll(noise, i, axis=0), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(root / path, quality=90)
        lists[split].append(f"{path} {i // 10 % 10}\n")
    for split, lines in lists.items():
        (root / f"{split}.txt").write_text("".join(lines))


def measure(step: str, root: str, side: int) -> dict:
    """One step in this process: seconds without imports, and the peak of resident memory in bytes."""
    import torch

    from ltlib.data.lists import load_lists
    from ltlib.data.stream import Stream

    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    started = time.perf_counter()
    data = load_lists("list", data_dir=root, image_size=side)
    if step == "read an epoch":
        order = torch.randperm(len(data.train)).split(256)
        assert sum(len(x) for x in Stream(data.train.pixels, torch.device("cpu")).batches(order)) == len(data.train)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    images = len(data.train) + len(data.test)
    return {
        "seconds": seconds,
        "peak": peak,
        "imported": imported,
        "images": images,
        "bytes": images * data.image_size**2 * 3,
    }


def report(root: Path, side: int, cache: Path) -> None:
    for step in STEPS:
        command = [sys.executable, __file__, "--step", step, "--source", str(root), "--side", str(side)]
        done = subprocess.run(
            command, env=os.environ | {"LTLIB_CACHE": str(cache)}, stdout=subprocess.PIPE, text=True, check=True
        )
        m = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{m['images']:,} images, {m['bytes'] / 1e6:,.0f} MB decoded: {step:<14} {m['seconds']:6.1f} s, "
            f"peak memory {m['peak'] / 1e6:,.0f} MB ({m['imported'] / 1e6:,.0f} MB of it after the imports)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--side", type=int)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measure(options.step, str(options.source), options.side)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.source:
            report(options.source, options.side or 0, Path(folder))
            return
        for factor in (1, 4):
            root = Path(folder) / f"x{factor}"
            invent(root, factor * options.images)
            report(root, options.side or 256, Path(folder) / "cache")


if __name__ == "__main__":
    main()
