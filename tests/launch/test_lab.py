"""How JupyterLab is started: in a checkout where the lessons are, from a wheel on copies, and as the user root too."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from ltlib import paths
from ltlib.errors import InputError
from ltlib.launch import lab


@pytest.fixture
def started(monkeypatch):
    """What would have been started: pairs of a command and its options. JupyterLab itself does not start."""
    calls = []
    monkeypatch.setattr(lab.subprocess, "run", lambda *a, **k: calls.append((a[0], k)) or SimpleNamespace(returncode=3))
    return calls


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_only_root_is_told_to_jupyterlab(started, monkeypatch, user, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    assert lab.lab() == 3, "the exit status is that of JupyterLab"
    [(command, _)] = started
    assert ("--allow-root" in command) is allowed


def test_a_system_without_user_numbers_starts_it_too(started, monkeypatch):
    monkeypatch.delattr(os, "geteuid", raising=False)  # Windows
    lab.lab(browser=False)
    [(command, _)] = started
    assert "--allow-root" not in command
    assert "--no-browser" in command


def test_jupyterlab_knows_the_option():
    done = subprocess.run(
        [lab.sys.executable, "-m", "jupyter", "lab", "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    assert "--allow-root" in done.stdout
    assert "--no-browser" in done.stdout


def test_in_a_checkout_the_lessons_are_opened_where_they_are(started):
    lab.lab()
    [(command, options)] = started
    assert options["cwd"] == paths.project()
    assert f"--LabApp.default_url=/lab/tree/{lab.FIRST}" in command
    assert (paths.project() / lab.FIRST).is_file()


def test_a_wheel_opens_copies_and_keeps_runs_beside_them(started, monkeypatch, tmp_path):
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
