"""The progress of a training for TensorBoard: ``train --tensorboard``, then ``tensorboard --logdir runs``."""

from __future__ import annotations

from ltlib.errors import InputError
from ltlib.experiments.runs import Run


class Board:
    """Writes the numbers of every epoch into the folder ``tensorboard`` of the run.

    A run that resumes continues its curves: what an earlier process wrote of the same epochs is dropped.

    Raises:
        InputError: the package ``tensorboard`` is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise InputError("--tensorboard needs the package: pip install 'ltlib[tensorboard]'.") from error
        self.open, self.writer = SummaryWriter, None

    def __call__(self, run: Run, record: dict) -> None:
        """Write the record of an epoch."""
        if self.writer is None:
            self.writer = self.open(str(run.folder / "tensorboard"), purge_step=record["epoch"])
        for name, value in record.items():
            if isinstance(value, int | float) and name != "epoch":
                self.writer.add_scalar(name, value, record["epoch"])
        self.writer.flush()
