"""The table of everything measured: computed again from the raw files, and new runs in it without any code."""

import csv
import json
import re
import shutil
import statistics
from dataclasses import replace

import pytest
from scipy import stats

from ltlib import paths
from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.results import formats, papers, records, views
from ltlib.results.measures import metric
from ltlib.results.provenance import as_lines, provenance
from ltlib.results.table import table

STUDIES = records.names()


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
    measure, group = re.fullmatch("(.*?)(?: (many|medium|few))?", metric).groups()
    if group:
        card = card["groups"].get(rule, {}).get(group, {})
    return card.get({"worst class": "worst_class_accuracy"}.get(measure, measure.lower().replace(" ", "_")))


def assert_spread(row, values):
    assert row.n == len(values)
    assert sorted(row.values) == sorted(values)
    assert row.mean == pytest.approx(sum(values) / len(values))
    if len(values) == 1:
        assert row.sd is row.spread.low is row.spread.high is None
        return
    bounds = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert row.sd == pytest.approx(statistics.stdev(values))
    assert (row.spread.low, row.spread.high) == pytest.approx((bounds.low, bounds.high))


METRICS = [
    "accuracy",
    "accuracy few",
    "ECE",
    "ECE many",
    "NLL",
    "brier medium",
    "MCE",
    "adaptive ECE few",
    "worst class",
]


@pytest.mark.parametrize("rule", ["papers", "threshold", None])
@pytest.mark.parametrize("study", STUDIES)
def test_every_row_is_computed_again_from_the_raw_files(study, rule):
    rows = {(row.label, row.metric.name): row for row in table(records.read(study), METRICS, rule)}
    names = ["Brier score medium" if metric == "brier medium" else metric for metric in METRICS]
    for label, members in raw(study).items():
        used = rule or ("papers" if len(members[0]["data"]["counts"]) == 10 else "threshold")
        for asked, name in zip(METRICS, names, strict=True):
            values = [value for m in members if (value := in_raw(m, asked, used)) is not None]
            assert ((label, name) in rows) == bool(values)
            if values:
                assert_spread(rows[label, name], values)
                assert rows[label, name].rule == used
        best = [m["best_epochs"]["test_accuracy"]["test_accuracy"] for m in members]
        assert rows[label, "accuracy"].best_on_test == pytest.approx(sum(best) / len(best))
        assert rows[label, "ECE"].best_on_test is None
    order = (records.studies() / study / "order.txt").read_text().splitlines()
    assert list(dict.fromkeys(label for label, _ in rows)) == order


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("nll", "NLL"),
        ("brier", "Brier score"),
        ("mce", "MCE"),
        ("adaptive ECE", "adaptive ECE"),
        ("Adaptive-ece FEW", "adaptive ECE few"),
        ("classwise_ece", "classwise ECE"),
        ("worst class", "worst class"),
        ("worst_class_accuracy", "worst class"),
        ("robust accuracy many", "robust accuracy many"),
        ("pgd20 nll few", "PGD-20 NLL few"),
        ("APGD accuracy", "APGD accuracy"),
        ("apgd clean accuracy", "APGD clean accuracy"),
        ("official accuracy", "AutoAttack accuracy"),
        ("autoattack accuracy", "AutoAttack accuracy"),
    ],
)
def test_a_metric_has_one_name_however_it_is_written(asked, name):
    assert metric(asked).name == name


def test_of_every_measure_of_the_report_card_there_is_a_table():
    """No list of names: what a card holds can be asked for, overall, per group and under attack."""
    (record, *_) = (r for r in records.read("robust_longtail_glyphs") if r.robust)
    whole = {name for name, value in record.metrics.items() if isinstance(value, float)}
    assert whole == {row.metric.measure for row in table([record], sorted(whole))}
    group = {name for name in record.metrics["groups"]["papers"]["few"] if name not in ("classes", "test_images")}
    assert group == {row.metric.measure for row in table([record], [f"{name} few" for name in sorted(group)])}
    attacked = table([record], [f"robust {name}" for name in sorted(group)])
    assert {row.values[0] for row in attacked} == {r.adversarial[name] for r in record.robust for name in group}


def test_last_best_on_test_and_chosen_on_validation_stand_apart():
    members = []
    stored = records.read("mislas_cifar10_exact")[:3]
    for record, (last, best, chosen) in zip(stored, [(0.5, 0.6, 0.4), (0.6, 0.6, 0.5), (0.4, 0.6, 0.3)], strict=True):
        epochs = {"test_accuracy": {"test_accuracy": best}}
        epochs["validation_accuracy"] = {"test_accuracy": chosen, "validation_accuracy": 0.9}
        members.append(replace(record, metrics=record.metrics | {"accuracy": last}, best_epochs=epochs))
    (row,) = table(members)
    assert [row.mean, row.best_on_test, row.chosen_on_validation] == pytest.approx([0.5, 0.6, 0.4])
    del members[1].best_epochs["validation_accuracy"]  # of two seeds there is no mean over three
    assert table(members)[0].chosen_on_validation is None


@pytest.mark.parametrize("study", STUDIES)
def test_robust_rows_keep_attack_ball_and_images_apart(study):
    rows = table(records.read(study), ["robust accuracy"])
    found = {}
    for label, members in raw(study).items():
        for report in (r for member in members for r in member.get("robust", [])):
            radius = f"{round(report['epsilon'] * 255)}/255"
            attack = f"{' + '.join(report['attacks'])}, linf {radius}, {report['images']:,} images"
            found.setdefault((label, attack), []).append(report["robust_accuracy"])
    assert {(row.label, row.attack) for row in rows} == set(found)
    for row in rows:
        assert_spread(row, found[row.label, row.attack])
        assert row.columns()["attack command"].startswith(f"python -m ltlib robust {row.records[0].id} --attack ")


def test_no_row_has_a_seed_twice():
    for members in records.settings(records.measured(STUDIES)):
        seeds = [record.seed for record in members]
        assert len(set(seeds)) == len(seeds), (members[0].study, members[0].label)


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
    rows = {row.label: row for row in table(records.own())}
    labels = {
        "mixup (validation=0.2)": 2,
        "cRT (validation=0.2, stage1=mixup)": 2,
        "mixup (validation=0.2, alpha=0.5)": 1,
    }
    assert {label: row.n for label, row in rows.items()} == labels
    row = rows["mixup (validation=0.2)"]
    infos = [json.loads((own / record.id / "run.json").read_text()) for record in row.records]
    assert row.values == tuple(info["metrics"]["accuracy"] for info in infos)
    assert {row.first.study for row in table(records.measured())} == {*STUDIES, "runs"}


def test_second_stages_on_different_first_ones_are_no_seeds_of_each_other(own, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(own))
    found = records.own()
    crt = [record for record in found if record.method == "crt"]
    other = next(record for record in found if record.hyperparameters.get("alpha") == 0.5)
    crt[0].hyperparameters["stage1"] = other.id
    assert [len(members) for members in records.settings(found) if members[0] in crt] == [1, 1]


def test_all_that_stands_behind_an_own_number(own, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(own))
    (row,) = table(records.only(records.own(), method="crt"))
    facts = provenance(row)
    assert [run["run"] for run in facts] == row.columns()["runs"]
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
    stored = {record["id"]: record for members in raw(study).values() for record in members}
    for row in table(records.read(study), ["accuracy", "robust accuracy"])[::3]:
        for run in provenance(row):
            record = stored[run["run"]]
            assert run["command"] == record["command"]
            assert record["weights_sha256"] in run["weights"]
            assert record["data"]["fingerprint"] in run["data"]
            assert record["hardware"]["device"] in run["hardware"]
            assert record["revision"] == run["commit"]
            assert (paths.project() / run["record"]).exists()
            if start := record["hyperparameters"].get("stage1"):
                assert run["after"] == stored[start]["command"]
            if row.attack:
                assert run["attack"].startswith(f"python -m ltlib robust {run['run']} ")
                assert re.fullmatch(r"(\d+) of \d+ passed", run["checks"])
            elif (records.studies() / study / f"{run['run']}.npz").exists():
                assert (paths.project() / run["predictions"].split(",")[0]).exists()


def test_what_is_shared_is_told_once():
    facts = [{"data": "d", "seed": "0"}, {"data": "d", "seed": "1"}]
    assert [line.split() for line in as_lines(facts)] == [["data", "d"], [], ["seed", "0"], [], ["seed", "1"]]


def cells_of(file):
    """The table in a Markdown or LaTeX file, unescaped: header, then rows."""
    text = file.read_text()
    if file.suffix == ".md":
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        cells = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in [lines[0], *lines[2:]]]
        return [[re.sub(r"\\([\[\]])", r"\1", cell) for cell in line] for line in cells]
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    plain = [re.sub(r"\\([&%$#_{}])", r"\1", line.replace(r"$\pm$", "±")) for line in lines]
    return [line.split(" & ") for line in plain]


@pytest.mark.parametrize("with_papers", [False, True])
def test_what_is_written_reads_back_equal(tmp_path, with_papers):
    found, metrics = records.read("mislas_cifar10_exact"), ["accuracy", "ECE"]
    rows = papers.beside(found, metrics) if with_papers else table(found, metrics)
    sheet = views.sheet(rows)
    written = {kind: formats.write(sheet, tmp_path / "new" / f"t{kind}") for kind in formats.FORMATS}

    with written[".csv"].open(newline="") as text:
        back = list(csv.DictReader(text))
    for row, line in zip([row.columns() for row in rows], back, strict=True):
        assert list(row) == list(line)
        assert line["rule"] == "papers"
        for name, value in line.items():
            if isinstance(row[name], list):
                assert value.split(" ") == [str(one) for one in row[name]]
            else:
                assert value == "" if row[name] is None else type(row[name])(value) == row[name]

    shown = sheet.rows
    for kind in (".md", ".tex"):
        assert cells_of(written[kind]) == [list(shown[0]), *(list(line.values()) for line in shown)]
        assert all(row.columns()["command"] in written[kind].read_text() for row in rows)
    first = rows[0].row if with_papers else rows[0]
    assert shown[0]["mean"] == f"{100 * first.mean:.1f}% ± {100 * first.sd:.1f}%"


def test_numbers_that_are_no_shares_are_not_printed_in_per_cent():
    (row,) = table(records.only(records.read("mislas_cifar10_exact"), method="MiSLAS"), ["nll"])
    (line,) = views.readable([row])
    assert line["mean"] == f"{row.mean:.3f} ± {row.sd:.3f}"


def test_rows_of_several_rules_each_name_theirs():
    rows = table(records.measured(["demo", "adversarial_glyphs"]), ["accuracy medium"])
    lines = views.readable(rows)
    assert [line["rule"] for line in lines] == [row.rule for row in rows]
    assert {row.rule for row in rows} == {"papers", "threshold"}  # ten letters, and forty
    assert "groups by the papers or threshold rule" in views.sheet(rows).foot
    assert all("rule" not in line for line in views.readable(rows[:2]))


def test_nothing_is_overwritten_with_other_content(tmp_path):
    rows = table(records.read("mislas_cifar10_exact"))
    file = formats.write(views.sheet(rows), tmp_path / "a.csv")
    before = file.read_bytes()
    formats.write(views.sheet(rows), file)
    with pytest.raises(InputError, match=r"a\.csv exists with other content"):
        formats.write(views.sheet(rows[:1]), file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "mislas"], "study 'mislas' is not known"),
        (["--method", "MISLAS"], "No result has method 'MISLAS'. Did you mean"),
        (["--dataset", "cifar"], "No result has dataset 'cifar'"),
        (["--metric", "accuracy", "top1"], "metric 'top1' is not known"),
        (["--rule", "paper"], "rule 'paper' is not known. Did you mean 'papers'"),
        (["--metric", "acuracy few"], "Did you mean 'accuracy few'"),
        (["--to", "table.xlsx"], "ends in .csv, .md, .tex; got 'table.xlsx'"),
        (["--to", ""], "--to is empty: give it a value"),
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
    rows = table(records.read("mislas_cifar10_exact"), ["accuracy", "accuracy few"])
    assert all(row.first.command in out and f"{row.mean:.1%} ± {row.sd:.1%}" in out for row in rows)
    assert "SHA-256" not in out
    assert main(["results", "--study", "mislas_cifar10_exact", "--method", "MiSLAS"]) == 0
    out = capsys.readouterr().out
    row = next(row for row in rows if row.label == "MiSLAS")
    assert all(f"run         {record.id}" in out for record in row.records)
    assert out.count("weights     SHA-256") == 3
