"""A layer imports only from layers below it: the contract is in pyproject.toml, import-linter checks it."""

import os
import shutil
import subprocess
import sys

import pytest

from ltlib import paths

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder) -> subprocess.CompletedProcess:
    """Check the package that lies in ``folder``, with the contract that lies beside it."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_layer_imports_only_from_layers_below_it():
    result = lint(paths.project())
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def package(tmp_path):
    """A copy of the package and its contract."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(paths.project() / "ltlib", tmp_path / "ltlib", ignore=ignore)
    shutil.copy(paths.project() / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "imported", "said"),
    [
        ("data/longtail.py", "ltlib.training.engine", "ltlib.data is not allowed to import ltlib.training"),
        ("launch/sweep.py", "ltlib.lesson.slides", "ltlib.launch is not allowed to import ltlib.lesson"),
        ("lesson/grade.py", "ltlib.launch.fill_in", "ltlib.lesson is not allowed to import ltlib.launch"),
        ("errors.py", "ltlib.paths", "ltlib.errors is not allowed to import ltlib.paths"),
    ],
)
def test_an_import_from_above_breaks_the_contract(package, file, imported, said):
    planted = package / "ltlib" / file
    planted.write_text(planted.read_text() + f"\n\ndef late():\n    import {imported}\n")
    result = lint(package)
    assert result.returncode == 1
    assert said in result.stdout


def test_a_folder_that_is_in_no_layer_breaks_the_contract(package):
    (package / "ltlib" / "extra.py").write_text("")
    result = lint(package)
    assert result.returncode != 0
    assert "extra" in result.stdout + result.stderr
