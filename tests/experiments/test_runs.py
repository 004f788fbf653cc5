"""Run folders that are damaged, foreign or looked at while they are trained."""

import fcntl
import json
import os
import threading

import numpy as np
import pytest
import torch

from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments import runs
from ltlib.experiments.execute import about
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan

K = 3


@pytest.fixture
def run():
    """A run that says that it is finished, without training."""
    planned = plan(Experiment(profile="smoke", imbalance_factor=2, overrides="image_size=8, num_classes=3, n_max=4"))
    planned.run.update(**about(planned, torch.device("cpu")) | {"state": "finished"})
    logits = np.arange(4 * K, dtype=np.float32).reshape(4, K)
    planned.run.store_predictions(logits, np.array([0, 1, 2, 2]), np.array([4, 3, 2]))
    planned.run.store_metrics([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    return planned.run


def test_a_whole_run_is_read(run):
    assert run.state == "finished"
    assert [record["loss"] for record in run.metrics] == [0.5, 0.25]
    assert run.predictions()["labels"].tolist() == [0, 1, 2, 2]


WITHOUT = [(name,) for name in ("state", "command", "experiment", "recipe", "hyperparameters", "data")]
WITHOUT += [("experiment", "method"), ("recipe", "backbone"), ("data", "counts"), ("data", "fingerprint")]


@pytest.mark.parametrize("path", WITHOUT, ids=".".join)
@pytest.mark.parametrize("value", ["missing", None, 3.5, []], ids=str)
def test_a_run_json_of_another_shape_is_named(run, path, value):
    told = json.loads((run.folder / "run.json").read_text())
    holder = told if len(path) == 1 else told[path[0]]
    if value == "missing":
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    (run.folder / "run.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"run\.json is not the file of a run \(" + (".".join(path) if value else "")):
        _ = run.state


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{}", b"[]", b"3", b'"finished"', b"\xff\xfe", b'{"state": NaN}', b'{"state": 1e999}', b"[" * 100_000],
    ids=range(10),
)
def test_a_foreign_run_json_is_one_sentence_in_every_command(run, content, capsys):
    (run.folder / "run.json").write_bytes(content)
    for command in (["runs", "show", run.id], ["robust", run.id, "--images", "4"]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "run.json" in said
        assert said.count("\n") == 1


def test_a_pipe_in_place_of_a_file_does_not_hang(run):
    for name, read in (("run.json", lambda: run.info), ("predictions.npz", run.predictions)):
        (run.folder / name).unlink()
        os.mkfifo(run.folder / name)
        with pytest.raises(InputError, match=f"{name} cannot be read .it is no plain file"):
            read()
        (run.folder / name).unlink()
        (run.folder / name).mkdir()
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read()
        break_free = json.dumps({"state": "new"})
        (run.folder / name).rmdir()
        (run.folder / name).write_text(break_free)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"epoch": 1}\n{"epo\n', r"metrics\.jsonl cannot be read"),
        (b'{"epoch": 1}\n{"epoch": 3}\n', "Line 2 of .* is not the record of epoch 2"),
        (b"[1]\n", "Line 1 of .* is not the record"),
        (b'{"epoch": 1, "loss": NaN}\n', "it holds the number NaN"),
        (b"\xff\n", r"metrics\.jsonl cannot be read"),
    ],
)
def test_damaged_metrics_are_named(run, content, message):
    (run.folder / "metrics.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        _ = run.metrics


GOOD = {"logits": np.zeros((4, K), np.float32), "labels": np.array([0, 1, 2, 2]), "counts": np.array([4, 3, 2])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": np.full((4, K), np.nan, np.float32)}, "some logits are not finite"),
        ({"labels": np.array([0, 1, 2, 3])}, "labels are from 0 to 3 with 3 classes"),
        ({"labels": np.array([-1, 1, 2, 2])}, "labels are from -1 to 2"),
        ({"labels": np.array([0, 1])}, "shapes are"),
        ({"labels": np.array([0.0, 1, 2, 2])}, "types are"),
        ({"counts": np.array([4, 3])}, "shapes are"),
        ({"logits": np.zeros(4, np.float32)}, "shapes are"),
        ({"logits": np.zeros((0, K), np.float32), "labels": np.zeros(0, int)}, "shapes are"),
        ({"logits": np.array([[object()]])}, "cannot be read"),
    ],
)
def test_damaged_predictions_are_named(run, changes, message):
    with open(run.folder / "predictions.npz", "wb") as file:
        np.savez(file, **(GOOD | changes))
    with pytest.raises(InputError, match=rf"predictions\.npz .*{message}"):
        run.predictions()


def test_predictions_cut_at_any_place_are_named(run):
    file = run.folder / "predictions.npz"
    whole = file.read_bytes()
    for end in range(0, len(whole), 37):
        file.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"predictions\.npz cannot be read"):
            run.predictions()


def test_looking_makes_no_folder_and_no_start_fail(run, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "START", 60.0)  # a looker can be kept from the processor while it looks
    assert runs.Run(tmp_path / "nothing").state == "new"
    assert not (tmp_path / "nothing").exists()
    assert not run.in_use()
    with run.locked():
        assert run.in_use()
    over, seen = threading.Event(), []

    def look():
        while not over.is_set():
            seen.append(run.in_use())

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        started = 0
        while started < 200 or len(seen) < 200:
            with run.locked():
                started += 1
    finally:
        over.set()
        for looker in lookers:
            looker.join()
    assert len(seen) >= 200


def test_lookers_do_not_see_each_other(run):
    with run.locked():
        pass
    with open(run.folder / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not run.in_use()


def test_a_start_waits_for_the_end_of_a_look(run, monkeypatch):
    monkeypatch.setattr(runs, "START", 60.0)
    with run.locked():
        pass
    look = open(run.folder / ".lock")  # noqa: SIM115 (closed by the timer)
    fcntl.flock(look, fcntl.LOCK_SH)
    threading.Timer(0.2, look.close).start()
    with run.locked():
        assert run.in_use()
