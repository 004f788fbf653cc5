"""What the battery found: plain JSON that grows with each measurement, and a table for people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from ltlib.files import write_atomic


class OutOfTime(Exception):
    """The minutes are over."""


class Report:
    """Measurements by step, on the disk after each one.

    Args:
        file: JSON, continued if it is there and comes from the same machine.
        about: hardware and versions; whatever is measured belongs to them.
        minutes: after which nothing new begins.
    """

    def __init__(self, file: Path, about: dict, minutes: float):
        self.file, self.ends = file, time.monotonic() + 60 * minutes
        self.found: dict = {"about": about, "finished": [], "errors": {}, "measurements": []}
        if file.exists():
            before = json.loads(file.read_text())
            self.found = before if before["about"] == about else self.found
        self.step = ""

    def run(self, step: str, work: Callable[[Report], None]) -> None:
        """Do one step, unless it is finished already or no time is left; an error is written down."""
        if step in self.found["finished"]:
            print(f"{step}: measured before")
            return
        self.step = step
        self.found["measurements"] = [row for row in self.found["measurements"] if row["step"] != step]
        self.found["errors"].pop(step, None)
        print(f"{step} ({self.left():.0f} s left)", flush=True)
        try:
            self.check()
            work(self)
            self.found["finished"].append(step)
        except OutOfTime:
            self.found["errors"][step] = "no time was left"
        except Exception as error:  # a GPU may fail in any way, and the other steps must still run
            self.found["errors"][step] = f"{type(error).__name__}: {error}"
        if step in self.found["errors"]:
            print(f"  NOT FINISHED: {self.found['errors'][step]}", flush=True)
        self._write()

    def add(self, what: str, value: object, target: str = "") -> None:
        """Keep one measurement.

        Raises:
            OutOfTime: it was the last one.
        """
        value = float(f"{value:.4g}") if isinstance(value, float) else value
        self.found["measurements"].append({"step": self.step, "what": what, "value": value, "target": target})
        print(f"  {what}: {value}", flush=True)
        self._write()
        self.check()

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    def check(self) -> None:
        """Raise OutOfTime if the minutes are over."""
        if self.left() <= 0:
            raise OutOfTime

    def value(self, what: str) -> object:
        """A measurement, or None."""
        return next((row["value"] for row in self.found["measurements"] if row["what"] == what), None)

    def _write(self) -> None:
        write_atomic(self.file, (json.dumps(self.found, indent=1) + "\n").encode())

    def lines(self) -> list[str]:
        """A table: what, measured, target."""
        rows = [(row["what"], str(row["value"]), row["target"]) for row in self.found["measurements"]]
        rows += [(step, "NOT FINISHED", error) for step, error in self.found["errors"].items()]
        rows = [("what", "measured", "target"), *rows]
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return [f"{what:{widths[0]}}  {value:>{widths[1]}}  {target}".rstrip() for what, value, target in rows]
