"""Several seeds at once, and one run on several processes."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
import torch

from ltlib import paths
from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments import runs
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.launch.processes import parse_seeds, room_for, train_on, train_seeds
from tests.waiting import PATIENCE

SMALL = "image_size=8, num_classes=3, n_max=20, epochs=2"
ONE = Experiment(profile="smoke", imbalance_factor=2.0, overrides="image_size=8, num_classes=3, n_max=20")
SMOKE = {"profile": "smoke", "method": "mixup", "imbalance_factor": 2.0, "overrides": SMALL}


def test_seeds_at_once_equal_each_alone_bit_for_bit(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    together = train_seeds(Experiment(**SMOKE), [1, 2])
    said = capfd.readouterr().out
    assert "seed 1 | mixup  epoch 2/2" in said
    assert "seed 2 | mixup  epoch 2/2" in said
    weights = []
    for seed, run in zip((1, 2), together, strict=True):
        alone = execute(Experiment(**SMOKE, seed=seed), tmp_path / "alone")
        assert run.state == "finished"
        assert run.id == alone.id
        weights.append(runs.read_weights(run))
        for name, tensor in runs.read_weights(alone).items():
            assert torch.equal(weights[-1][name], tensor)
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_seed_in_use_elsewhere_is_named_and_the_other_finishes(capfd):
    held, free = (plan(Experiment(**SMOKE, seed=seed)).run for seed in (0, 1))
    with held.locked(), pytest.raises(InputError, match="Seed 0 did not finish"):
        train_seeds(Experiment(**SMOKE), [0, 1])
    assert "seed 0 | error: The run folder" in capfd.readouterr().out
    assert (held.state, free.state) == ("new", "finished")


@pytest.mark.parametrize(("text", "said"), [("0,x", "whole numbers"), ("", "whole numbers"), ("1,1", "must differ")])
def test_seeds_that_are_none_are_refused(text, said):
    with pytest.raises(InputError, match=said):
        parse_seeds(text)
    assert parse_seeds("3, 0,12") == [3, 0, 12]


def test_seed_and_seeds_together_are_refused(capsys):
    assert main(["train", "--seed", "1", "--seeds", "1,2"]) == 2
    assert "goes with neither" in capsys.readouterr().err
    assert not paths.runs_root().exists()


def test_ctrl_c_stops_all_seeds_and_the_same_command_resumes():
    flags = ["--profile", "smoke", "--imbalance-factor", "2", "--overrides", SMALL.replace("epochs=2", "epochs=100000")]
    # As many are trained at once as there are cores, here two on any machine.
    two_cores = "import joblib, sys\njoblib.cpu_count = lambda **_: 2\n"
    two_cores += "from ltlib.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", two_cores, "train", "--seeds", "0,1", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    try:
        seen = set()
        while len(seen) < 2:  # until both have finished an epoch
            line = process.stdout.readline()
            assert line, process.stderr.read()
            if "epoch" in line:
                seen.add(line.split(" | ")[0])
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):  # all have ended, as they should
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "the same command resumes" in error
    assert [run.state for run in runs.all_runs()] == ["interrupted", "interrupted"]


def test_two_processes_train_one_run_that_is_theirs(capsys):
    run = train_on(2, ONE)
    assert run.state == "finished"
    assert run.info["processes"] == 2
    assert [other.id for other in runs.all_runs()] == [run.id]
    said = capsys.readouterr().out
    assert said.count("epoch 2/2") == 1, "only one rank speaks"
    assert len(run.predictions()["labels"]) == 3 * 20
    train_on(2, ONE)
    assert "is finished" in capsys.readouterr().out


def test_a_failing_process_fails_the_launch(capsys):
    with pytest.raises(InputError, match="the same command resumes"):
        train_on(2, Experiment(profile="smoke", imbalance_factor=2.0, overrides=ONE.overrides + ", lr=1e30"))
    assert "Training stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--processes", "0"], "processes must be at least 1"),
        (["--processes", "two"], "processes must be a whole number"),
        (["--processes", "2", "--seeds", "0,1"], "--seeds goes with neither"),
    ],
)
def test_processes_that_are_none_are_refused(capsys, flags, said):
    assert main(["train", "--profile", "smoke", *flags]) == 2
    assert said in capsys.readouterr().err
    assert not paths.runs_root().exists()


@pytest.mark.parametrize(("free", "expected"), [(1, 1), (4, 2), (80, 48)])
def test_as_many_seeds_at_once_as_fit_the_memory_of_a_gpu(monkeypatch, free, expected):
    """A small training is counted as a little more than 1.5 GiB."""
    planned = plan(ONE)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * 2**30, 90 * 2**30))
    at_once = room_for(planned, torch.device("cuda"), cores=2)
    assert at_once == pytest.approx(expected, abs=5 if free > 9 else 0)
    assert room_for(planned, torch.device("cpu"), cores=2) == 2
