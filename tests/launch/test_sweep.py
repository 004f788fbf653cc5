"""What a sweep decides and writes; that it survives what happens to processes is tested in tests/reliability."""

import csv
import io
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import torch

from ltlib import paths
from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments import execute, runs
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.launch import sweep_results
from ltlib.launch import workers as sweep_workers
from ltlib.launch.sweep import _Sweep, sweep
from ltlib.launch.sweep_file import Options
from ltlib.launch.tasks import Task, tasks_of
from ltlib.results import records
from ltlib.training.progress import Board

SMOKE = Experiment(profile="smoke")


def smoke(**fields) -> Experiment:
    return Experiment(profile="smoke", **fields)


def test_planned_runs_are_those_that_are_trained():
    experiments = [
        smoke(),
        smoke(seed=1),
        smoke(imbalance_factor=10),
        smoke(imbalance_type="step"),
        smoke(dataset="digits", seed=2),
        smoke(method="mislas"),
        smoke(overrides="n_max=120"),
        smoke(overrides="validation=0.2, lr=0.05"),
        smoke(overrides="lr=0.05"),
    ]
    tasks = tasks_of(experiments)
    assert [task.run.id for task in tasks] == [plan(experiment).run.id for experiment in experiments]
    assert [task.epochs for task in tasks] == [2, 2, 2, 2, 2, 3, 2, 2, 2]  # mislas has a second stage


def test_equal_runs_are_merged_and_the_reader_is_told(tmp_path, capsys):
    (tmp_path / "twice.yaml").write_text(
        'common: {profile: smoke}\nexperiments: [{}, {imbalance_factor: 100}, {overrides: "lr=0.1"}, {seed: 1}]\n'
    )
    tasks = sweep(tmp_path / "twice.yaml", dry_run=True)
    assert len(tasks) == 2
    assert "4 experiments, of which 2 repeat another one's run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"overrides": "epoch=3"}, "overrides name 'epoch'.*Did you mean 'epochs'"),
        ({"overrides": "lr=-1"}, "lr must be at least 0"),
        ({"imbalance_factor": 5000}, "larger than these data allow"),
        ({"method": "mixup", "overrides": "alpha=0"}, "alpha must be above 0"),
        ({"method": "crt", "overrides": "stage1=none"}, "There is no run"),
        ({"method": "bgat", "overrides": "natural_run=none"}, "There is no run"),
        ({"dataset": "folder"}, "needs data_dir"),
    ],
)
def test_one_bad_experiment_stops_the_sweep_before_it_starts(fields, message):
    bad = smoke(**fields)
    with pytest.raises(InputError, match=rf"^In 'python -m ltlib train .*': .*{message}"):
        tasks_of([SMOKE, bad])
    assert not paths.runs_root().exists()


def test_dry_run_prints_state_and_command_and_writes_nothing(tmp_path, capsys):
    run = execute.execute(SMOKE)
    (tmp_path / "two.yaml").write_text("common: {profile: smoke}\nseeds: [0, 1]\n")
    capsys.readouterr()
    assert main(["sweep", str(tmp_path / "two.yaml"), "--dry-run"]) == 0
    cost, finished, new = capsys.readouterr().out.splitlines()
    assert cost == "to train: 1 run, whose cost depends on how many images there are"
    assert finished.split() == ["finished", run.id, *run.info["command"].split()]
    assert new.startswith("new ")
    assert new.endswith("python -m ltlib train --method cross_entropy --dataset glyphs --profile smoke --seed 1")
    assert [file.name for file in paths.runs_root().iterdir()] == [run.id]


def test_a_sweep_of_finished_runs_needs_no_worker_and_tells_them_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_Sweep, "train", None)
    execute.execute(SMOKE)
    (tmp_path / "one.yaml").write_text("common: {profile: smoke}\n")
    assert main(["sweep", str(tmp_path / "one.yaml")]) == 0
    assert "1 run: 1 finished" in capsys.readouterr().out
    assert (paths.runs_root() / "one.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--worker", "2"], "'--worker' is no option here. Did you mean '--workers'"),
        (["--workers", "two"], "workers must be a whole number; got 'two'"),
        (["--gpus", "99"], "gpus=99, but this machine shows"),
        (["--scheduler", "tcp://127.0.0.1:9"], "The cluster at tcp://127.0.0.1:9 has no TLS"),
        (["--scheduler", "tcp://127.0.0.1:9", "--without-tls"], "No Dask scheduler answers at tcp://127.0.0.1:9"),
        (["--scheduler", "tls://127.0.0.1:9"], "No Dask scheduler answers at tls://127.0.0.1:9"),
    ],
)
def test_bad_options_are_one_sentence_and_nothing_is_written(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(sweep_workers, "PATIENCE", 0.5)
    (tmp_path / "one.yaml").write_text("common: {profile: smoke}\n")
    assert main(["sweep", str(tmp_path / "one.yaml"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not paths.runs_root().exists()


def finished_task(experiment: Experiment, accuracy: float, few: float | None) -> Task:
    """A task whose run.json is that of a stored run with other numbers, without training."""
    (task,) = tasks_of([experiment])
    task.run.folder.mkdir(parents=True)
    file = next((records.studies() / "demo").glob("cross_entropy*.json"))
    told = json.loads(file.read_text())
    groups = {name: {"accuracy": value} for name, value in (("many", 0.9), ("medium", 0.5), ("few", few))}
    told["metrics"] |= {"accuracy": accuracy, "ece": 0.1, "groups": {"papers": groups}}
    told["versions"]["ltlib"], told["hardware"]["device"] = "0", "a core"
    task.run.update(**told | {"state": "finished", "id": task.run.id, "experiment": asdict(experiment)})
    task.state = "finished"
    return task


def test_the_table_holds_mean_deviation_and_number_over_seeds():
    values = (0.5, 0.6, 0.9)
    tasks = [finished_task(smoke(seed=seed), accuracy, few=None) for seed, accuracy in enumerate(values)]
    (lonely,) = tasks_of([smoke(method="mixup", seed=1)])
    lonely.state, lonely.reason, lonely.attempts = "failed", "It broke.", 2
    sheet = sweep_results.sheet("mine", [tasks[0], lonely, *tasks[1:]])
    first, second = sheet.full
    assert (first["method"], first["n"], first["planned"]) == ("cross_entropy", 3, 3)
    assert first["accuracy"] == pytest.approx(2 / 3)
    assert first["sd_accuracy"] == pytest.approx(statistics.stdev(values))
    assert (first["few"], first["sd_few"]) == (None, None)
    assert (first["rule"], second["rule"]) == ("papers", None)
    assert first["command"] == "python -m ltlib train --method cross_entropy --dataset glyphs --profile smoke"
    assert first["runs"] == [task.run.id for task in tasks]
    assert (second["n"], second["accuracy"], second["sd_accuracy"]) == (0, None, None)

    text = sheet.as_text()
    assert "1  cross_entropy  3       66.7% ±20.8%  90.0% ±0.0%  50.0% ±0.0%  -    10.0% ±0.0%" in text
    assert "2  mixup          0 of 1  -" in text
    assert (
        "3 of 4 runs are finished; mean ± standard deviation over n seeds; "
        "numbers of the last epoch; groups by the papers rule" in text
    )
    assert f"failed after 2 attempts: {lonely.run.id}: It broke. Again with: python -m ltlib train" in text


def test_csv_and_markdown_say_the_same_as_the_table():
    tasks = [finished_task(smoke(seed=seed, imbalance_factor=f), s, few=s) for seed, f, s in
             ((0, 10, 0.5), (1, 10, 0.7), (0, 100, 0.25))]  # fmt: skip
    sheet = sweep_results.sheet("name", tasks)
    rows = list(csv.DictReader(io.StringIO(sheet.as_csv())))
    assert len(rows) == len(sheet.full) == 2
    for row, expected in zip(rows, sheet.full, strict=True):
        assert row["command"] == expected["command"]
        for name in sweep_results.MEASURES:
            assert float(row[name]) == expected[name]
            deviation = expected[f"sd_{name}"]
            assert row[f"sd_{name}"] == ("" if deviation is None else str(deviation))
    markdown = sheet.as_markdown()
    assert "| 1 | cross_entropy | 10 | 2 | 60.0% ±14.1% |" in markdown
    assert "| 2 | cross_entropy | 100 | 1 | 25.0% |" in markdown
    assert f"- 2: `{sheet.full[1]['command']}`" in markdown
    assert "- ltlib 0, a core" in markdown


def test_tables_are_replaced_by_more_of_the_same_sweep_and_never_by_another():
    tasks = [finished_task(smoke(seed=seed), 0.5, 0.1) for seed in (0, 1)]
    other = [finished_task(smoke(seed=2), 0.5, 0.1)]
    root = paths.runs_root()
    assert sweep_results.write("mine", tasks[:1]) == (root / "mine.csv", root / "mine.md")
    assert sweep_results.write("mine", tasks)[0].name == "mine.csv"
    kept = (root / "mine.csv").read_text(), (root / "mine.md").read_text()
    assert sweep_results.write("mine", other)[1].name == "mine-2.md"
    assert sweep_results.write("mine", tasks[:1])[1].name == "mine-3.md"  # it would have lost the second seed
    assert ((root / "mine.csv").read_text(), (root / "mine.md").read_text()) == kept
    (root / "notes.md").write_text("my own")
    assert sweep_results.write("notes", tasks)[0].name == "notes-2.csv"
    assert (root / "notes.md").read_text() == "my own"
    assert all(run.id.startswith("cross_entropy") for run in runs.all_runs())  # a table is no run


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(sweep_workers, "CPU_COUNT", 12)


@pytest.mark.parametrize(
    ("options", "visible", "gpus", "threads"),
    [
        (Options(), None, ["0", "1", "2"], "4"),
        (Options(gpus=2), None, ["0", "1"], "6"),
        (Options(gpus=2, workers=4), None, ["0", "1", "0", "1"], "3"),
        (Options(), "5,7,GPU-abc", ["5", "7", "GPU-abc"], "4"),
        (Options(gpus=0, workers=2), None, ["", ""], "6"),
    ],
)
def test_every_worker_sees_one_gpu_and_its_share_of_the_cores(three_gpus, monkeypatch, options, visible, gpus, threads):
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    settings = sweep_workers._settings(options, sweep_workers.number_of_workers(options))
    assert [worker["env"]["CUDA_VISIBLE_DEVICES"] for worker in settings] == gpus
    assert {worker["env"]["OMP_NUM_THREADS"] for worker in settings} == {threads}
    assert {worker["nthreads"] for worker in settings} == {1}
    assert all(worker["resources"] == ({"GPU": 1} if gpus[0] else {}) for worker in settings)


def test_threads_that_the_user_chose_are_kept(three_gpus, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert sweep_workers._settings(Options(workers=1), 1)[0]["env"]["OMP_NUM_THREADS"] == "2"


def test_without_gpus_cores_and_memory_set_the_number_of_workers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(sweep_workers, "CPU_COUNT", 64)
    gigabytes = type("Memory", (), {"total": 9 * 2**30})
    monkeypatch.setattr(sweep_workers.psutil, "virtual_memory", lambda: gigabytes)
    assert sweep_workers.number_of_workers(Options()) == 4
    assert sweep_workers.number_of_workers(Options(workers=7)) == 7


def test_the_board_redraws_its_block_on_a_terminal_and_keeps_logs_plain(monkeypatch, capsys):
    board = Board()
    board.show(["block"])
    board.say("line")
    assert capsys.readouterr().out == "line\n"

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "11")
    monkeypatch.setenv("LINES", "3")
    board = Board()
    block = ["first", "a line too long for it", "a line too many"]
    board.show(block)
    board.show(block)  # nothing new, nothing drawn
    board.say("stays")
    up, clear = "\x1b[2F", "\x1b[J"
    drawn = "first\na line too\n"
    assert capsys.readouterr().out == f"{clear}{drawn}{up}{clear}stays\n{clear}{drawn}"


def test_training_one_run_and_reading_about_sweeps_needs_no_dask():
    code = (
        "import sys, ltlib.__main__, ltlib.experiments.execute, ltlib.launch.report, ltlib.launch.sweep\n"
        "assert not {'dask', 'distributed', 'yaml', 'papermill'} & set(sys.modules)\n"
        "import ltlib.launch.fill_in\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_a_worker_starts_without_torch():
    code = "import sys, ltlib.launch.workers\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


class FakeCrew:
    """Three free workers that remember what they were given."""

    def __init__(self):
        self.started = []

    def size(self):
        return 3

    def start(self, experiment, run):
        self.started.append(experiment.method)
        return len(self.started)


def answered(**how):
    return sweep_workers.Answer(**how)


def chain():
    """mixup, MiSLAS from it, and another run from nothing; in the order that puts the source last."""
    source, lone = smoke(method="mixup"), smoke(method="cross_entropy")
    second = smoke(method="mislas", overrides="stage1=mixup")
    tasks = tasks_of([second, lone, source])
    assert [task.after for task in tasks] == [tasks[2].run.id, "", ""]
    return tasks


def test_a_run_waits_for_the_run_of_the_sweep_that_it_starts_from(monkeypatch):
    tasks, crew = chain(), FakeCrew()
    work = _Sweep(tasks, Options(), None)
    work._start(crew)
    work._start(crew)
    assert crew.started == ["cross_entropy", "mixup"]
    monkeypatch.setattr(type(tasks[2].run), "info", {"state": "finished", "metrics": {"accuracy": 0.5}})
    work._settle(work.running.pop(2), answered())
    work._start(crew)
    assert crew.started == ["cross_entropy", "mixup", "mislas"]


def test_a_run_ends_with_the_run_that_it_starts_from(capsys):
    tasks, crew = chain(), FakeCrew()
    work = _Sweep(tasks, Options(retries=1), None)
    work._start(crew)
    work._settle(work.running.pop(2), answered(reason="A disk broke."))  # is tried again, so the second stage waits
    assert work._source_is_there(tasks[0]) is False
    assert tasks[0] in work.waiting
    work._start(crew)
    work._settle(work.running.pop(3), answered(reason="A disk broke."))
    work._start(crew)
    assert crew.started == ["cross_entropy", "mixup", "mixup"]
    assert [task.state for task in tasks] == ["failed", "running", "failed"]
    assert tasks[0].reason == f"It starts from {tasks[2].run.id}, which is not finished (failed)."
    assert work.waiting == []


def test_no_more_runs_are_started_than_workers_are_free():
    tasks, crew = tasks_of([smoke(seed=seed) for seed in range(5)]), FakeCrew()
    work = _Sweep(tasks, Options(), None)
    work._start(crew)
    work._start(crew)
    assert len(crew.started) == len(work.running) == 3
    assert work.waiting == tasks[3:]


def test_a_source_in_use_elsewhere_ends_what_starts_from_it():
    tasks, crew = chain(), FakeCrew()
    tasks[2].state = "in use"
    work = _Sweep(tasks, Options(), None)
    work._start(crew)
    assert crew.started == ["cross_entropy"]
    assert (tasks[0].state, work.waiting) == ("failed", [])
    assert tasks[0].reason.endswith("which is not finished (in use).")


@pytest.mark.parametrize(
    ("answer", "attempts", "state"),
    [
        ({"reason": "A disk broke."}, 1, "to be tried again"),
        ({"reason": "A disk broke."}, 2, "failed"),
        ({"reason": "Bad.", "hopeless": True}, 1, "failed"),
        ({"reason": "In use.", "in_use": True}, 1, "in use"),
        ({"reason": "In use.", "in_use": True}, 2, "failed"),  # by the kernel of our own killed worker
    ],
)
def test_what_an_answer_makes_of_a_task(answer, attempts, state):
    (task,) = tasks_of([SMOKE])
    work = _Sweep([task], Options(retries=1), None)
    work.waiting.clear()
    task.attempts = attempts
    work._settle(task, answered(**answer))
    assert task.state == state
    assert (work.waiting == [task]) == (state == "to be tried again")


@pytest.mark.parametrize(("seconds", "state"), [(0, "to be tried again"), (3600, "in use")])
def test_a_run_still_in_use_after_its_worker_died_is_waited_for_and_then_left(monkeypatch, seconds, state):
    (task,) = tasks_of([SMOKE])
    crew, work = FakeCrew(), _Sweep([task], Options(), None)
    task.attempts, task.state = 1, "to be tried again"
    work.ended[task.run.id] = time.monotonic() - seconds
    monkeypatch.setattr(type(task.run), "in_use", lambda run: True)
    work._start(crew)
    assert crew.started == []
    assert task.state == state
    assert (task.run.id in work.over) == (state == "in use")


@pytest.mark.parametrize(
    ("error", "hopeless"), [("InputError", True), ("TrainingStopped", True), ("RunInUse", False), ("OSError", False)]
)
def test_a_run_that_would_fail_alike_is_not_tried_again(monkeypatch, tmp_path, error, hopeless):
    failed = sweep_workers.CellFailed.__new__(sweep_workers.CellFailed)
    failed.error = error

    def fails(*arguments):
        raise failed

    monkeypatch.setattr(sweep_workers, "fill_in", fails)
    found = sweep_workers.attempt({}, str(tmp_path / "report.ipynb"), {})
    assert (found.hopeless, found.in_use) == (hopeless, error == "RunInUse")


def test_a_cancelled_run_means_that_the_scheduler_is_gone():
    future = type("Future", (), {"cancelled": lambda self: True})()
    with pytest.raises(InputError, match="scheduler is gone"):
        sweep_workers.Crew(None, Options(gpus=0)).answer(future)
