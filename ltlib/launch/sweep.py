"""Many runs: the experiments of a sweep file, each as one papermill execution in a process of its own.

Everything is checked before anything starts. Finished runs are skipped, runs that another process trains are left
alone, and runs that failed or whose process was killed are tried again, but not those that would fail alike (bad
input, a loss that is not finite). A run that starts from another run of the sweep, such as a second stage, waits for
it. What came out of a run is what its ``run.json`` says, never what a notebook looks like. The runs are spread over
the cores or the GPUs of this machine, or over any Dask cluster::

    python -m ltlib sweep FILE.yaml --scheduler tls://HOST:8786

The workers of a cluster need this checkout and its environment, and the folder ``LTLIB_RUNS`` on a disk that all of
them share. Give them one thread each, and one GPU each by ``CUDA_VISIBLE_DEVICES``; a resource such as ``GPU=1``
keeps the runs that ask for it off workers without one. Before ``retries`` counts, a cluster tries a run whose worker
died again by itself, as often as its setting ``allowed-failures`` says. A cluster without TLS is refused unless
``without_tls`` is given: anyone who reaches it can run code as its owner. ``notebooks/sweeps/README.md`` says how
to start one with certificates, by hand, on Slurm (``dask-jobqueue``) or on Kubernetes (``dask-kubernetes``).
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ltlib.errors import InputError
from ltlib.experiments import costs
from ltlib.experiments.experiment import command
from ltlib.launch import sweep_results as results
from ltlib.launch.sweep_file import Options, read_sweep
from ltlib.launch.tasks import Task, tasks_of
from ltlib.training.progress import Board

if TYPE_CHECKING:
    from distributed.deploy.cluster import Cluster

GLANCE = 0.2  # seconds between two looks at what the workers do
PATIENCE = 60.0  # seconds until a run that stays in use after its worker was killed is another process's


def sweep(file: str | Path, *, dry_run: bool = False, cluster: Cluster | None = None, **options: object) -> list[Task]:
    """Train what a sweep file describes and is not finished yet; print and write one table of all.

    Stopped at any moment, it goes on with the same command. In a script, call it under
    ``if __name__ == "__main__":``, because its workers import the script.

    Args:
        file: see :mod:`ltlib.launch.sweep_file`.
        dry_run: only print the runs, their states and their commands.
        cluster: a running Dask cluster, such as a ``SLURMCluster``, to train on instead of this machine.
        options: fields of `ltlib.launch.sweep_file.Options`, which win over those of the file.

    Returns:
        One task for each run, with its state and, if it is not finished, the reason.

    Raises:
        InputError: something in the file cannot be used; nothing was started.
    """
    if cluster:
        options["scheduler"] = cluster.scheduler_address
    asked = read_sweep(file, **options)
    tasks = tasks_of(asked.experiments)
    if same := len(asked.experiments) - len(tasks):
        print(f"{len(asked.experiments)} experiments, of which {same} repeat another one's run and are merged with it")
    if sentence := asked.options.passed_over():
        print(sentence)
    if waiting := [task.experiment for task in tasks if not task.settled]:
        print(costs.bill(waiting))
    if dry_run:
        print("\n".join(f"{task.state:<12} {task.run.id}  {command(task.experiment)}" for task in tasks))
        return tasks
    if not all(task.settled for task in tasks):
        try:
            _Sweep(tasks, asked.options, cluster).train()
        except KeyboardInterrupt:
            for task in tasks:
                task.state = "interrupted" if task.state == "running" else task.state
            print(f"\n{counts(tasks)}; nothing goes on in the background, and the same sweep resumes all")
            raise
    files = results.write(asked.name, tasks)
    print(
        f"\n{results.sheet(asked.name, tasks).as_text()}\n\n{counts(tasks)}\nthis table: {files[0]} and {files[1].name}"
    )
    return tasks


class _Sweep:
    """The tasks of a sweep while they are trained."""

    def __init__(self, tasks: list[Task], options: Options, cluster: Cluster | None):
        self.tasks, self.options, self.cluster = tasks, options, cluster
        self.task = {task.run.id: task for task in tasks}
        self.waiting = [task for task in tasks if not task.settled]
        self.over = {task.run.id for task in tasks if task.settled}
        self.running: dict = {}  # Dask's future -> task
        self.ended: dict[str, float] = {}  # run id -> when its last attempt ended
        self.board = Board()

    def train(self) -> None:
        """Returns when every task has ended one way or another.

        Raises:
            InputError: Dask is not installed, or its scheduler does not answer.
        """
        try:
            from ltlib.launch.workers import connected
        except ImportError as error:
            raise InputError("Dask is not installed: pip install 'ltlib[sweep]'.") from error
        with connected(self.options, len(self.waiting), self.cluster) as crew:
            self.board.say(f"{counts(self.tasks)}; {crew.about()}")
            try:
                while self.waiting or self.running:
                    self._start(crew)
                    for future in [future for future in self.running if future.done()]:
                        self._settle(self.running.pop(future), crew.answer(future))
                    self.board.show([counts(self.tasks), *map(_progress, self.running.values())])
                    time.sleep(GLANCE)
            except KeyboardInterrupt:
                self.board.say("stopping")
                raise

    def _start(self, crew) -> None:
        """Hand out as many tasks as workers are free, so that a worker that dies takes one run down and no other."""
        free = crew.size() - len(self.running)
        for task in list(self.waiting):
            if free < 1:
                return
            if not self._source_is_there(task):
                continue
            if task.attempts and task.run.in_use():  # by the kernel of a killed worker, for a second or so
                if time.monotonic() - self.ended[task.run.id] > PATIENCE:
                    self.waiting.remove(task)
                    self._end(task, "in use")
                continue
            self.waiting.remove(task)
            task.state, task.attempts = "running", task.attempts + 1
            self.running[crew.start(task.experiment, task.run)] = task
            self.board.say(f"started   {task.run.id}")
            free -= 1

    def _source_is_there(self, task: Task) -> bool:
        """Whether the run that a task starts from is finished. A task whose source ends otherwise ends with it."""
        if not task.after or self.task[task.after].state == "finished":
            return True
        if task.after in self.over:
            self.waiting.remove(task)
            task.reason = f"It starts from {task.after}, which is not finished ({self.task[task.after].state})."
            self._end(task, "failed")
        return False

    def _settle(self, task: Task, answer) -> None:
        """After an attempt: what ``run.json`` says counts."""
        self.ended[task.run.id] = time.monotonic()
        task.reason = answer.reason
        if task.run.info.get("state") == "finished":
            self._end(task, "finished")
        elif answer.in_use and task.attempts == 1:
            self._end(task, "in use")
        elif answer.hopeless or task.attempts > self.options.retries:
            task.reason = answer.reason or "Another run was trained: the worker has another ltlib, or other data."
            self._end(task, "failed")
        else:
            task.state = "to be tried again"
            self.waiting.append(task)
            self.board.say(f"again     {task.run.id}: {task.reason}")

    def _end(self, task: Task, state: str) -> None:
        task.state = state
        self.over.add(task.run.id)
        accuracy = f"{task.run.info['metrics']['accuracy']:.1%}" if state == "finished" else ""
        self.board.say(f"{state:<9} {task.run.id}  {accuracy}  {task.reason}".rstrip())


def counts(tasks: list[Task]) -> str:
    """``6 runs: 3 finished, 2 running, 1 new``"""
    found = Counter(task.state for task in tasks).most_common()
    return f"{len(tasks)} run{'s' * (len(tasks) > 1)}: {', '.join(f'{number} {state}' for state, number in found)}"


def _progress(task: Task) -> str:
    done = len(task.run.metrics)
    filled = round(24 * done / task.epochs)
    return f"{'█' * filled}{'░' * (24 - filled)}  {task.run.id}  epoch {done}/{task.epochs}"
