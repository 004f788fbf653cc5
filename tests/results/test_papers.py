"""The papers' numbers: a well-formed file, beside ours where the question is the same, differences from the facts."""

import csv
import re
from dataclasses import replace

import pytest
from scipy import stats

from ltlib import paths
from ltlib.__main__ import main
from ltlib.results import papers, records
from ltlib.results.table import table

FILE = paths.project() / "data" / "published_results.csv"
COLUMNS = [
    "paper",
    "method",
    "label",
    "dataset",
    "imbalance_factor",
    "backbone",
    "metric",
    "value",
    "source",
    "verified",
]
METRIC = re.compile(
    r"top1( (forward|backward)-\d+)?|clean|ece15|many|medium|few|(clean|PGD-20) (dog|frog|horse|ship|truck)"
    r"|(PGD-20|CW-20|CW-100|AutoAttack)( eps \S+)?"
)


@pytest.fixture(scope="module")
def rows():
    with FILE.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return list(reader)


def test_the_file_is_well_formed(rows):
    assert len(rows) > 600
    for row in rows:
        assert all(
            row[name].strip() == row[name] != "" for name in COLUMNS if name not in ("label", "imbalance_factor")
        )
        assert 0 < float(row["value"]) <= 100
        assert row["verified"] in ("yes", "no")
        assert row["imbalance_factor"] in (("10", "50", "100") if row["dataset"].startswith("CIFAR") else ("",)) or (
            row["dataset"] in ("CIFAR-10", "CIFAR-100") and row["imbalance_factor"] == ""
        )
        assert METRIC.fullmatch(row["metric"])
        assert row["dataset"] in {*papers.DATASETS, "ImageNet"}


def test_what_nobody_could_read_is_not_called_verified(rows):
    doubtful = [row for row in rows if re.search("memory|second hand|third-party|user|conflict", row["source"])]
    assert len(doubtful) > 50
    assert {row["verified"] for row in doubtful} == {"no"}


# A sample by hand: the tables of the papers, their repositories, and RobustBench.
@pytest.mark.parametrize(
    ("paper", "method", "dataset", "factor", "backbone", "metric", "value"),
    [
        ("MiSLAS", "MiSLAS (paper)", "CIFAR-10-LT", "100", "ResNet-32", "top1", 82.1),
        ("MiSLAS", "MiSLAS (paper)", "CIFAR-10-LT", "100", "ResNet-32", "ece15", 3.70),
        ("MiSLAS", "MiSLAS (released)", "CIFAR-100-LT", "50", "ResNet-32", "ece15", 2.47),
        ("MiSLAS", "LWS+mixup", "Places-LT", "", "ResNet-152", "top1", 39.7),
        ("MiSLAS", "CE", "CIFAR-100-LT", "100", "ResNet-32", "top1", 38.4),
        ("ResLT", "RIDE+ResLT 3 experts", "ImageNet-LT", "", "ResNeXt-50", "top1", 57.6),
        ("LBGAT", "LBGAT0", "CIFAR-100", "", "WRN-34-10", "AutoAttack eps 0.031", 27.16),
        ("LBGAT", "LBGAT+ALP", "CIFAR-10", "", "WRN-34-10", "PGD-20 eps 0.031", 57.60),
        ("RobustBench", "AWP", "CIFAR-10", "", "WRN-34-10", "AutoAttack eps 8/255", 56.17),
        ("later-LT-adv", "AT-BSL", "CIFAR-10-LT", "50", "ResNet-18", "AutoAttack", 33.04),
        ("later-LT-adv", "TAET", "CIFAR-10-LT", "10", "not stated", "PGD-20 truck", 27.0),
        ("later-LT", "SADE", "CIFAR-100-LT", "100", "ResNet-32", "top1 backward-50", 42.4),
        ("later-LT", "CE-DRW + CMO", "iNaturalist2018", "", "ResNet-50", "top1", 70.9),
        ("DKL", "IKL-KD from ResNeXt-101", "ImageNet-LT", "", "ResNet-50", "top1", 49.224),
        ("DKL", "IKL-AT", "CIFAR-10", "", "WRN-34-10", "AutoAttack", 57.13),
    ],
)
def test_a_sample_of_the_numbers(rows, paper, method, dataset, factor, backbone, metric, value):
    wanted = (paper, method, dataset, factor, backbone, metric)
    found = [r for r in rows if tuple(r[n] for n in COLUMNS if n in NAMED) == wanted]
    assert [float(row["value"]) for row in found] == [value]


NAMED = ("paper", "method", "dataset", "imbalance_factor", "backbone", "metric")


@pytest.fixture(scope="module")
def beside():
    return papers.beside(records.measured(records.names()))


def test_only_the_same_question_stands_beside_ours(beside, rows):
    assert beside
    for pair in beside:
        row, told = pair.row, pair.theirs
        theirs = [r for r in rows if r["method"] == told.method and r["source"] == told.source]
        same = [r for r in theirs if float(r["value"]) / 100 == pytest.approx(told.value)]
        assert row.label in {r["label"] for r in same}
        assert row.first.data["name"].removeprefix("folder:").startswith("cifar10")  # letters are in no paper
        assert row.first.imbalance in {r["imbalance_factor"] or "1" for r in same}
        assert pair.difference == pytest.approx(row.mean - told.value)
        assert (row.metric.name == "robust accuracy") == told.metric.startswith(("PGD", "AutoAttack"))
        if told.metric.startswith("AutoAttack"):
            assert row.attack.startswith(("APGD", "AutoAttack"))


def reason(beside, study, label, method):
    pairs = ((p, (p.row.first.study, p.row.label, p.theirs.method)) for p in beside)
    return next(pair for pair, about in pairs if about == (study, label, method)).why


def test_reasons_come_from_the_facts(beside):
    why = reason(beside, "mislas_cifar10_exact", "MiSLAS", "MiSLAS (paper)")
    assert list(why) == [
        "images of the copy cifar10-exact",
        "2,006 training images, theirs 12,406",
        "1,017 test images, theirs 10,000",
        "backbone resnet20, theirs ResNet-32",
        "epochs 80, theirs 200",
        "shift_bn true, theirs false",
        "last epoch, theirs the best one on the test set",
        "mean of 3 seeds, theirs one number without a spread",
    ]
    # of cRT with mixup, the mixup is no difference
    assert "mixup" not in " ".join(reason(beside, "mislas_cifar10_exact", "cRT + mixup", "cRT+mixup"))
    robust = next(p for p in beside if p.row.metric.under and p.row.label == "TRADES 6").why
    robust = "; ".join(robust)
    assert "attack APGD-CE + APGD-T, linf 8/255, 200 images, theirs AutoAttack" in robust
    assert "3,000 training images, theirs 50,000" in robust
    assert "best one on the test set" not in robust
    assert "one seed, theirs" in robust


def test_the_authors_own_setting_leaves_no_reason_but_the_seeds():
    record = next(r for r in records.read("mislas_cifar10_exact") if r.label == "cross-entropy")
    theirs = next(
        r for r in papers.read() if (r.method, r.dataset) == ("CE", "CIFAR-10-LT") and r.imbalance_factor == 100
    )
    data = record.data | {"name": "cifar10", "train_images": 12_406, "test_images": 10_000}
    recipe = record.recipe | {"backbone": "resnet32", "epochs": 200}
    (row,) = table([replace(record, data=data, recipe=recipe)])
    assert papers.reasons(row, theirs) == [
        "last epoch, theirs the best one on the test set",
        "one seed, theirs one number without a spread",
    ]


def test_gains_are_paired_here_and_from_one_source_there():
    study = records.read("mislas_cifar10_exact")
    rows = {(gain.label, gain.source[-7:]): gain for gain in papers.gains(study)}
    ours = {label: [r.metrics["accuracy"] for r in found] for label, found in records.by_label(study).items()}
    expected = {("MiSLAS", "Table 4"): 82.1 - 70.4, ("MiSLAS", " slides"): 82.2 - 72.3, ("LWS", " slides"): 74.0 - 72.3}
    assert len(rows) == 7
    for key, gain in expected.items():
        assert 100 * rows[key].theirs == pytest.approx(gain)
        bounds = stats.ttest_rel(ours[key[0]], ours["cross-entropy"]).confidence_interval(0.95)
        assert (rows[key].ours.low, rows[key].ours.high) == pytest.approx((bounds.low, bounds.high))


def test_the_command_line_tells_why(capsys):
    assert main(["results", "--study", "mislas_cifar10_exact", "--method", "MiSLAS", "--papers"]) == 0
    out = capsys.readouterr().out
    assert "1, 2, 3: differs from the paper's: images of the copy cifar10-exact; 2,006 training images" in out
    assert "82.10%" in out
    assert "-32.1 points" in out
