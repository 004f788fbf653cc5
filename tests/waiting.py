"""Waiting for what other processes do, on a machine that may be many times slower than this one."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

PATIENCE = 300.0  # seconds; what works ends long before, on a busy machine too

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What ``condition`` returns, once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return found


def ended(process: psutil.Process) -> bool:
    """Whether a process runs no more. It can still be listed until its parent has taken note."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    """A free port, below those that a system gives to programs that ask for any: none of them takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def width(image) -> int:
    """Pixels across an image of a page, as soon as it is decoded."""
    return image.evaluate("image => image.decode().then(() => image.naturalWidth)")
