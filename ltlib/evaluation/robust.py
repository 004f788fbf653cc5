"""Robust accuracy, and the report that tells whether to believe it.

A robust number is an upper bound: it says what one attack could not do. It is easily too high by accident, because
the attack failed and not because the network is robust. So every number comes with its attack and with a list of
checks that many failing attacks do not pass: see ``sanity.py``.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltlib.attacks import Ball, Square, attacked
from ltlib.attacks.autoattack import Attack, AttackWarning, in_turn
from ltlib.data.augment import to_float
from ltlib.errors import InputError
from ltlib.evaluation.evaluate import report_card
from ltlib.evaluation.precision import full_float32
from ltlib.evaluation.sanity import Check, sanity
from ltlib.files import write_atomic
from ltlib.methods.method import Method

DROP = 0.002  # of accuracy at Square, from which AutoAttack warns


def withstood(
    method: Method,
    images: Tensor,
    labels: Tensor,
    attacks: dict[str, Attack],
    *,
    chunk: int = 250,
    seed: int = 0,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, np.ndarray]:
    """Which images are classified right, clean and after each attack and all before it.

    Args:
        method: on the device of the images.
        images: uint8 (N, C, H, W).
        labels: (N,).
        attacks: name -> attack, run in turn on what is still right.
        chunk: images at once; halved as often as memory runs out.
        seed: of the attacks' random numbers; every chunk starts from ``seed`` plus its first image.
        folder: finished chunks are kept here, and a second call goes on after them.
        say: receives one line a chunk.

    Returns:
        "clean" and the names of the attacks -> (N,) bool; "size" -> (N,) norm of the change that was found; "labels"
        -> (N,); "adversarial_logits" -> (N, K) float32, of the images of :func:`ltlib.attacks.autoattack.in_turn`:
        right exactly where all attacks were withstood; "warnings" -> the texts of the attacks' warnings, if any.

    Raises:
        InputError: the folder holds the chunks of another evaluation.
    """
    if folder:
        about = {"attacks": describe(attacks), "seed": seed, "images": len(images), "kept": "adversarial_logits"}
        _claim(folder, about)
    parts, start = [], 0
    while start < len(images):
        kept = next(iter(sorted(folder.glob(f"{start:07d}-*.npz"))), None) if folder else None
        if kept:
            with np.load(kept) as stored:
                parts.append(dict(stored))
        else:
            try:
                part = _attack_chunk(
                    method, images[start : start + chunk], labels[start : start + chunk], attacks, seed + start
                )
            except torch.OutOfMemoryError:
                if chunk == 1:
                    raise
                chunk = chunk // 2
                torch.cuda.empty_cache()
                say(f"out of memory: continuing with {chunk} images at once")
                continue
            if folder:
                _store(folder / f"{start:07d}-{len(part['clean'])}.npz", part)
            parts.append(part)
        start += len(parts[-1]["clean"])
        last = list(attacks)[-1]
        right = np.concatenate([part[last] for part in parts])
        say(f"{start} of {len(images)} images, {right.mean():.1%} withstood")
    return _joined(parts)


def kept(folder: Path) -> dict[str, np.ndarray]:
    """What :func:`withstood` left in ``folder``: the same arrays, read from its files."""
    parts = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as stored:
            parts.append(dict(stored))
    return _joined(parts)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    # chunks of earlier versions hold no warnings
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _attack_chunk(method: Method, images: Tensor, labels: Tensor, attacks: dict[str, Attack], seed: int) -> dict:
    devices = [images.device] if images.is_cuda else []
    with torch.random.fork_rng(devices), full_float32(), attacked(method), heard() as said:
        torch.manual_seed(seed)
        x = to_float(images).contiguous()
        with torch.no_grad():
            clean = method.logits(x).argmax(1) == labels
        x_adv, z_adv, right = in_turn(attacks, method.logits, x, labels)
    first = next(iter(attacks.values()))
    size = Ball(first.epsilon, first.norm).size(x_adv - x)
    inside = (x_adv.amin((1, 2, 3)) >= 0) & (x_adv.amax((1, 2, 3)) <= 1)
    size = torch.where(inside, size, torch.inf)
    arrays = {"clean": clean} | right | {"size": size, "labels": labels, "adversarial_logits": z_adv.float()}
    return {name: t.cpu().numpy() for name, t in arrays.items()} | {"warnings": np.array(said, dtype=str)}


@contextmanager
def heard() -> Iterator[list[str]]:
    """The texts of the :class:`AttackWarning` that are given inside, each once; other warnings pass."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AttackWarning)
        yield texts
    for warning in caught:
        if not issubclass(warning.category, AttackWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif str(warning.message) not in texts:
            texts.append(str(warning.message))


def describe(attacks: Mapping[str, Any]) -> dict[str, dict]:
    """Name -> kind and settings of each attack, ready for JSON."""
    return {name: {"kind": type(attack).__name__} | asdict(attack) for name, attack in attacks.items()}


def _claim(folder: Path, identity: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "evaluation.json"
    text = json.dumps(identity, indent=1)
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise InputError(f"{folder} holds another robust evaluation: name another folder, or delete it.")
    write_atomic(file, text.encode())


def _store(file: Path, part: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **part)
    write_atomic(file, buffer.getvalue())


def robust_report(
    method: Method,
    images: Tensor,
    labels: Tensor,
    attacks: dict[str, Attack],
    *,
    probe_images: int = 100,
    surrogate: Method | None = None,
    chunk: int = 250,
    seed: int = 0,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Robust accuracy under attacks in turn, with all that makes it believable.

    Args:
        method, images, labels, attacks, chunk, seed, folder, say: see :func:`withstood`.
        probe_images: for the checks, spread over the test set.
        surrogate: see :func:`sanity`.

    Returns:
        JSON-ready: ``epsilon``, ``norm``, ``attacks`` with all settings, ``images``, ``clean_accuracy``,
        ``robust_accuracy`` (after all attacks), ``after`` (name -> accuracy after it), ``by_class`` (robust accuracy
        of each class), ``adversarial`` (the report card of the adversarial images: accuracy and calibration, overall
        and per group), ``checks`` and ``reliable``: whether all of them passed.

    Raises:
        InputError: the attacks differ in epsilon or norm, or the folder holds another evaluation.
    """
    balls = {(attack.epsilon, attack.norm) for attack in attacks.values()}
    if len(balls) != 1:
        raise InputError(f"The attacks of one report need one epsilon and norm; got {sorted(balls)}.")
    ((epsilon, norm),) = balls
    right = withstood(method, images, labels, attacks, chunk=chunk, seed=seed, folder=folder, say=say)
    final, said = right[list(attacks)[-1]], sorted(set(right["warnings"].tolist())) if "warnings" in right else []
    chosen = torch.linspace(0, len(images) - 1, min(probe_images, len(images)), device=images.device).long()
    held = torch.from_numpy(final[chosen.cpu()]).to(images.device)
    checks = _probed(method, images[chosen], labels[chosen], attacks, held, surrogate, seed)
    after = {name: float(right[name].mean()) for name in attacks}
    checks += [*_drop_at_square(attacks, after, len(images)), _no_warnings(said), _inside(right["size"], epsilon)]
    y = labels.cpu().numpy()
    return {
        "epsilon": epsilon,
        "norm": norm,
        "attacks": describe(attacks),
        "seed": seed,
        "images": len(images),
        "probe_images": len(chosen),
        "clean_accuracy": float(right["clean"].mean()),
        "robust_accuracy": float(final.mean()),
        "after": after,
        "by_class": [float(final[y == c].mean()) for c in range(int(y.max()) + 1) if (y == c).any()],
        "adversarial": report_card(right["adversarial_logits"], y, method.counts.cpu().numpy(), confusion=False),
        "checks": [asdict(check) for check in checks],
        "reliable": all(check.passed for check in checks),
    }


def _probed(
    method: Method,
    images: Tensor,
    labels: Tensor,
    attacks: dict[str, Attack],
    held: Tensor,
    surrogate: Method | None,
    seed: int,
) -> list[Check]:
    """The checks of :func:`sanity` on these images, with random numbers of their own."""
    devices = [images.device] if images.is_cuda else []
    with torch.random.fork_rng(devices), full_float32(), attacked(method):
        torch.manual_seed(seed)
        if surrogate:
            surrogate.eval()
        other = surrogate.logits if surrogate else None
        return sanity(method.logits, to_float(images), labels, attacks, held=held, surrogate=other)


def _drop_at_square(attacks: dict[str, Attack], after: dict[str, float], images: int) -> list[Check]:
    """AutoAttack's warning: an attack without gradients should add next to nothing to those with gradients."""
    names = list(attacks)
    found = []
    for before, name in itertools.pairwise(names):
        if isinstance(attacks[name], Square):
            most, drop = max(DROP, 1 / images) + 1e-6, after[before] - after[name]
            found.append(Check("accuracy does not drop at Square", drop <= most, f"{drop:.2%}", f"at most {most:.2%}"))
    return found


def _no_warnings(said: list[str]) -> Check:
    return Check("the attacks give no warning", not said, " / ".join(said) or "none", "none")


def _inside(size: np.ndarray, epsilon: float) -> Check:
    largest = float(size.max())
    return Check(
        "every adversarial image is in the ball and in [0, 1]",
        largest <= epsilon + 1e-6,
        f"largest change {largest:.6f}" if math.isfinite(largest) else "outside [0, 1]",
        f"at most {epsilon:.6f}",
    )


def as_lines(report: dict) -> list[str]:
    """The report for the terminal and for notebooks."""
    names = " + ".join(report["attacks"])
    verdict = "reliable" if report["reliable"] else "NOT RELIABLE"
    lines = [
        f"{names}, {report['norm']} epsilon {report['epsilon']:.5f}, {report['images']} images",
        f"clean {report['clean_accuracy']:.1%}   robust {report['robust_accuracy']:.1%}   {verdict}",
    ]
    if "adversarial" in report:
        lines += _group_lines(report["adversarial"])
    for check in report["checks"]:
        mark = "ok    " if check["passed"] else "FAILED"
        lines.append(f"  {mark} {check['name']}: {check['measured']} (expected: {check['expected']})")
    return lines


def _group_lines(card: dict) -> list[str]:
    lines = [f"ECE of the adversarial images {card['ece']:.1%}"]
    for rule, groups in card["groups"].items():
        parts = [f"{name} {group['accuracy']:.1%}" for name, group in groups.items() if group["accuracy"] is not None]
        lines.append(f"robust by group ({rule}): {'   '.join(parts)}")
    return lines
