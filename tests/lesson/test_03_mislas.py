"""Exercises and figures of lesson 03."""

import math
import re

import nbformat
import numpy as np
import pytest

from ltlib import paths
from ltlib.data.longtail import shot_groups
from ltlib.errors import InputError
from ltlib.experiments.experiment import command
from ltlib.launch.sweep_file import read_sweep
from ltlib.lesson import figures
from ltlib.lesson.exercises import EXERCISES, WrongAnswer
from ltlib.results import records
from ltlib.results.views import summary


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("concave_smoothing", lambda n, h, t: t + (h - t) * (n - n.min()) / np.ptp(n), "linear shape"),
        (
            "concave_smoothing",
            lambda n, h, t: t + (h - t) * np.sin(np.pi / 2 * (n.max() - n) / np.ptp(n)),
            "exchanged",
        ),
        ("concave_smoothing", lambda n, h, t: t + h * np.sin(np.pi / 2 * (n - n.min()) / np.ptp(n)), "head - tail"),
        ("logit_gap", lambda e, k: math.log((k - 1) * (1 - e) / e), "paper's form"),
        ("logit_gap", lambda e, k: (1 - e + e / k) / (e / k), "its logarithm"),
        ("logit_gap", lambda e, k: -math.log((1 - e + e / k) / (e / k)), "sign"),
        ("scaled_logits", lambda f, w, b, s: s * (f @ w.T) + b, "bias too"),
        ("scaled_logits", lambda f, w, b, s: f @ w.T + b, "scale is missing"),
        ("scaled_logits", lambda f, w, b, s: (s * (f @ w.T + b)).T, "shape"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


def test_confidence_is_measured_on_the_images_predicted_as_a_class():
    # Two images predicted 0 with confidence .9 (one right), one predicted 1 with .8 (right).
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], dtype=np.float32))
    picture = figures.mislas.confidence_by_class({"net": (logits, np.array([0, 1, 1]))})
    sure, right = picture.figure.axes[0].lines
    assert sure.get_ydata() == pytest.approx([0.9, 0.8], abs=1e-6)
    assert right.get_ydata() == pytest.approx([0.5, 1.0])
    assert "net +20.0%" in picture.text


def test_ladder_shows_every_seed_and_the_mean():
    picture = figures.ablation({"a": {"accuracy": [0.2, 0.4]}, "b": {"accuracy": [0.5, 0.7]}})
    (ax,) = picture.figure.axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.3, 0.6])
    assert sorted(x for line in ax.lines for x in line.get_xdata()) == [0.2, 0.4, 0.5, 0.7]
    assert "a: accuracy 30.0%" in picture.text


def test_gap_descent_marks_finite_optima_only():
    gaps = {"plain": np.array([1.0, 2.0]), "smooth": np.array([1.0, 1.5])}
    picture = figures.mislas.gap_descent(gaps, {"plain": math.inf, "smooth": 1.5})
    dashed = [line for line in picture.figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [1.5]


def test_the_text_names_the_images_that_the_runs_had():
    text = (paths.project() / "notebooks/03_mislas.ipynb").read_text()
    counts = {tuple(record.data["counts"]) for record in records.read("mislas_cifar10_exact")}
    (counts,) = counts
    assert f"{sum(counts):,} " in text
    assert f", {max(counts)} of them in the largest class" in text


def test_violins_have_the_images_of_each_group_and_their_mean():
    # Two images of the head with confidence .9 and .7, one of the tail with .6.
    logits = np.log(np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32))
    groups = {"many": np.array([0]), "few": np.array([1])}
    picture = figures.mislas.probability_by_group({"net": (logits, np.array([0, 0, 1]))}, groups)
    assert picture.text.endswith("means: net: many 80.0%, few 60.0%.")
    (ax,) = picture.figure.axes
    means = next(c for c in ax.collections if c.get_label() != "" and len(c.get_paths()) == 2)
    assert sorted(path.vertices[0, 1] for path in means.get_paths()) == pytest.approx([0.6, 0.8], abs=1e-6)
    with pytest.raises(InputError, match="No test image is of the group 'medium'"):
        figures.mislas.probability_by_group({"net": (logits, np.array([0, 0, 1]))}, {"medium": np.array([5])})


def test_violins_of_a_stored_study_have_the_confidence_of_its_records():
    (record,) = [r for r in records.read("smoothing_glyphs") if (r.label, r.seed) == ("concave, head 0.1", 0)]
    test = record.predictions["test"]
    groups = shot_groups(np.array(record.data["counts"]), "papers")
    picture = figures.mislas.probability_by_group({"net": (test["logits"].astype(np.float32), test["labels"])}, groups)
    for group, told in record.metrics["groups"]["papers"].items():  # confidence = accuracy + gap
        assert f"{group} {told['accuracy'] + told['confidence_gap']:.1%}" in picture.text


def test_weight_norms_are_drawn_against_the_counts():
    counts = np.array([500, 50, 5])
    picture = figures.mislas.weight_norms({"cRT": np.array([2.0, 1.5, 1.0])}, counts)
    (line,) = picture.figure.axes[0].lines
    assert line.get_xdata().tolist() == [500, 50, 5]
    assert line.get_ydata().tolist() == [2.0, 1.5, 1.0]
    assert "largest 2.00, smallest 1.00" in picture.text


def test_the_shape_of_the_smoothing_changes_calibration_and_hardly_accuracy():
    rows = {row["label"]: row for row in summary(records.read("smoothing_glyphs"))}
    assert all(row["n"] == 3 for row in rows.values())
    little = [row for label, row in rows.items() if label.endswith("head 0.1")]
    assert len(little) == 5
    assert all(abs(row["accuracy"] - rows["no smoothing"]["accuracy"]) < 0.005 for row in little)
    assert min(little, key=lambda row: row["ECE"])["label"] == "concave, head 0.1"
    assert all(row["ECE"] < rows["no smoothing"]["ECE"] for row in little)


@pytest.fixture(scope="module")
def ablation():
    """Measure -> label -> one value per seed, of the study that the lesson compares its own runs with."""
    by_label = records.by_label(records.read("mislas_glyphs"))
    assert all(sorted(record.seed for record in found) == [0, 1, 2] for found in by_label.values())
    card = {label: [r.metrics for r in sorted(found, key=lambda r: r.seed)] for label, found in by_label.items()}
    return {
        "accuracy": {label: [c["accuracy"] for c in cards] for label, cards in card.items()},
        "few": {label: [c["groups"]["papers"]["few"]["accuracy"] for c in cards] for label, cards in card.items()},
        "ECE": {label: [c["ece"] for c in cards] for label, cards in card.items()},
        "confidence - accuracy": {label: [c["confidence_gap"] for c in cards] for label, cards in card.items()},
    }


def test_the_sweep_trains_the_ablation():
    file = paths.project() / "notebooks" / "sweeps" / "mislas_ablation.yaml"
    stored = sorted(record.command for record in records.read("mislas_glyphs"))
    assert sorted(command(experiment) for experiment in read_sweep(file).experiments) == stored


def test_second_stages_of_a_seed_share_their_first_stage():
    found = records.read("mislas_glyphs")
    first = {(r.method, r.seed): r.id for r in found if r.method in ("cross_entropy", "mixup")}
    for record in found:
        if "stage1" in record.hyperparameters:
            plain = record.label in ("cRT", "LWS")
            assert record.hyperparameters["stage1"] == first["cross_entropy" if plain else "mixup", record.seed]


def test_printed_comparisons_hold_the_means_of_the_study(ablation):
    cells = nbformat.read(paths.project() / "notebooks/03_mislas.ipynb", as_version=4).cells
    tables = [
        cell.outputs[0].data["text/plain"] for cell in cells if re.search(r"^compare\(", cell.source, re.MULTILINE)
    ]
    assert len(tables) == 3
    for table in tables:
        head, _, *lines = table.splitlines()
        names = [name for name in ablation if f"{name} (here)" in head]
        for line in lines:
            label, *printed = re.split(r"\s{2,}", line)
            for name, text in zip(names, printed, strict=True):
                values = ablation[name][label]
                assert text.startswith(f"{np.mean(values):.1%} ± {np.std(values, ddof=1):.1%} ("), (label, name)


def test_what_the_text_says_of_mixup_and_of_the_ablation(ablation):
    accuracy, few, ece = (
        {label: np.array(values) for label, values in ablation[name].items()} for name in ("accuracy", "few", "ECE")
    )
    for balanced in ("cRT", "LWS"):  # "find the tail", "a lower ECE on the mixed representation"
        assert (few[balanced] > few["cross-entropy"] + 0.1).all()
        assert (ece[f"{balanced} + mixup"] < ece[balanced]).all()
    assert (accuracy["mixup"] < accuracy["cross-entropy"]).all()
    lost = {name: (accuracy[name] - accuracy[f"{name} + mixup"]).mean() for name in ("cRT", "LWS")}
    assert lost["LWS"] > lost["cRT"]  # "LWS suffers most"
    shifted, fixed, kept = "LWS + mixup + shifted BN", "LWS + mixup", "MiSLAS without smoothing"
    assert abs(accuracy[shifted].mean() - accuracy[fixed].mean()) < accuracy[fixed].std(ddof=1)  # "changes little"
    assert (accuracy[kept] > accuracy[shifted]).all()  # "bring back the accuracy"
    assert (ece["MiSLAS"] < ece[kept]).all()
    assert abs(accuracy["MiSLAS"].mean() - accuracy[kept].mean()) < accuracy[kept].std(ddof=1)
    assert min(set(ece) - {"cRT + mixup"}, key=lambda label: ece[label].mean()) == "MiSLAS"
    assert (few["MiSLAS"] > few["cross-entropy"] + 0.2).all()  # "far above"
    assert (accuracy["cRT"] > accuracy["MiSLAS"]).all()  # "a higher accuracy with every seed"
    assert abs(accuracy["cRT + mixup"].mean() - accuracy["MiSLAS"].mean()) < accuracy["MiSLAS"].std(ddof=1)
    assert ece["cRT + mixup"].mean() < ece["MiSLAS"].mean()
