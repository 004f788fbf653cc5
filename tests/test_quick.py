"""`make quick` runs the tests beside a change."""

import subprocess
from pathlib import Path

import pytest

from tests.quick import ALWAYS, changed, needed

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("ltlib/data/lists.py", {"tests/data/test_lists.py"}),
        ("ltlib/launch/workers.py", {"tests/launch"}),
        ("ltlib/lesson/exercises/share.py", {"tests/lesson"}),
        ("ltlib/paths.py", {"tests/test_paths.py"}),
        ("ltlib/__main__.py", {"tests/experiments/test_command_line.py"}),
        ("tests/data/test_lists.py", {"tests/data/test_lists.py"}),
        ("tests/data/test_deleted.py", set()),
        ("README.md", set()),
    ],
)
def test_a_change_needs_the_tests_that_mirror_it(file, expected):
    assert set(needed(ROOT, [file])) == expected | set(ALWAYS)


def test_every_named_test_exists():
    assert all((ROOT / file).exists() for file in needed(ROOT, ["ltlib/__main__.py"]))


def test_changed_files_are_those_that_git_sees(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    (tmp_path / "same.py").write_text("")
    (tmp_path / "edited.py").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("switch", "-q", "-c", "branch")
    (tmp_path / "committed.py").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    (tmp_path / "edited.py").write_text("1")
    (tmp_path / "new.py").write_text("")
    (tmp_path / "ignored.py").write_text("")
    assert changed(tmp_path) == {"committed.py", "edited.py", "new.py"}


def test_without_git_nothing_counts_as_changed(tmp_path):
    assert changed(tmp_path) == set()
