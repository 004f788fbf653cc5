"""The table of everything measured: computed again from the raw files, and new runs in it without any code."""

import csv
import json
import re
import shutil
import statistics

import pytest
from scipy import stats

from ltlib import paths
from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.results import published, reference, results, tables
from ltlib.results.provenance import as_lines, provenance

STUDIES = reference.names()


def raw(study):
    """label -> records, read here without the package."""
    found = {}
    for file in sorted((paths.project() / "data" / "reference_runs" / study).glob("*.json")):
        record = json.loads(file.read_text())
        found.setdefault(record["label"], []).append(record)
    return found


def in_raw(record, metric, rule):
    """A clean metric, looked up by hand."""
    card = record["metrics"]
    measure, _, group = metric.partition(" ")
    if group:
        card = card["groups"].get(rule, {}).get(group, {"accuracy": None, "ece": None})
    return card.get(measure.lower())


def assert_spread(row, values):
    assert row["n"] == len(values)
    assert sorted(row["values"]) == sorted(values)
    assert row["mean"] == pytest.approx(sum(values) / len(values))
    if len(values) == 1:
        assert row["sd"] is row["low"] is row["high"] is None
        return
    bounds = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert row["sd"] == pytest.approx(statistics.stdev(values))
    assert (row["low"], row["high"]) == pytest.approx((bounds.low, bounds.high))


@pytest.mark.parametrize("rule", ["papers", "threshold"])
@pytest.mark.parametrize("study", STUDIES)
def test_every_row_is_computed_again_from_the_raw_files(study, rule):
    metrics = ["accuracy", "accuracy few", "ECE", "ECE many"]
    rows = {(row["label"], row["metric"]): row for row in results.table(results.measured([study]), metrics, rule)}
    records = raw(study)
    for label, members in records.items():
        for metric in metrics:
            values = [value for m in members if (value := in_raw(m, metric, rule)) is not None]
            assert ((label, metric) in rows) == bool(values)
            if values:
                assert_spread(rows[label, metric], values)
        best = [m["best_epochs"]["test_accuracy"]["test_accuracy"] for m in members]
        assert rows[label, "accuracy"]["best on test"] == pytest.approx(sum(best) / len(best))
        assert rows[label, "ECE"]["best on test"] is None
    order = (reference.studies() / study / "order.txt").read_text().splitlines()
    assert list(dict.fromkeys(label for label, _ in rows)) == order


def test_last_best_on_test_and_chosen_on_validation_stand_apart():
    records = reference.read("mislas_cifar10_exact")[:3]
    for record, (last, best, chosen) in zip(records, [(0.5, 0.6, 0.4), (0.6, 0.6, 0.5), (0.4, 0.6, 0.3)], strict=True):
        record |= {"study": "mislas_cifar10_exact"}
        record["metrics"]["accuracy"] = last
        record["best_epochs"] = {"test_accuracy": {"test_accuracy": best}}
        record["best_epochs"]["validation_accuracy"] = {"test_accuracy": chosen, "validation_accuracy": 0.9}
    (row,) = results.table(records)
    columns = [row[name] for name in ("mean", "best on test", "chosen on validation")]
    assert columns == pytest.approx([0.5, 0.6, 0.4])
    del records[1]["best_epochs"]["validation_accuracy"]  # of two seeds there is no mean over three
    assert results.table(records)[0]["chosen on validation"] is None


@pytest.mark.parametrize("study", STUDIES)
def test_robust_rows_keep_attack_ball_and_images_apart(study):
    rows = results.table(results.measured([study]), ["robust accuracy"])
    found = {}
    for label, members in raw(study).items():
        for report in (r for member in members for r in member.get("robust", [])):
            radius = f"{round(report['epsilon'] * 255)}/255"
            attack = f"{' + '.join(report['attacks'])}, linf {radius}, {report['images']:,} images"
            found.setdefault((label, attack), []).append(report["robust_accuracy"])
    assert {(row["label"], row["attack"]) for row in rows} == set(found)
    for row in rows:
        assert_spread(row, found[row["label"], row["attack"]])
        assert row["attack command"].startswith(f"python -m ltlib robust {row['runs'].split()[0]} --attack ")


def test_no_row_has_a_seed_twice():
    for members in results.settings(results.measured(STUDIES)):
        seeds = [record["experiment"]["seed"] for record in members]
        assert len(set(seeds)) == len(seeds), (members[0]["study"], members[0]["label"])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run store: two seeds of one setting, a second stage on each, a setting of its own, and an unfinished run."""
    folder = tmp_path_factory.mktemp("store") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTLIB_RUNS", str(folder))
        for seed in (0, 1):
            first = execute(Experiment("mixup", profile="smoke", seed=seed, overrides="validation=0.2"))
            overrides = f"validation=0.2, stage1={first.id}"
            execute(Experiment("crt", profile="smoke", seed=seed, overrides=overrides))
        execute(Experiment("mixup", profile="smoke", overrides="validation=0.2, alpha=0.5"))
        shutil.copytree(first.folder, folder / "half")
    info = json.loads((folder / "half" / "run.json").read_text())
    (folder / "half" / "run.json").write_text(json.dumps(info | {"id": "half", "state": "failed"}))
    return folder


def test_new_runs_appear_without_code_grouped_by_all_but_their_seed(own, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(own))
    rows = {row["label"]: row for row in results.table(results.measured(["runs"]))}
    labels = {
        "mixup (validation=0.2)": 2,
        "cRT (validation=0.2, stage1=mixup)": 2,
        "mixup (validation=0.2, alpha=0.5)": 1,
    }
    assert {label: row["n"] for label, row in rows.items()} == labels
    infos = [json.loads((own / run / "run.json").read_text()) for run in rows["mixup (validation=0.2)"]["runs"].split()]
    row = rows["mixup (validation=0.2)"]
    assert sorted(row["values"]) == sorted(info["metrics"]["accuracy"] for info in infos)
    assert {row["study"] for row in results.table(results.measured())} == {*STUDIES, "runs"}


def test_second_stages_on_different_first_ones_are_no_seeds_of_each_other(own, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(own))
    records = results.measured(["runs"])
    crt = [record for record in records if record["experiment"]["method"] == "crt"]
    other = next(record for record in records if record["hyperparameters"].get("alpha") == 0.5)
    crt[0]["hyperparameters"]["stage1"] = other["id"]
    assert [len(members) for members in results.settings(records) if members[0] in crt] == [1, 1]


def test_all_that_stands_behind_an_own_number(own, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(own))
    (row,) = results.table(results.only(results.measured(["runs"]), method="crt"))
    facts = provenance(row)
    assert [run["run"] for run in facts] == row["runs"].split()
    for run, seed in zip(facts, "01", strict=True):
        info = json.loads((own / run["run"] / "run.json").read_text())
        assert run["command"] == info["command"]
        assert run["seed"] == seed
        assert re.fullmatch(rf"python -m ltlib train --method mixup .*{'--seed 1 ' * int(seed)}.*", run["after"])
        assert info["data"]["fingerprint"] in run["data"]
        assert info["versions"]["torch"] in run["versions"]
        assert run["predictions"] == str(own / run["run"] / "predictions.npz")


@pytest.mark.parametrize("study", STUDIES)
def test_a_reviewer_finds_all_that_stands_behind_a_stored_number(study):
    records = {record["id"]: record for members in raw(study).values() for record in members}
    for row in results.table(results.measured([study]), ["accuracy", "robust accuracy"])[::3]:
        for run in provenance(row):
            record = records[run["run"]]
            assert run["command"] == record["command"]
            assert record["weights_sha256"] in run["weights"]
            assert record["data"]["fingerprint"] in run["data"]
            assert record["hardware"]["device"] in run["hardware"]
            assert record["revision"] == run["commit"]
            assert (paths.project() / run["record"]).exists()
            if start := record["hyperparameters"].get("stage1"):
                assert run["after"] == records[start]["command"]
            if row["attack"]:
                assert run["attack"].startswith(f"python -m ltlib robust {run['run']} ")
                assert re.fullmatch(r"(\d+) of \d+ passed", run["checks"])
            elif (reference.studies() / study / f"{run['run']}.npz").exists():
                assert (paths.project() / run["predictions"].split(",")[0]).exists()


def test_what_is_shared_is_told_once():
    facts = [{"data": "d", "seed": "0"}, {"data": "d", "seed": "1"}]
    assert [line.split() for line in as_lines(facts)] == [["data", "d"], [], ["seed", "0"], [], ["seed", "1"]]


def cells_of(file):
    """The table in a Markdown or LaTeX file, unescaped: header, then rows."""
    text = file.read_text()
    if file.suffix == ".md":
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        return [re.split(r" (?<!\\)\| ", line[2:-2]) for line in [lines[0], *lines[2:]]]
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    plain = [re.sub(r"\\([&%$#_{}])", r"\1", line.replace(r"$\pm$", "±")) for line in lines]
    return [line.split(" & ") for line in plain]


@pytest.mark.parametrize("papers", [False, True])
def test_what_is_written_reads_back_equal(tmp_path, papers):
    records = results.measured(["mislas_cifar10_exact"])
    metrics = ["accuracy", "ECE"]
    rows = published.beside(records, metrics) if papers else results.table(records, metrics)
    written = {kind: tables.write(rows, tmp_path / "new" / f"t{kind}", "papers") for kind in tables.FORMATS}

    with written[".csv"].open(newline="") as text:
        back = list(csv.DictReader(text))
    for row, line in zip(rows, back, strict=True):
        assert line.pop("rule") == "papers"
        assert line.pop("values") == " ".join(map(repr, row["values"]))
        for name, value in line.items():
            assert value == "" if row[name] is None else type(row[name])(value) == row[name]

    shown = tables.readable(rows)
    for kind in (".md", ".tex"):
        assert cells_of(written[kind]) == [list(shown[0]), *(list(line.values()) for line in shown)]
        assert all(row["command"] in written[kind].read_text() for row in rows)
    first = shown[0]
    assert first["mean"] == f"{100 * rows[0]['mean']:.1f}% ± {100 * rows[0]['sd']:.1f}%"


def test_nothing_is_overwritten_with_other_content(tmp_path):
    rows = results.table(results.measured(["mislas_cifar10_exact"]))
    file = tables.write(rows, tmp_path / "a.csv", "papers")
    before = file.read_bytes()
    tables.write(rows, file, "papers")
    with pytest.raises(InputError, match=r"a\.csv exists with other content"):
        tables.write(rows[:1], file, "papers")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "mislas"], "study 'mislas' is not known"),
        (["--method", "MISLAS"], "No result has method 'MISLAS'. Did you mean"),
        (["--dataset", "cifar"], "No result has dataset 'cifar'"),
        (["--metric", "accuracy", "top1"], "metric 'top1' is not known"),
        (["--rule", "paper"], "rule 'paper' is not known. Did you mean 'papers'"),
        (["--to", "table.xlsx"], "ends in .csv, .md, .tex; got 'table.xlsx'"),
        (["--study", "reslt_glyphs", "--papers", "--to", "none.csv"], "no result to write"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["results", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_prints_table_commands_and_for_one_row_all_behind_it(capsys):
    assert main(["results", "--study", "mislas_cifar10_exact", "--metric", "accuracy", "accuracy few"]) == 0
    out = capsys.readouterr().out
    rows = results.table(results.measured(["mislas_cifar10_exact"]), ["accuracy", "accuracy few"])
    assert all(row["command"] in out and f"{row['mean']:.1%} ± {row['sd']:.1%}" in out for row in rows)
    assert "SHA-256" not in out
    assert main(["results", "--study", "mislas_cifar10_exact", "--method", "MiSLAS"]) == 0
    out = capsys.readouterr().out
    row = next(row for row in rows if row["label"] == "MiSLAS")
    assert all(f"run         {run}" in out for run in row["runs"].split())
    assert out.count("weights     SHA-256") == 3
