"""The report card of lesson 10: every line is read from a finished run, its temperature and its attack."""

from __future__ import annotations

from ltlib.evaluation.calibration import ece, probabilities
from ltlib.experiments.runs import Run


def card(run: Run, temperature: float, robust: dict, rule: str = "threshold") -> list[dict[str, str]]:
    """What a reader must be told about a classifier, as the rows of a table.

    Args:
        run: finished, with images held out.
        temperature: fitted on the held-out images.
        robust: of :func:`ltlib.experiments.attack.measure`.
        rule: of the groups, ``threshold`` or ``papers``.

    Returns:
        Rows with ``question`` and ``answer``.
    """
    info, found = run.info, run.info["metrics"]
    data, counts = info["data"], info["data"]["counts"]
    stored = run.predictions()
    scaled = ece(probabilities(stored["logits"] / temperature), stored["labels"])
    groups = [f"{name} {group['accuracy']:.1%}" for name, group in found["groups"][rule].items() if _tested(group)]
    worst = f"{data['class_names'][found['worst_class']]} with {found['worst_class_accuracy']:.1%}"
    attack = f"{robust['attack']} with radius {255 * robust['epsilon']:.3g}/255 on {robust['images']} test images"
    passed = sum(check["passed"] for check in robust["checks"])
    answers = {
        "trained on": f"{data['train_images']:,} images of {data['name']}, from {max(counts):,} to {min(counts):,} "
        "per class",
        "decided on": f"{data['validation_images']:,} held-out images",
        "tested on": f"{data['test_images']:,} images",
        "accuracy": f"{found['accuracy']:.1%}, by group: {', '.join(groups)}; the worst class is {worst}",
        "confidence minus accuracy": f"{100 * found['confidence_gap']:+.1f} points",
        "ECE": f"{found['ece']:.1%}, with temperature {temperature:.2f} {scaled:.1%}",
        "under attack": f"{robust['robust_accuracy']:.1%} ({robust['clean_accuracy']:.1%} without), {attack}",
        "checks of the attack": f"{passed} of {len(robust['checks'])} passed",
        "seeds": f"one run, seed {info['experiment']['seed']}: no interval",
        "command": info["command"],
    }
    return [{"question": question, "answer": answer} for question, answer in answers.items()]


def _tested(group: dict) -> bool:
    return group["accuracy"] is not None
