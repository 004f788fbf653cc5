"""Odd surroundings: one sentence, or it works."""

import os
import subprocess
import sys

import pytest

from ltlib import doctor, paths
from ltlib.__main__ import main
from ltlib.errors import InputError, from_system


def command(*arguments, **environment):
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, env=os.environ | environment, timeout=120, check=False
    )


def test_without_docstrings_everything_starts():
    found = command("-OO", "-m", "ltlib", "runs", "list")
    assert found.returncode == 0, found.stderr
    assert b"no run yet" in found.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_shows_a_substitute(encoding):
    code = "import ltlib.__main__ as m\nm.doctor = lambda: print('74 ± 1 → λ')\nm.main(['doctor'])"
    found = command("-c", code, PYTHONIOENCODING=f"{encoding}:strict")
    assert found.returncode == 0, found.stderr
    assert found.stdout.decode(encoding).strip() == {"ascii": "74 ? 1 ? ?", "latin-1": "74 ± 1 ? ?"}[encoding]


@pytest.mark.parametrize("variable", ["LTLIB_DATA", "LTLIB_CACHE", "LTLIB_RUNS"])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("~nosuchuser/x", "is the folder of a user who does not exist"),
        ("x" * 300, "is not a path (File name too long)"),
    ],
)
def test_impossible_folders_are_one_sentence(variable, value, sentence, monkeypatch, capsys):
    monkeypatch.setenv(variable, value)
    roots = {"LTLIB_DATA": paths.data_root, "LTLIB_CACHE": paths.cache_root, "LTLIB_RUNS": paths.runs_root}
    with pytest.raises(InputError) as caught:
        roots[variable]()
    assert sentence in str(caught.value)
    assert f"{variable}=" in str(caught.value)
    assert any(line.startswith(f"!! {variable}: InputError") for line in doctor.examine())
    if variable == "LTLIB_RUNS":
        assert main(["runs", "list"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_null_character_is_no_path():
    with pytest.raises(InputError, match=r"is not a path \(.*null"):
        paths.user_path("a\0b", "data_dir")


def test_what_does_not_exist_yet_is_a_path(tmp_path):
    assert paths.user_path(tmp_path / "new" / "er", "data_dir") == tmp_path / "new" / "er"
    assert paths.user_path("~/x", "data_dir") == paths.Path.home() / "x"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/a"), "refused to use '/a' (Permission denied): change its perm"),
        (OSError(30, "Read-only file system", "/a"), "(Read-only file system): name a folder on a disk"),
        (OSError(28, "No space left on device"), "refused to use a file (No space left on device): free some space."),
        (FileNotFoundError(2, "No such file", "a\nb"), "'a b' (No such file): check the file or folder"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(error, sentence, monkeypatch, capsys):
    assert sentence in from_system(error)

    def refused():
        raise error

    monkeypatch.setattr("ltlib.doctor.examine", refused)
    assert main(["doctor"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: The system refused")
    assert printed.count("\n") == 1


def test_the_doctor_never_raises(monkeypatch):
    def broken():
        raise RuntimeError("CUDA is \x1b[31mbroken")

    for name in ("_torch", "_data"):
        monkeypatch.setattr(doctor, name, broken)
    lines = doctor.examine()
    assert "!! torch: RuntimeError: CUDA is \\x1b[31mbroken" in lines
    assert any(line.startswith("!! data: RuntimeError") for line in lines)
