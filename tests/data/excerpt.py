"""Writes the stored excerpt of CIFAR-10 from the official test set: ``python -m tests.data.excerpt``."""

import hashlib
import json

import numpy as np
from PIL import Image

from ltlib.data.cifar import load_cifar
from ltlib.data.excerpt import folder

PER_CLASS = 20


def chosen(labels: np.ndarray, classes: int) -> np.ndarray:
    """The first images of each class in the order of the test set, (K, 20)."""
    return np.stack([np.flatnonzero(labels == c)[:PER_CLASS] for c in range(classes)])


def main() -> None:
    data = load_cifar("cifar10")
    indices = chosen(data.test.labels, data.num_classes)
    pixels = np.asarray(data.test.pixels)[indices]  # (K, 20, 3, H, W)
    side = pixels.shape[-1]
    sheet = pixels.transpose(0, 3, 1, 4, 2).reshape(data.num_classes * side, PER_CLASS * side, 3)
    folder().mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(folder() / "cifar10.png", optimize=True)
    told = {
        "source": 'A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", University of Toronto, 2009',
        "rule": f"the first {PER_CLASS} test images of each class in the official order",
        "side": side,
        "class_names": list(data.class_names),
        "indices": indices.tolist(),
        "sha256": hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest(),
    }
    (folder() / "cifar10.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
