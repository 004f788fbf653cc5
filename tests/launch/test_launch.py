import pytest

from ltlib import paths
from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments import runs
from ltlib.experiments.experiment import Experiment
from ltlib.launch.launch import train_on

SMOKE = Experiment(profile="smoke", imbalance_factor=2.0, overrides="image_size=8, num_classes=3, n_max=20")


def test_two_processes_train_one_run_that_is_theirs(capsys):
    run = train_on(2, SMOKE)
    assert run.state == "finished"
    assert run.info["processes"] == 2
    assert [other.id for other in runs.all_runs()] == [run.id]
    said = capsys.readouterr().out
    assert said.count("epoch 2/2") == 1, "only one rank speaks"
    assert len(run.predictions()["labels"]) == 3 * 20
    train_on(2, SMOKE)
    assert "is finished" in capsys.readouterr().out


def test_a_failing_process_fails_the_launch(capsys):
    with pytest.raises(InputError, match="the same command resumes"):
        train_on(2, Experiment(profile="smoke", imbalance_factor=2.0, overrides=SMOKE.overrides + ", lr=1e30"))
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
