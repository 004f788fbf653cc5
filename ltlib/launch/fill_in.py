"""Execute a notebook with parameters, by papermill, in a kernel of its own. Knows nothing of experiments.

It imports little, because every worker of a sweep imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ltlib.errors import InputError


class CellFailed(InputError):
    """A cell raised; ``error`` is the name of what it raised."""

    def __init__(self, message: str, error: str):
        super().__init__(message)
        self.error = error


class KernelKilled(InputError):
    """The process that ran the notebook is gone. What papermill then stores looks like a success."""


def fill_in(notebook: Path, output: Path, parameters: Mapping[str, object], progress: TextIO | None) -> None:
    """Execute ``notebook`` into ``output``; what its cells print also goes to ``progress``.

    Raises:
        CellFailed: a cell raised.
        KernelKilled: the kernel was killed.
        InputError: there is no such notebook, or papermill is not installed.
    """
    try:
        import papermill
        from nbclient.exceptions import DeadKernelError

        from ltlib.kernel import OwnKernel
    except ImportError as error:
        raise InputError("papermill is not installed: pip install 'ltlib[notebooks]'.") from error
    if not notebook.exists():
        raise InputError(f"{notebook} is missing: run from a checkout of the project.")
    options = {
        "kernel_name": "python3",  # is written into the notebook; which Python runs it is for OwnKernel to say
        "kernel_manager_class": OwnKernel,
        "progress_bar": False,
        "stdout_file": progress,
        # The kernel warns of the interrupt that ends it.
        "extra_arguments": ["--IPKernelApp.log_level=CRITICAL"],
    }
    try:
        papermill.execute_notebook(str(notebook), str(output), parameters, **options)
    except papermill.PapermillExecutionError as error:
        message = f"The report failed in cell {error.exec_count}: {error.evalue} (see {output})."
        raise CellFailed(message, error.ename) from error
    except DeadKernelError as error:
        raise KernelKilled(
            "The notebook's kernel was killed, perhaps for want of memory: start the same command again, it resumes."
        ) from error
