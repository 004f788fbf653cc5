"""The predictions behind a record: small, and enough to compute its numbers again."""

import json

import numpy as np
import pytest

from ltlib.errors import InputError
from ltlib.evaluation.evaluate import report_card
from ltlib.experiments.attack import attack_command, measure, robust_reports
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.results import export, predictions, records

HALF_A_STEP = 0.5 / predictions.STEPS
COUNTS = np.array([500, 300, 180, 107, 64, 38, 23, 13, 8, 5])


def logits_of(n=3000, classes=10, scale=3.0):
    return np.random.default_rng(1).normal(size=(n, classes)).astype(np.float32) * scale


def assert_told_again(card, measured):
    assert measured["accuracy"] == card["accuracy"]
    assert measured["confusion"].tolist() == card["confusion"]
    assert measured["per_class_accuracy"].tolist() == card["per_class_accuracy"]
    assert abs(measured["ece"] - card["ece"]) <= HALF_A_STEP
    for rule, groups in card["groups"].items():
        told = {name: group for name, group in groups.items() if group["accuracy"] is not None}
        assert measured["groups"][rule].keys() == told.keys()
        for name, group in told.items():
            assert measured["groups"][rule][name]["accuracy"] == group["accuracy"]
            assert abs(measured["groups"][rule][name]["ece"] - group["ece"]) <= HALF_A_STEP


def test_numbers_follow_from_the_packed_predictions(tmp_path):
    logits, labels = logits_of(), np.arange(3000) % 10
    logits[:5] = 0  # confidence 1/10, and a tie
    logits[5:10, 2] = 1000  # confidence exactly 1
    packed = predictions.pack({"test": predictions.compress(logits, labels)})
    (tmp_path / "a.npz").write_bytes(packed)
    arrays = predictions.unpack(tmp_path / "a.npz")["test"]
    assert_told_again(report_card(logits, labels, COUNTS), predictions.measures(arrays, COUNTS))
    assert len(packed) < 5 * 3000


def test_a_confidence_on_the_edge_of_a_bin_stays_in_its_bin():
    # two classes, confidence 2/3 to rounding: the upper edge of the tenth of 15 bins, closed on the right
    just_below, just_above = np.log(2) - 1e-6, np.log(2) + 1e-6
    for z in (just_below, just_above):
        logits, labels = np.array([[z, 0]], dtype=np.float32), np.array([0])
        confidence = (predictions.compress(logits, labels)["confidence"] - 0.5) / predictions.STEPS
        assert (confidence[0] <= 2 / 3) == (z < np.log(2))


def test_more_classes_than_a_byte_holds():
    labels = np.array([0, 299, 300])
    logits = np.eye(301, dtype=np.float32)[labels] * 9
    arrays = predictions.compress(logits, labels)
    assert arrays["predicted"].tolist() == arrays["labels"].tolist() == labels.tolist()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    found = execute(Experiment(profile="smoke"), tmp_path_factory.mktemp("runs"))
    measure(found, attack="pgd20", epsilon=0.004, images=40)
    return found


def test_export_keeps_predictions_and_robust_ones(run, tmp_path):
    file = export.export(run, tmp_path, "plain")
    record, arrays = json.loads(file.read_text()), predictions.unpack(file.with_suffix(".npz"))
    counts = np.array(record["data"]["counts"])
    assert_told_again(record["metrics"], predictions.measures(arrays["test"], counts))
    (report,) = record["robust"]
    under_attack = predictions.measures(arrays[report["arrays"]], counts)
    assert under_attack["accuracy"] == report["robust_accuracy"]
    assert abs(under_attack["ece"] - report["adversarial"]["ece"]) <= HALF_A_STEP


def test_export_adds_predictions_to_an_older_record_and_overwrites_no_others(run, tmp_path):
    beside = export.export(run, tmp_path, "plain").with_suffix(".npz")
    beside.unlink()
    export.export(run, tmp_path, "plain")
    stored = predictions.unpack(beside)
    stored["test"]["predicted"][0] ^= 1
    beside.write_bytes(predictions.pack(stored))
    changed = beside.read_bytes()
    with pytest.raises(InputError, match=r"\.npz exists with other content"):
        export.export(run, tmp_path, "plain")
    assert beside.read_bytes() == changed


def test_a_robustness_command_is_the_one_that_measures_it(run, monkeypatch, capsys):
    from ltlib.__main__ import main

    (report,) = robust_reports(run)
    monkeypatch.setenv("LTLIB_RUNS", str(run.folder.parent))
    assert main(attack_command(report).split()[3:]) == 0
    assert "measured already" in capsys.readouterr().out


FILES = sorted(records.studies().glob("*/*.npz"))


@pytest.mark.parametrize("study", sorted({file.parent.name for file in FILES}))
def test_stored_numbers_follow_from_stored_predictions(study):
    for file in (file for file in FILES if file.parent.name == study):
        record = json.loads(file.with_suffix(".json").read_text())
        counts, arrays = np.array(record["data"]["counts"]), predictions.unpack(file)
        assert_told_again(record["metrics"], predictions.measures(arrays["test"], counts))
        for report in record.get("robust", []):
            if report.get("arrays") in arrays:
                found = predictions.measures(arrays[report["arrays"]], counts)
                assert found["accuracy"] == report["robust_accuracy"]


def test_stored_runs_are_small():
    files = [*records.studies().glob("*/*")]
    assert len(FILES) >= 144
    assert sum(file.stat().st_size for file in files) < 15_000_000
