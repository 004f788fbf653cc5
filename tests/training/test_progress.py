import sys
import types

import pytest

from ltlib.training import progress

RECORD = {"epoch": 3, "lr": 0.1, "loss": 0.51234, "test_accuracy": 0.7123, "validation_accuracy": 0.5}


def test_one_line_an_epoch(capsys, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    progress.Progress("mixup", epochs=10)(RECORD)
    assert capsys.readouterr().out == "mixup  epoch 3/10  lr 0.1  loss 0.512  validation 50.0%  test 71.2%\n"


@pytest.mark.parametrize(("seconds", "left"), [(2, "14 s"), (60, "7 min"), (1200, "2.3 h")])
def test_a_terminal_shows_the_time_left(capsys, monkeypatch, seconds, left):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shown = progress.Progress("mixup", epochs=10, done=2)
    monkeypatch.setattr(progress.time, "monotonic", lambda: shown.started + seconds)
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    shown(RECORD)  # one epoch of this length, seven are left
    assert capsys.readouterr().out.endswith(f"test 71.2%  {left} left\n")


def test_one_moving_line_in_jupyterlab(capsys, monkeypatch):
    shown = []
    handle = types.SimpleNamespace(update=shown.append)
    fake = types.SimpleNamespace(display=lambda *arguments, **options: handle)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")
    moving = progress.Progress("mixup", epochs=10, done=2)
    monkeypatch.setattr(progress.time, "monotonic", lambda: moving.started + 2)
    moving(RECORD)
    assert capsys.readouterr().out == ""
    assert repr(shown[-1]).startswith("███████░")
    assert repr(shown[-1]).endswith("test 71.2%  14 s left")  # one epoch took 2 s, seven are left


@pytest.mark.parametrize("kernel", [True, False])
def test_lines_without_a_jupyter_server(monkeypatch, kernel):
    if kernel:  # papermill and nbval: a kernel, but no server that named the session
        monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert progress.Progress("x", 2).handle is None
