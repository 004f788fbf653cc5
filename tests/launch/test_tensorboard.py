"""The curves that TensorBoard shows are the metrics of the run, also after a resume."""

import pytest

from ltlib.__main__ import main
from ltlib.experiments.runs import all_runs
from ltlib.launch import tensorboard


def scalars(folder) -> dict[str, dict[int, float]]:
    """Tag -> step -> value, as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


COMMAND = ["train", "--method", "cross_entropy", "--profile", "smoke", "--tensorboard", "--overrides"]


def test_the_curves_are_the_metrics_also_after_a_resume(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(tensorboard.Board, "__call__", stop_after(2, tensorboard.Board.__call__))
        with pytest.raises(RuntimeError, match="stopped"):
            main([*COMMAND, "epochs=3, num_classes=3, n_max=100"])
    assert main([*COMMAND, "epochs=3, num_classes=3, n_max=100"]) == 0
    [run] = all_runs()
    found = scalars(run.folder / "tensorboard")
    for name in ("loss", "lr", "test_accuracy"):
        assert found[name] == pytest.approx({line["epoch"]: line[name] for line in run.metrics}, abs=1e-6), name
    assert sorted(found["loss"]) == [1, 2, 3]


def stop_after(epochs, write):
    def call(self, run, record):
        write(self, run, record)
        if record["epoch"] == epochs:
            raise RuntimeError("stopped")

    return call


def test_several_processes_are_refused(capsys):
    assert main([*COMMAND[:-1], "--seeds", "0,1"]) == 2
    assert "leave --seeds and --processes out" in capsys.readouterr().err
