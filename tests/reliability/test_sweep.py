"""Sweeps as a user starts them, while processes are killed: right outcomes, one writer a run, no process left."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import yaml

from ltlib import paths
from ltlib.experiments import runs
from ltlib.experiments.execute import about, execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.launch.tasks import tasks_of
from tests.reliability.kill import outcome
from tests.waiting import PATIENCE, ended, wait_until

LONG = "epochs=30"  # some seconds: time enough to be killed in
ENDLESS = "epochs=100000"
SETTLED = r"^(started|finished|again|failed|in use) +([\w.-]+)"


@pytest.fixture
def start(tmp_path):
    """Start a sweep in a session of its own: a signal to its group is Ctrl-C. No test leaves one behind."""
    started = []

    def begin(content: dict, *flags: str) -> subprocess.Popen:
        file = tmp_path / "many.yaml"
        file.write_text(yaml.safe_dump(content))
        process = subprocess.Popen(
            [sys.executable, "-m", "ltlib", "sweep", str(file), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()  # does nothing to one that has ended
        process.communicate()


def training() -> list[runs.Run]:
    """The runs that have finished an epoch and are not finished."""
    return [run for run in runs.all_runs() if run.metrics and run.info["state"] == "running"]


def kernels(process: psutil.Process) -> list[psutil.Process]:
    """The kernels below a process. What a kernel starts has the command line of the kernel for a moment."""
    parents = {}
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "ipykernel_launcher" in child.cmdline():
                parents[child] = child.ppid()
    return [kernel for kernel, parent in parents.items() if parent not in {other.pid for other in parents}]


def report_seconds(run: runs.Run) -> float:
    """How long papermill took for the last attempt at a run."""
    return json.loads((run.folder / "report.ipynb").read_text())["metadata"]["papermill"]["duration"]


@pytest.mark.slow
def test_every_run_gets_its_right_outcome_though_a_worker_is_killed(start, tmp_path, capsys):
    experiments = {
        "first": Experiment(profile="smoke", overrides=LONG),
        "second": Experiment(method="mixup", profile="smoke", overrides=LONG),
        "bad": Experiment(profile="smoke", overrides="lr=1e30"),
        "good": Experiment(method="balanced_softmax", profile="smoke"),
        "done": Experiment(profile="smoke"),
        "held": Experiment(profile="smoke", seed=1),
    }
    run = {name: tasks_of([experiment])[0].run for name, experiment in experiments.items()}
    execute(experiments["done"])
    before = (run["done"].folder / "run.json").stat().st_mtime_ns
    fields = [
        {name: getattr(e, name) for name in ("method", "profile", "overrides", "seed")} for e in experiments.values()
    ]
    with run["held"].locked():
        told = about(plan(experiments["held"]), torch.device("cpu")) | {
            "state": "running",
            "command": "another process",
        }
        run["held"].update(**told)
        began = time.monotonic()
        process = start({"experiments": fields, "workers": 2})
        wait_until(training)
        victim = kernels(psutil.Process(process.pid))[0].parent()
        victim.kill()
        printed, _ = process.communicate(timeout=2 * PATIENCE)
        seconds = time.monotonic() - began

    assert process.returncode == 1, printed  # not all are finished
    states = {name: r.info["state"] for name, r in run.items()}
    assert states == dict.fromkeys(run, "finished") | {"bad": "failed", "held": "running"}
    events = re.findall(SETTLED, printed, re.MULTILINE)
    (again,) = [name for event, name in events if event == "again"]
    assert f"again     {again}: Its worker was killed" in printed
    assert again in (run["first"].id, run["second"].id)
    starts = [name for event, name in events if event == "started"]
    assert sorted(starts) == sorted([again] + [run[name].id for name in ("first", "second", "bad", "good")])
    assert f"failed after 1 attempt: {run['bad'].id}" in printed  # it would fail again
    assert "is not finite" in printed
    assert f"in use: {run['held'].id}" in printed
    assert run["held"].info["command"] == "another process"
    assert (run["done"].folder / "run.json").stat().st_mtime_ns == before
    (summary,) = re.findall(r"^6 runs: (.*)$", printed.split("mean ±")[1], re.MULTILINE)
    assert sorted(summary.split(", ")) == ["1 failed", "1 in use", "4 finished"]
    assert (paths.runs_root() / "many.csv").exists()

    # The killed run ended as if nothing had happened: nobody else wrote into it.
    (killed,) = [name for name in ("first", "second") if run[name].id == again]
    with contextlib.redirect_stdout(io.StringIO()):
        assert outcome(execute(experiments[killed], tmp_path / "alone")) == outcome(run[killed])
    one_by_one = sum(report_seconds(run[name]) for name in ("first", "second", "bad", "good"))
    with capsys.disabled():
        print(f"\n4 runs and a retry on 2 workers: {seconds:.0f} s / {one_by_one:.0f} s = {seconds / one_by_one:.2f}")


@pytest.fixture
def cluster():
    """A Dask cluster that is not the sweep's own, and survives it."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, worker_dashboard_address=None) as made:
        yield made


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGKILL", -signal.SIGKILL)])
def test_no_process_outlives_a_sweep_and_its_runs_resume(start, name, status):
    process = start({"common": {"profile": "smoke", "overrides": ENDLESS}, "workers": 1})
    (run,) = wait_until(training)
    family = psutil.Process(process.pid).children(recursive=True)
    (kernel,) = kernels(psutil.Process(process.pid))
    assert kernel in family
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    else:
        process.kill()
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, printed
    assert "Traceback" not in printed
    if name == "SIGINT":
        assert ended(kernel)
        assert "1 run: 1 interrupted; nothing goes on" in printed
        assert "the same command resumes after the last finished epoch" in printed
    wait_until(lambda: all(map(ended, family)))
    assert run.state == "interrupted"
    assert run.checkpoint.exists()


def test_ctrl_c_stops_what_a_cluster_trains_and_leaves_the_cluster(start, cluster):
    process = start(
        {"common": {"profile": "smoke", "overrides": ENDLESS}},
        *("--scheduler", cluster.scheduler_address, "--without-tls"),
    )
    (run,) = wait_until(training)
    (kernel,) = kernels(psutil.Process())
    assert kernel.parent().pid == cluster.workers[0].pid
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, printed
    assert f"1 at a time on {cluster.scheduler_address}" in printed
    wait_until(lambda: ended(kernel))
    assert run.state == "interrupted"
    assert psutil.pid_exists(cluster.workers[0].pid)
