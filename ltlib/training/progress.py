"""Progress that suits its reader: one line that moves in JupyterLab, one line per epoch everywhere else.

A terminal also shows the time left. A log file does not: the logs of equal runs are equal.

The moving line is plain text in one output cell, so that a saved notebook keeps its last state and nothing else.
"""

from __future__ import annotations

import os
import shutil
import sys
import time


class Progress:
    """Shows the records of the engine as they come. ``label`` names the run."""

    def __init__(self, label: str, epochs: int, done: int = 0):
        self.label, self.epochs, self.done = label, epochs, done
        self.started, self.first = time.monotonic(), done
        self.handle = _moving_line()

    def __call__(self, record: dict) -> None:
        self.done = record["epoch"]
        if self.handle is not None:
            self.handle.update(_Text(self.bar(record)))
        else:
            print(self.line(record) + (f"  {self.left()}" if sys.stdout.isatty() else ""), flush=True)

    def line(self, record: dict) -> str:
        """``cross_entropy  epoch 12/40  lr 0.1  loss 0.512  test 71.2 %``"""
        parts = [f"epoch {self.done}/{self.epochs}", f"lr {record['lr']:.4g}", f"loss {record['loss']:.3f}"]
        parts += [
            f"{split} {record[f'{split}_accuracy']:.1%}"
            for split in ("validation", "test")
            if f"{split}_accuracy" in record
        ]
        return "  ".join([self.label, *parts])

    def bar(self, record: dict) -> str:
        """The line with a bar and the time left."""
        filled = round(24 * self.done / self.epochs)
        return f"{'█' * filled}{'░' * (24 - filled)}  {self.line(record)}  {self.left()}"

    def left(self) -> str:
        """``14 s left``, by the mean time of the epochs so far; in minutes or hours where it is long."""
        seconds = (time.monotonic() - self.started) / (self.done - self.first) * (self.epochs - self.done)
        if seconds < 120:
            return f"{seconds:.0f} s left"
        return f"{seconds / 60:.0f} min left" if seconds < 7200 else f"{seconds / 3600:.1f} h left"


class Board:
    """Lines that stay, and a block of lines that is drawn anew: below them on a terminal, in an output of its own in
    JupyterLab. Elsewhere, in a log file for instance, only the lines that stay."""

    def __init__(self) -> None:
        self.handle = _moving_line()
        self.block: list[str] = []
        self.height = 0  # of the block, as the terminal shows it

    def say(self, line: str) -> None:
        """Print a line that stays."""
        block = self.block
        self._draw([])
        print(line, flush=True)
        self._draw(block)

    def show(self, block: list[str]) -> None:
        """Replace the block."""
        if block != self.block:
            self._draw(block)

    def _draw(self, block: list[str]) -> None:
        if self.handle is not None:
            if block:
                self.handle.update(_Text("\n".join(block)))
        elif sys.stdout.isatty():
            up = f"\x1b[{self.height}F" if self.height else ""
            width, height = shutil.get_terminal_size()
            fits = [line[: width - 1] for line in block[: height - 1]]  # what wraps or scrolls is not drawn over
            print(f"{up}\x1b[J" + "".join(f"{line}\n" for line in fits), end="", flush=True)
            self.height = len(fits)
        self.block = block


class _Text:
    """Shown by IPython as it is, without quotes."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _moving_line():
    """A display handle in JupyterLab, where Jupyter Server has named the session; None elsewhere.

    papermill, nbval and nbconvert start their kernels without a server, and want lines.
    """
    if "ipykernel" not in sys.modules or "JPY_SESSION_NAME" not in os.environ:
        return None
    from IPython.display import display

    return display(_Text("starting"), display_id=True)
