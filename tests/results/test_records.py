"""Runs in their small plain-file form, and the tables made of it."""

import json
import statistics

import pytest

from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments.attack import measure
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.results import export, formats, records
from ltlib.results.views import robust_summary, summary


@pytest.fixture
def two_runs():
    return [execute(Experiment(profile="smoke", seed=seed)) for seed in (0, 1)]


def test_export_keeps_what_a_number_needs(two_runs, tmp_path, capsys):
    run = two_runs[0]
    assert main(["runs", "export", run.id, "--to", str(tmp_path / "study"), "--label", "plain"]) == 0
    file = tmp_path / "study" / f"{run.id}.json"
    assert capsys.readouterr().out.strip() == str(file)
    record = json.loads(file.read_text())
    assert record["label"] == "plain"
    assert record["metrics"] == run.info["metrics"]
    assert record["command"] == run.info["command"]
    assert record["data"]["fingerprint"] == run.info["data"]["fingerprint"]
    assert len(record["weights_sha256"]) == 64
    assert {"hardware", "versions", "revision", "recipe", "seconds"} <= set(record)


def test_export_overwrites_nothing_else(two_runs, tmp_path):
    export.export(two_runs[0], tmp_path, "a")
    export.export(two_runs[0], tmp_path, "a")
    with pytest.raises(InputError, match="exists with other content"):
        export.export(two_runs[0], tmp_path, "b")


def test_export_refuses_an_unfinished_run(two_runs, tmp_path):
    two_runs[0].update(state="failed")
    with pytest.raises(InputError, match="is failed: only finished runs have results"):
        export.export(two_runs[0], tmp_path, "a")


def test_summary_is_mean_and_standard_deviation_by_label(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "studies", lambda: tmp_path)
    for run in two_runs:
        export.export(run, tmp_path / "study", "plain")
    export.export(two_runs[0], tmp_path / "other", "single")
    (row,) = summary(records.read("study"))
    accuracy = [run.info["metrics"]["accuracy"] for run in two_runs]
    assert (row["label"], row["n"]) == ("plain", 2)
    assert row["accuracy"] == pytest.approx(sum(accuracy) / 2)
    assert row["± accuracy"] == pytest.approx(statistics.stdev(accuracy))
    few = [run.info["metrics"]["groups"]["papers"]["few"]["accuracy"] for run in two_runs]
    assert row["few"] == pytest.approx(sum(few) / 2)
    (alone,) = summary(records.read("other"))
    assert alone["± accuracy"] is None
    assert summary(records.read("nothing")) == []
    assert formats.as_text([]) == "no finished run"


def test_rows_stand_in_the_order_that_the_study_gives(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "studies", lambda: tmp_path)
    export.export(two_runs[0], tmp_path / "study", "a")
    export.export(two_runs[1], tmp_path / "study", "b")
    (tmp_path / "study" / "order.txt").write_text("b\na\n")
    assert [row["label"] for row in summary(records.read("study"))] == ["b", "a"]


def test_robust_reports_and_the_curve_travel_with_a_run(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "studies", lambda: tmp_path)
    made = [measure(run, attack="pgd20", epsilon=0.01, images=40) for run in two_runs]
    measure(two_runs[0], attack="pgd20", epsilon=0.02, images=40)
    for run in two_runs:
        export.export(run, tmp_path / "study", "plain")
    record = records.read("study")[0]
    assert len(record.robust) == 2
    assert record.curve["epoch"] == [1, 2]
    assert record.curve["test_accuracy"][-1] == pytest.approx(record.metrics["accuracy"])
    (row,) = robust_summary(records.read("study"), "pgd20", 0.01)
    assert (row["label"], row["n"]) == ("plain", 2)
    for name in ("clean", "robust"):
        values = [report[f"{name}_accuracy"] for report in made]
        assert row[name] == pytest.approx(statistics.mean(values))
        assert row[f"± {name}"] == pytest.approx(statistics.stdev(values))
    assert row["reliable"] == sum(report["reliable"] for report in made)
    assert robust_summary(records.read("study"), "apgd", 0.01) == []
