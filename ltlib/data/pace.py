"""How a long preparation tells where it stands: a line at most every twentieth of the way."""

from __future__ import annotations

import time


class Pace:
    """Call it with the number of images just done. Nothing is said in the first five seconds, nor guessed."""

    def __init__(self, total: int, quiet: float = 5.0):
        self.total, self.quiet, self.done, self.said = total, quiet, 0, 0
        self.started = self.last = time.monotonic()

    def __call__(self, images: int) -> None:
        self.done += images
        now = time.monotonic()
        if now - self.last < self.quiet or (self.done - self.said < self.total / 20 and self.said):
            return
        speed = self.done / (now - self.started)
        left = (self.total - self.done) / speed
        print(f"  {self.done:,} of {self.total:,} images, {speed:,.0f} a second, {as_time(left)} left", flush=True)
        self.last, self.said = now, self.done


def as_size(count: float) -> str:
    """Bytes for a reader: ``388 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count:,} bytes"


def as_time(seconds: float) -> str:
    """A duration for a reader: ``40 s``, ``12 min``, ``1 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
