"""The full-run notebook through papermill, as a user runs it."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest

from ltlib.__main__ import main
from ltlib.experiments import execute as executing
from ltlib.experiments import runs
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.launch.fill_in import KernelKilled, fill_in

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "full_run.ipynb"


def outputs(path: Path) -> str:
    """Everything a notebook printed or showed as text."""
    cells = json.loads(path.read_text())["cells"]
    shown = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in shown)


def test_report_trains_both_methods_and_keeps_the_executed_notebook(capsys):
    assert main(["report", "--method", "mixup", "--baseline", "cross_entropy", "--profile", "smoke"]) == 0
    finished = {run.info["experiment"]["method"]: run for run in runs.all_runs() if run.state == "finished"}
    assert set(finished) == {"mixup", "cross_entropy"}
    executed = finished["mixup"].folder / "report.ipynb"
    out = capsys.readouterr().out
    assert str(executed) in out
    accuracy = finished["mixup"].info["metrics"]["accuracy"]
    assert f"{accuracy:.1%}" in out
    text = outputs(executed)
    assert f"mixup {accuracy:.1%}" in text  # the text alternative of the learning curves
    images = sum(
        "image/png" in o.get("data", {})
        for c in json.loads(executed.read_text())["cells"]
        for o in c.get("outputs", [])
    )
    assert images == 6

    # Asked again, it reloads both runs instead of training.
    assert main(["report", "--method", "mixup", "--baseline", "cross_entropy", "--profile", "smoke"]) == 0
    assert outputs(executed).count("is finished: its results are reloaded") == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"methd": "mixup"}, "'methd' is no parameter of this notebook. Did you mean 'method'"),
        ({"seed": "abc"}, "seed must be a whole number; got 'abc'"),
        ({"imbalance_factor": 0.5}, "a number from 1; got 0.5"),
        ({"dataset": "folder"}, "needs data_dir"),
        ({"baseline": "nothing"}, "method 'nothing' is not known"),
    ],
)
def test_the_notebook_itself_refuses_what_papermill_lets_through(tmp_path, parameters, message):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            NOTEBOOK, tmp_path / "out.ipynb", {"profile": "smoke"} | parameters, progress_bar=False
        )
    assert message in caught.value.evalue
    assert caught.value.ename == "InputError"
    # A reader sees the sentence alone, not the path our code took to it.
    assert "site-packages" not in "".join(caught.value.traceback)
    assert runs.all_runs() == []


def test_a_killed_kernel_is_an_error_and_no_finished_run(tmp_path):
    """papermill's own output then claims that every cell completed."""
    cell = nbformat.v4.new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "in.ipynb")
    with pytest.raises(KernelKilled, match="kernel was killed.*it resumes"):
        fill_in(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, None)


def test_the_expected_run_of_a_guided_method_is_the_one_that_is_trained():
    natural = executing.execute(Experiment(profile="smoke"))
    guided = Experiment(method="bgat", profile="smoke", overrides=f"epochs=1, natural_run={natural.id}")
    assert plan(guided).run.id == executing.execute(guided).id != natural.id
