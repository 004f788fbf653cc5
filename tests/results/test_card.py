"""The report card of every model: each number against the arrays it comes from."""

import json

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from ltlib import methods, models
from ltlib.__main__ import main
from ltlib.attacks import APGD
from ltlib.data.longtail import shot_groups
from ltlib.evaluation import robust
from ltlib.evaluation.evaluate import used_parameters
from ltlib.experiments import attack as attacking
from ltlib.experiments.attack import attack_arrays, measure, robust_reports
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.results import card, reference

EPSILON = 1 / 255  # small, so that some images of a network this short trained withstand


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run with its reports for all tests here, which only read it."""
    experiment = Experiment(method="cross_entropy", profile="smoke", overrides="epochs=15", imbalance_factor=10.0)
    found = execute(experiment, tmp_path_factory.mktemp("runs"))
    quick = {"APGD-CE": APGD(EPSILON, steps=10), "APGD-T": APGD(EPSILON, steps=5, targets=3)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            robust, "sanity", lambda *given, **options: []
        )  # the checks take longest, and have tests of their own
        patch.setitem(attacking.ATTACKS, "apgd", lambda epsilon, norm, classes: quick)
        for attack in ("pgd20", "apgd"):
            measure(found, epsilon=EPSILON, attack=attack, images=40)
    return found


def test_every_number_of_the_row_follows_from_what_is_stored(run):
    row = card.of_run(run, epsilon=EPSILON, rule="papers")
    clean = run.predictions()
    groups = shot_groups(clean["counts"], "papers")
    stored = {" + ".join(r["attacks"]): attack_arrays(run, r) for r in robust_reports(run)}
    tables = {
        "": (clean["logits"], clean["labels"]),
        "PGD-20 ": [stored["PGD-20"][name] for name in ("adversarial_logits", "labels")],
        "APGD ": [stored["APGD-CE + APGD-T"][name] for name in ("adversarial_logits", "labels")],
    }
    assert 0 < row["APGD accuracy"] <= row["PGD-20 accuracy"] < row["accuracy"]
    for prefix, (logits, labels) in tables.items():
        inside = {"": np.ones(len(labels), bool)} | {f" {g}": np.isin(labels, classes) for g, classes in groups.items()}
        for suffix, some in inside.items():
            right = (logits.argmax(1) == labels)[some].mean()
            assert row[f"{prefix}accuracy{suffix}"] == pytest.approx(right)
            z, y = torch.from_numpy(logits[some]).double(), torch.from_numpy(labels[some])
            ece = multiclass_calibration_error(z.softmax(1), y, num_classes=10, n_bins=15)
            assert row[f"{prefix}ECE{suffix}"] == pytest.approx(ece.item(), abs=1e-6)
    worst = min((clean["logits"].argmax(1) == clean["labels"])[clean["labels"] == c].mean() for c in range(10))
    assert row["worst class"] == pytest.approx(worst)
    assert row["APGD attacks"] == "APGD-CE + APGD-T"
    epochs, images = 15, int(clean["counts"].sum())
    assert row["seconds per image"] == pytest.approx(run.info["seconds"] / (epochs * images), rel=1e-6)
    assert json.loads(json.dumps(row)) == row


def test_adversarial_logits_are_right_exactly_where_all_attacks_were_withstood(run):
    for report in robust_reports(run):
        stored = attack_arrays(run, report)
        held = stored[list(report["attacks"])[-1]]
        assert np.array_equal(stored["adversarial_logits"].argmax(1) == stored["labels"], held)
        assert stored["adversarial_logits"].dtype == np.float32
        assert report["robust_accuracy"] == report["adversarial"]["accuracy"] == pytest.approx(held.mean())


def test_early_reports_give_the_accuracy_and_none_for_the_rest(run):
    (report,) = [r for r in robust_reports(run) if list(r["attacks"]) == ["PGD-20"]]
    early = {name: value for name, value in report.items() if name not in ("adversarial", "arrays")}
    assert attack_arrays(run, early) is None
    row = card.row(run.info, [early], epsilon=EPSILON)
    assert row["PGD-20 accuracy"] == report["robust_accuracy"]
    assert {row[f"PGD-20 {m}"] for m in ("accuracy few", "ECE", "ECE many")} == {None}
    assert {row[f"APGD {m}"] for m in ("accuracy", "accuracy few", "ECE", "attacks")} == {None}
    assert card.of_run(run)["PGD-20 accuracy"] is None  # another epsilon


def test_every_stored_record_has_a_row():
    records = reference.read("adversarial_glyphs")
    rows = [card.row(record, record["robust"]) for record in records if "robust" in record]
    assert len(rows) == len([record for record in records if "robust" in record])
    assert all(0 <= row["APGD accuracy"] <= row["accuracy"] for row in rows)
    assert {row["parameters"] for row in rows} == {None}


def test_the_strongest_ensemble_of_most_images_counts(run):
    def report(images, *attacks):
        return {"norm": "linf", "epsilon": 8 / 255, "attacks": dict.fromkeys(attacks), "images": images} | {
            "robust_accuracy": images / 1000
        }

    few, many = report(100, "APGD-CE", "APGD-T", "Square"), report(200, "APGD-CE", "APGD-T")
    most = report(200, "APGD-CE", "APGD-T", "Square")
    assert card.row(run.info, [few, many])["APGD accuracy"] == 0.2
    assert card.row(run.info, [few, many, most])["APGD attacks"] == "APGD-CE + APGD-T + Square"
    assert card.row(run.info, [report(300, "APGD-CE") | {"norm": "l2"}])["APGD accuracy"] is None


def test_cost_is_relative_to_a_run_on_the_same_hardware(run):
    slow = run.info | {"seconds": 3 * run.info["seconds"]}
    assert card.row(slow, [], baseline=run.info)["relative cost"] == pytest.approx(3)
    assert card.row(slow | {"hardware": {"device": "other"}}, [], baseline=run.info)["relative cost"] is None
    assert card.row(slow, [])["relative cost"] is None


@pytest.mark.parametrize(
    ("name", "own", "extra"),
    [
        ("cross_entropy", {}, 0),
        ("lbgat", {"natural": "resnet14"}, 0),  # its teacher is not evaluated
        ("at", {"ema": 0.5}, 0),  # of two copies one is
        ("mislas", {}, 3),  # one scale a class
        ("tau_norm", {}, -3),  # the bias is dropped
        ("ldam", {}, -3),  # there is none
    ],
)
def test_parameters_are_those_that_the_logits_depend_on(name, own, extra):
    network = models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3)
    plain = sum(p.numel() for p in network.parameters())
    method = methods.make(name, network, torch.tensor([5, 3, 1]), **own).train()
    learning = [p.requires_grad for p in method.parameters()]
    assert used_parameters(method, torch.rand(1, 3, 8, 8)) == plain + extra
    assert method.training
    assert [p.requires_grad for p in method.parameters()] == learning
    assert all(p.grad is None for p in method.parameters())


def test_the_command_line_shows_the_card(run, capsys, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(run.folder.parent))
    measure(run, attack="pgd20", images=20)
    assert main(["runs", "show", run.id]) == 0
    out = capsys.readouterr().out
    for rule in ("threshold", "papers"):
        assert "\n".join(card.as_lines(card.of_run(run, rule=rule))) in out
    parameters = run.info["parameters"]
    assert f"{parameters:,} parameters" in out
    assert "robust by group (papers): many" in out
    row = card.of_run(run, rule="papers")
    table = {line[:18].strip(): line[18:].split() for line in card.as_lines(row)}
    groups = [f"PGD-20 accuracy {g}" for g in card.GROUPS]
    assert table["PGD-20 accuracy"] == [f"{row[name]:.1%}" for name in ("PGD-20 accuracy", *groups)]
    assert "APGD accuracy" not in table
