"""The report card of every model: each number against the arrays it comes from."""

from dataclasses import replace

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
from ltlib.results import records, views
from ltlib.results.formats import as_text
from ltlib.results.record import report_from_json
from ltlib.results.records import of_run
from ltlib.results.table import table

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


def test_every_number_of_the_card_follows_from_what_is_stored(run):
    record, clean = of_run(run), run.predictions()
    groups = shot_groups(clean["counts"], "papers")
    stored = {r["attack"]: attack_arrays(run, r) for r in robust_reports(run)}
    tables = {
        "": (clean["logits"], clean["labels"]),
        "pgd20 ": [stored["pgd20"][name] for name in ("adversarial_logits", "labels")],
        "apgd ": [stored["apgd"][name] for name in ("adversarial_logits", "labels")],
    }
    shares = []
    for prefix, (logits, labels) in tables.items():
        inside = {"": np.ones(len(labels), bool)} | {f" {g}": np.isin(labels, classes) for g, classes in groups.items()}
        for suffix, some in inside.items():
            rows = table([record], [f"{prefix}{name}{suffix}" for name in ("accuracy", "ECE", "NLL")], "papers")
            accuracy, ece, nll = (row.mean for row in rows)
            assert accuracy == pytest.approx((logits.argmax(1) == labels)[some].mean())
            z, y = torch.from_numpy(logits[some]).double(), torch.from_numpy(labels[some])
            expected = multiclass_calibration_error(z.softmax(1), y, num_classes=10, n_bins=15)
            assert ece == pytest.approx(expected.item(), abs=1e-6)
            assert nll == pytest.approx(torch.nn.functional.cross_entropy(z, y).item(), rel=1e-6)
            shares += [accuracy] * (suffix == "")
    assert 0 < shares[2] <= shares[1] < shares[0]
    worst = min((clean["logits"].argmax(1) == clean["labels"])[clean["labels"] == c].mean() for c in range(10))
    assert table([record], ["worst class"])[0].mean == pytest.approx(worst)
    epochs, images = 15, int(clean["counts"].sum())
    assert record.seconds_per_image == pytest.approx(run.info["seconds"] / (epochs * images), rel=1e-6)


def test_adversarial_logits_are_right_exactly_where_all_attacks_were_withstood(run):
    for report in robust_reports(run):
        stored = attack_arrays(run, report)
        held = stored[list(report["attacks"])[-1]]
        assert np.array_equal(stored["adversarial_logits"].argmax(1) == stored["labels"], held)
        assert stored["adversarial_logits"].dtype == np.float32
        assert report["robust_accuracy"] == report["adversarial"]["accuracy"] == pytest.approx(held.mean())


def test_early_reports_give_the_accuracy_and_none_for_the_rest(run):
    (told,) = [r for r in robust_reports(run) if r["attack"] == "pgd20"]
    early = {name: value for name, value in told.items() if name not in ("adversarial", "arrays", "attack")}
    assert attack_arrays(run, early) is None
    record = replace(of_run(run), robust=(report_from_json(early, run.folder),))
    names = ["pgd20 accuracy", "pgd20 clean accuracy", "pgd20 accuracy few", "pgd20 ECE", "apgd accuracy"]
    found = {row.metric.name: row.mean for row in table([record], names)}
    assert found == {"PGD-20 accuracy": told["robust_accuracy"], "PGD-20 clean accuracy": told["clean_accuracy"]}
    assert record.robust[0].attack == "pgd20"  # told by its parts


def test_attacks_of_other_sizes_are_lines_of_their_own(run):
    (told,) = [r for r in robust_reports(run) if r["attack"] == "pgd20"]
    changes = [{"images": 100}, {"images": 200}, {"norm": "l2"}, {"epsilon": 2 / 255}]
    record = replace(of_run(run), robust=tuple(report_from_json(told | change, run.folder) for change in changes))
    titles = [row.attack for row in table([record], ["pgd20 accuracy"])]
    assert titles == [
        "PGD-20, linf 1/255, 100 images",
        "PGD-20, linf 1/255, 200 images",
        "PGD-20, l2 1/255, 40 images",
        "PGD-20, linf 2/255, 40 images",
    ]
    assert len(views.robust_summary([record], "pgd20", EPSILON)) == 3
    assert len(views.robust_summary([record], "pgd20", 2 / 255)) == 1


def test_means_leave_out_what_was_not_measured():
    study = records.read("robust_longtail_glyphs")
    lines = {line["label"]: line for line in views.means(study, ["accuracy", "apgd accuracy"])}
    assert lines["cross-entropy"]["APGD accuracy"] is None
    for label, members in records.by_label(study).items():
        line = lines[label]
        assert line["n"] == len(members)
        assert line["accuracy"] == pytest.approx(np.mean([r.metrics["accuracy"] for r in members]))
        robust = [x.robust_accuracy for r in members for x in r.robust if len(x.attacks) == 2]
        assert line["APGD accuracy"] == (pytest.approx(np.mean(robust)) if robust else None)
    seeds = views.by_seed(study, ["accuracy", "apgd accuracy"])
    assert list(seeds) == list(lines)
    for record in study:
        found = seeds[record.label][record.seed]
        robust = [report.robust_accuracy for report in record.robust if report.attack == "apgd"]
        assert found == {"accuracy": record.metrics["accuracy"], "APGD accuracy": robust[0] if robust else None}


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
    assert main(["runs", "show", run.id]) == 0
    out = capsys.readouterr().out
    record = of_run(run)
    for rule in ("threshold", "papers"):
        assert f"groups by the {rule} rule\n{as_text(views.card(record, rule))}\n" in out
    assert f"{run.info['parameters']:,} parameters" in out
    assert "robust by group (papers): many" in out
    lines = {line[""]: line for line in views.card(record, "papers")}
    groups = run.info["metrics"]["groups"]["papers"]
    assert lines["accuracy"] == {"": "accuracy", "all": f"{run.info['metrics']['accuracy']:.1%}"} | {
        name: f"{group['accuracy']:.1%}" for name, group in groups.items()
    }
    assert lines["NLL"]["few"] == f"{groups['few']['nll']:.3f}"
    (told,) = [r for r in robust_reports(run) if r["attack"] == "pgd20"]
    assert lines["accuracy, PGD-20, linf 1/255, 40 images"]["all"] == f"{told['robust_accuracy']:.1%}"
    assert lines["worst class"]["few"] == "-"
