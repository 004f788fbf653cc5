"""The processes of a sweep: Dask workers, each of which executes the report notebook for one run at a time.

A worker is this machine's, or one of any Dask cluster. Every worker imports this module, so it does without torch.
Nothing outlives its parent: a worker ends when the sweep does, a kernel within about a second of its worker.

A Dask cluster runs any code that it is sent. The workers of this machine therefore listen on the loopback device only,
and only to holders of a certificate that is made for one sweep and never leaves its processes. No HTTP server is
started. A cluster without TLS obeys everyone who can reach its port, so it is refused unless the user insists.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import dask.config
import psutil
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, Worker, WorkerPlugin
from distributed.security import Security

from ltlib import paths
from ltlib.errors import InputError
from ltlib.launch.fill_in import CellFailed, fill_in

if TYPE_CHECKING:  # they would bring torch into every worker
    from distributed.deploy.cluster import Cluster

    from ltlib.experiments.experiment import Experiment
    from ltlib.experiments.runs import Run
    from ltlib.launch.sweep_file import Options

MARK = "LTLIB_SWEEP"  # in the environment of every kernel: the sweep it belongs to
HOPELESS = ("InputError", "TrainingStopped")  # the same experiment will fail with the same sentence again
PATIENCE = 10.0  # seconds to wait for the answer of a scheduler
GONE = "Dask's scheduler is gone; what its workers train may go on. Start the same sweep again, it resumes."
MEMORY_OF_A_RUN = 2 * 2**30  # bytes; torch, a kernel and a small data set need about one


class Answer(NamedTuple):
    """How an attempt ended. Whether the run is finished is for ``run.json`` to say.

    Attributes:
        reason: what went wrong; empty if nothing did.
        hopeless: whether another attempt would end alike.
        in_use: whether another process trained the run.
    """

    reason: str = ""
    hopeless: bool = False
    in_use: bool = False


def attempt(parameters: dict[str, object], output: str, environment: dict[str, str]) -> Answer:
    """Execute the report notebook of one run; runs in a worker."""
    os.environ.update(environment)
    os.environ.pop("JPY_SESSION_NAME", None)  # of the JupyterLab that the sweep was started in
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what goes wrong is returned
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    try:
        fill_in(paths.resources() / "notebooks" / "full_run.ipynb", Path(output), parameters, None)
    except CellFailed as error:
        return Answer(str(error), hopeless=error.error in HOPELESS, in_use=error.error == "RunInUse")
    except InputError as error:
        return Answer(str(error))
    return Answer()


def stop_kernels(mark: str) -> None:
    """Kill the kernels that this worker has started for a sweep, and what they have started; runs in a worker."""
    _kill_marked(psutil.Process().children(recursive=True), mark)


def _kill_marked(processes: Iterable[psutil.Process], mark: str) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has ended, or is another user's
            if process.environ().get(MARK) == mark:
                process.kill()


class OwnGroup(WorkerPlugin):
    """Takes a worker out of the terminal's process group: Ctrl-C is for the sweep, which then ends its workers."""

    def setup(self, worker) -> None:
        if os.name == "posix":
            os.setpgid(0, 0)


class _Silent:
    """A Dask server without its HTTP server, whose pages would show every user of this machine what runs here."""

    def start_http_server(self, *arguments, **options) -> None:
        pass


class SilentScheduler(_Silent, Scheduler):
    pass


class SilentWorker(_Silent, Worker):
    pass


class Crew:
    """The workers of a sweep, wherever they are."""

    def __init__(self, client: Client, options: Options):
        self.client, self.options = client, options
        self.mark = uuid.uuid4().hex
        self.asks = options.resources if options.scheduler else {"GPU": 1} if _gpus(options) else {}

    def about(self) -> str:
        """``2 at a time on this machine``"""
        where = self.options.scheduler or "this machine"
        return f"{self.size()} at a time on {where}" + (f", each with {self.asks}" if self.asks else "")

    def size(self) -> int:
        """How many runs fit at this moment; workers may come and go.

        Raises:
            InputError: the scheduler is gone.
        """
        try:
            return sum(cast(dict[str, int], self.client.nthreads()).values())
        except OSError as error:
            raise InputError(GONE) from error

    def start(self, experiment: Experiment, run: Run) -> Future:
        """Begin one attempt at a run."""
        environment = {"LTLIB_RUNS": str(run.folder.parent), MARK: self.mark}
        output = str(run.folder / "report.ipynb")
        parameters = asdict(experiment) | {"baseline": ""}
        return self.client.submit(attempt, parameters, output, environment, resources=self.asks, pure=False)

    def answer(self, future: Future) -> Answer:
        """What `attempt` returned, or what kept it from returning."""
        if future.cancelled():
            raise InputError(GONE)
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, KilledWorker):
            return Answer("Its worker was killed, perhaps for want of memory.")
        return Answer(f"The worker could not begin ({type(error).__name__}: {error}).", hopeless=True)

    def stop(self) -> None:
        """Kill what the workers still train; every run resumes after its last finished epoch."""
        with contextlib.suppress(OSError, TimeoutError):  # the scheduler itself may be gone
            self.client.run(stop_kernels, self.mark, on_error="ignore")


@contextlib.contextmanager
def connected(options: Options, most: int, cluster: Cluster | None = None) -> Iterator[Crew]:
    """The workers that the options ask for, ``most`` at most on this machine. No kernel of theirs is left afterwards.

    Args:
        options: of the sweep.
        most: workers on this machine.
        cluster: the running Dask cluster whose address is ``options.scheduler``, where it is at hand.

    Raises:
        InputError: there are not so many GPUs, or no scheduler answers.
    """
    with _elsewhere(options.scheduler, cluster) if options.scheduler else _this_machine(options, most) as client:
        crew = Crew(client, options)
        try:
            yield crew
        finally:
            crew.stop()
    if not options.scheduler:
        _kill_marked(psutil.process_iter(), crew.mark)  # a kernel may have started while its worker ended


def _elsewhere(address: str, cluster: Cluster | None) -> Client:
    """A connection to a cluster that is not this sweep's own, with the certificates of Dask's configuration."""
    try:
        return Client(cluster or address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # Dask says TypeError where it has no certificate for tls://
        raise InputError(
            f"No Dask scheduler answers at {address} ({' '.join(str(error).split())[:200]}): start one with 'dask "
            "scheduler' and workers with 'dask worker --nthreads 1'; notebooks/sweeps/README.md speaks of certificates."
        ) from error


@contextlib.contextmanager
def _this_machine(options: Options, most: int) -> Iterator[Client]:
    """Workers of one thread each on this machine, out of reach of its other users."""
    secret: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "protocol": "tls://", "security": _certificates()}
    settings = _settings(options, min(number_of_workers(options), most))
    workers = {n: {"cls": Nanny, "options": secret | one} for n, one in enumerate(settings)}
    config = {
        "distributed.nanny.pre-spawn-environ": {},  # would set the threads of every program started later to 1
        "distributed.scheduler.allowed-failures": 0,  # a killed worker is told at once; the sweep counts attempts
    }
    with dask.config.set(config):
        try:
            cluster = SpecCluster(
                scheduler={"cls": SilentScheduler, "options": secret | {"dashboard": False}},
                workers=workers,
                **{"security": secret["security"], "silence_logs": logging.CRITICAL},
            )
        except RuntimeError as error:
            raise InputError(
                "The workers did not start: a script must call sweep() under 'if __name__ == \"__main__\":', because "
                "they import it."
            ) from error
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def _certificates() -> Security:
    """A certificate for one sweep, which both sides of every connection must show. It is in no file that stays."""
    try:
        return Security.temporary()
    except ImportError as error:
        raise InputError("cryptography is not installed: pip install 'ltlib[sweep]'.") from error


def number_of_workers(options: Options) -> int:
    """Runs at a time on this machine: what the options say, else one a GPU, else what cores and memory allow."""
    if options.workers:
        return options.workers
    return len(_gpus(options)) or max(1, min(CPU_COUNT, psutil.virtual_memory().total // MEMORY_OF_A_RUN))


def _settings(options: Options, workers: int) -> list[dict[str, object]]:
    """For each worker of this machine: its GPU and its share of the cores."""
    gpus = _gpus(options)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, CPU_COUNT // workers))
    return [
        {
            "worker_class": SilentWorker,
            "nthreads": 1,
            "memory_limit": 0,  # the memory is the kernels'
            "dashboard": False,
            "silence_logs": logging.CRITICAL,
            "plugins": (OwnGroup(),),
            "resources": {"GPU": 1} if gpus else {},
            "env": {"OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": gpus[n % len(gpus)] if gpus else ""},
        }
        for n in range(workers)
    ]


def _gpus(options: Options) -> list[str]:
    """What CUDA_VISIBLE_DEVICES must say for each GPU in turn; empty to train on the CPU.

    Raises:
        InputError: there are not so many.
    """
    import torch

    there = torch.cuda.device_count()
    if options.gpus > there:
        raise InputError(f"gpus={options.gpus}, but this machine shows {there}: give at most that, or leave it out.")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(n) for n in range(there)]
    return names[: there if options.gpus == -1 else options.gpus]
