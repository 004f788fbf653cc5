"""Damaged, foreign and copied files: each is named in one line, and hides nothing."""

import copy
import csv
import json
import random
import shutil

import numpy as np
import pytest

from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments.attack import measure
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.results import export, predictions, records
from ltlib.results.table import table

COMMANDS = (["runs", "list"], ["results", "--study", "runs", "--metric", "accuracy", "accuracy few", "robust ECE"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a robust report, which no test changes."""
    run = execute(Experiment(profile="smoke"), tmp_path_factory.mktemp("trained"))
    measure(run, attack="pgd20", epsilon=0.01, images=20)
    return run


@pytest.fixture
def store(trained, tmp_path, monkeypatch):
    """A run store with a whole run ``good`` and one called ``bad`` for the test to damage."""
    root = tmp_path / "runs"
    for name in ("good", "bad"):
        shutil.copytree(trained.folder, root / name)
        info = json.loads((root / name / "run.json").read_text())
        seed = {"good": 0, "bad": 1}[name]
        told = info | {"id": name, "experiment": info["experiment"] | {"seed": seed}}
        (root / name / "run.json").write_text(json.dumps(told))
    monkeypatch.setenv("LTLIB_RUNS", str(root))
    return root


def run_all(capsys, commands=COMMANDS):
    """Every command shows the good run; what they say on standard error, in lines."""
    said = []
    for command in commands:
        assert main(command) == 0
        captured = capsys.readouterr()
        assert "good" in captured.out or "cross-entropy" in captured.out
        said += captured.err.splitlines()
    return said


def test_a_copied_folder_counts_once_and_is_named(store, capsys):
    shutil.copytree(store / "bad", store / "bad (copy)")
    shutil.copytree(store / "bad", store / "a backup")  # before the run in the order of names
    said = []
    (row,) = table(records.own(said.append))
    assert (row.n, row.seeds) == (2, (1, 0))
    assert [record.folder.name for record in row.records] == ["bad", "good"]
    assert len(said) == 2
    assert all("is a copy of the run bad, which counts once" in line for line in said)
    assert main(["results", "--study", "runs", "--to", str(store / "t.csv")]) == 0
    with (store / "t.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["n"] == "2"
    assert "bad (copy)" in capsys.readouterr().err


def test_a_renamed_run_is_still_one(store):
    (store / "bad").rename(store / "other name")
    (row,) = table(records.own(pytest.fail))
    assert row.n == 2
    assert row.records[1].predictions["test"]["labels"].size


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '"text"', "5", '{"state": "finished"}', "{" * 5000, "NaN"])
def test_a_foreign_run_json_is_named_and_hides_nothing(store, capsys, content):
    (store / "bad" / "run.json").write_text(content)
    said = run_all(capsys)
    assert len(said) == len(COMMANDS)
    assert all(line.startswith("left out: ") and "bad" in line for line in said)


def test_a_binary_run_json_is_named(store, capsys):
    (store / "bad" / "run.json").write_bytes(b"\xff\xfe\x00{}")
    assert all("bad" in line for line in run_all(capsys))


def test_damage_that_no_number_needs_leaves_the_run_in_the_table(store):
    (store / "bad" / "metrics.jsonl").write_text("no json\n")
    report = next((store / "bad").glob("robust-*.json"))
    report.write_text('{"attacks": 5}')
    said = []
    found = {record.id: record for record in records.own(said.append)}
    assert set(found) == {"good", "bad"}
    assert found["bad"].curve["epoch"] == []
    assert (len(found["bad"].robust), len(found["good"].robust)) == (0, 1)
    assert len(said) == 2
    assert any("metrics.jsonl" in line for line in said)
    assert any(report.name in line for line in said)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "predictions.npz", "weights.safetensors", "robust"])
def test_export_of_a_damaged_run_is_one_sentence_and_writes_nothing(store, tmp_path, capsys, name):
    file = next((store / "bad").glob("robust-*.json")) if name == "robust" else store / "bad" / name
    if name == "weights.safetensors":
        file.unlink()
    elif name == "metrics.jsonl":
        file.write_text("no json\n")
    else:
        file.write_bytes(file.read_bytes()[:40])
    assert main(["runs", "export", "bad", "--to", str(tmp_path / "study")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert file.name in error
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("flag", ["--to", "--label"])
def test_an_empty_name_is_refused(store, tmp_path, capsys, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    given = {"--to": "study", "--label": "a"} | {flag: " "}
    assert main(["runs", "export", "good", *(part for pair in given.items() for part in pair)]) == 2
    assert f"{flag} needs a name" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


ODD = (None, True, -1, 10**400, 1.5, "", "text", [], [None], {}, {"a": None}, [[]], "\x1b[31m\n")


def places(value, path=()):
    """All places in nested JSON, of long lists only the first two."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 2)):
            yield from places(value[i], (*path, i))


def changed(value, path, new):
    """A copy with another value, or without it where ``new`` is ``KeyError``."""
    value = copy.deepcopy(value)
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    if new is KeyError:
        del inside[path[-1]]
    else:
        inside[path[-1]] = new
    return value


@pytest.mark.parametrize("name", ["run.json", "robust"])
def test_no_change_of_a_file_ends_in_anything_but_a_sentence(store, capsys, name):
    """A seeded sample of all places in the file and all odd values, through everything that reads it."""
    file = next((store / "bad").glob("robust-*.json")) if name == "robust" else store / "bad" / name
    told = json.loads(file.read_text())
    draw = random.Random(0)
    cases = [(path, new) for path in places(told) if path for new in (KeyError, *ODD)]
    for path, new in draw.sample(cases, 80):
        file.write_text(json.dumps(changed(told, path, new)))
        for command in (*COMMANDS, ["runs", "show", "bad"]):
            status = main(command)
            captured = capsys.readouterr()
            assert status in (0, 2), (path, new)
            assert "\x1b" not in captured.out + captured.err
            if command[1] != "show":
                assert status == 0, (path, new, captured.err)
                assert "cross" in captured.out


def test_a_record_of_a_study_that_is_damaged_is_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "studies", lambda: tmp_path)
    file = export.export(trained, tmp_path / "study", "plain")
    told = json.loads(file.read_text())
    (tmp_path / "study" / "other.json").write_text(json.dumps(told | {"metrics": {}}))
    shutil.copy(file, file.with_name("copy.json"))
    said = []
    assert [record.file for record in records.read("study", said.append)] == [file]
    assert len(said) == 2
    assert any("other.json is no record" in line for line in said)
    assert any("copy.json is a copy of the run" in line for line in said)
    file.with_suffix(".npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="is damaged"):
        _ = records.read("study", said.append)[0].predictions


def test_two_spellings_of_an_accent_are_one_label(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "studies", lambda: tmp_path)
    file = export.export(trained, tmp_path / "study", "cafe\u0301")
    other = json.loads(file.read_text()) | {"id": "second", "label": "caf\u00e9"}
    file.with_name("second.json").write_text(json.dumps(other))
    (row,) = table(records.only(records.read("study"), method="cafe\u0301"))
    assert row.n == 2


def test_the_logits_of_a_study_that_asks_for_them_give_the_whole_report_card(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(trained.folder.parent))
    assert main(["runs", "export", trained.id, "--to", str(tmp_path / "s"), "--label", "a", "--logits"]) == 0
    file = tmp_path / "s" / f"{trained.id}.json"
    record = records.from_json(json.loads(file.read_text()), "s", file)
    test = record.predictions["test"]
    assert test["logits"].dtype == np.float16
    assert np.array_equal(test["logits"].argmax(1), test["predicted"])
    card, told = predictions.card(test, np.array(record.data["counts"])), record.metrics
    # float16 keeps 11 bits: a logit is off by at most a 2048th of itself, and a log-probability by twice that
    bound = 2 * float(np.abs(test["logits"].astype(float)).max()) / 2048
    for measured, expected in [(card, told), *zip(groups(card), groups(told), strict=True)]:
        assert measured["accuracy"] == expected["accuracy"]
        for name in ("nll", "confidence_gap", "brier"):
            assert measured[name] == pytest.approx(expected[name], abs=2 * bound)
    assert card["confusion"] == told["confusion"]
    assert "logits" not in predictions.unpack(export.export(trained, tmp_path / "t", "a").with_suffix(".npz"))["test"]


def groups(card):
    return [g for rule in card["groups"].values() for g in rule.values() if g["accuracy"] is not None]


def test_accuracy_and_confidence_of_each_class_travel_with_the_record(trained, tmp_path):
    file = export.export(trained, tmp_path, "a")
    record = records.from_json(json.loads(file.read_text()), "s", file)
    classes, lines = record.predictions["classes"], trained.metrics
    assert classes["epoch"].tolist() == [line["epoch"] for line in lines if "class_accuracy" in line]
    assert classes["accuracy"][-1] == pytest.approx(lines[-1]["class_accuracy"])
    assert classes["confidence"][-1] == pytest.approx(lines[-1]["class_confidence"])
    assert record.precision == "float32"
    told = {name: value for name, value in json.loads(file.read_text()).items() if name not in ("precision", "curve")}
    early = records.from_json(told, "s", file)
    assert (early.precision, early.curve) == (None, {})


def test_the_largest_logit_stays_the_largest_in_half_precision():
    generator = np.random.default_rng(0)
    logits = (generator.normal(size=(2000, 10)) * 20).astype(np.float32)
    logits[:500, 3] = logits[:500].max(1)
    logits[:500, 7] = np.nextafter(logits[:500, 3], np.float32(np.inf))  # ahead by the last bit
    logits[500, 0] = 1e30
    half = predictions.half(logits)
    assert np.isfinite(half).all()
    assert np.array_equal(half.argmax(1), logits.argmax(1))
