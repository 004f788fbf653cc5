"""How JupyterLab is started: in a checkout where the lessons are, from a wheel on copies, and as the user root too."""

from __future__ import annotations

import os
import subprocess

import pytest

from ltlib import paths
from ltlib.errors import InputError
from ltlib.launch import lab


class Server:
    """In place of JupyterLab: keeps how it was started, and ends with status 3 after as many Ctrl-C as it was given."""

    interrupts = 0

    def __init__(self, command, **options):
        started.append((command, options))

    def wait(self) -> int:
        if type(self).interrupts:
            type(self).interrupts -= 1
            raise KeyboardInterrupt
        return 3


started: list[tuple[list[str], dict]] = []


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    started.clear()
    monkeypatch.setattr(lab.subprocess, "Popen", Server)


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_only_root_is_told_to_jupyterlab(monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert lab.lab() == 3, "the exit status is that of JupyterLab"
    [(command, _)] = started
    assert ("--allow-root" in command) is allowed


def test_a_system_without_user_numbers_starts_it_too(monkeypatch):
    monkeypatch.delattr(os, "geteuid", raising=False)  # Windows
    lab.lab(browser=False)
    [(command, _)] = started
    assert "--allow-root" not in command
    assert "--no-browser" in command


def test_jupyterlab_knows_the_options_and_needs_no_script(monkeypatch):
    lab.lab(browser=False)
    [(command, _)] = started
    monkeypatch.undo()
    options = {"capture_output": True, "text": True, "timeout": 600, "env": os.environ | {"PATH": ""}}
    done = subprocess.run([*command[: command.index("jupyterlab") + 1], "--help"], **options)
    assert done.returncode == 0, done.stderr
    assert "--allow-root" in done.stdout
    assert "--no-browser" in done.stdout


def test_ctrl_c_is_left_to_jupyterlab_which_asks(monkeypatch):
    monkeypatch.setattr(Server, "interrupts", 2)
    assert lab.lab() == 3


def test_in_a_checkout_the_lessons_are_opened_where_they_are():
    lab.lab()
    [(command, options)] = started
    assert options["cwd"] == paths.project()
    assert f"--LabApp.default_url=/lab/tree/{lab.FIRST}" in command
    assert (paths.project() / lab.FIRST).is_file()


def test_a_wheel_opens_copies_and_keeps_runs_beside_them(monkeypatch, tmp_path):
    monkeypatch.setattr(lab.paths, "project", lambda: tmp_path / "no checkout")
    monkeypatch.setattr(lab.paths, "resources", lambda: tmp_path / "bundle")
    (tmp_path / "bundle" / "notebooks").mkdir(parents=True)
    (tmp_path / "bundle" / lab.FIRST).write_text("{}")
    monkeypatch.delenv("LTLIB_RUNS", raising=False)
    course = tmp_path / "a course"
    lab.lab(str(course))
    [(_, options)] = started
    assert options["cwd"] == course
    assert options["env"]["LTLIB_RUNS"] == str(course / "runs")
    assert (course / lab.FIRST).read_text() == "{}"
    (tmp_path / "a file").write_text("")
    with pytest.raises(InputError, match="name another folder with --to"):
        lab.lab(str(tmp_path / "a file"))
