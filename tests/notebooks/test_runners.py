"""The same file under nbval and papermill: failures are seen, parameters arrive, any working directory will do."""

import os
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ltlib import paths

NBVAL = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]


def python(*arguments, cwd):
    """Run a Python program as a reader would, away from the checkout."""
    environment = os.environ | {"LTLIB_PROFILE": "smoke", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(("values", "status"), [("[1, 2]", 0), ("[1, 2, 0]", 1)])
def test_nbval_sees_a_figure_that_a_control_cannot_draw(values, status, tmp_path):
    code = (
        "from ltlib.lesson import figures, widgets\n"
        "shares = figures.long_tailed_data.class_shares\n"
        f"widgets.explore(lambda n: shares({{'a': [1 / n, 1]}}, 'a title'), n=({values}, 1))"
    )
    nbformat.write(new_notebook(cells=[new_code_cell(code)]), tmp_path / "explore.ipynb")
    result = python(*NBVAL, "explore.ipynb", cwd=tmp_path)
    assert result.returncode == status, result.stdout
    assert ("ZeroDivisionError" in result.stdout) == (status == 1)


def test_papermill_changes_parameters_from_any_folder(tmp_path):
    lesson = paths.project() / "notebooks" / "00_start_here.ipynb"
    arguments = ["-m", "papermill", lesson, "out.ipynb", "-p", "imbalance_factor", "10", "-p", "seed", "3"]
    result = python(*arguments, "-k", "python3", "--no-progress-bar", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    texts = [
        output.get("text", "")
        for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells
        for output in cell.get("outputs", [])
    ]
    setup = next(text for text in texts if text.startswith("Long-Tail Lab"))
    assert "profile    smoke" in setup
    assert "factor 10\n" in setup
    assert "seed       3\n" in setup


def test_papermill_with_a_misspelt_parameter_stops_at_the_setup(tmp_path):
    lesson = paths.project() / "notebooks" / "01_long_tailed_data.ipynb"
    arguments = ["-m", "papermill", lesson, "out.ipynb", "-p", "imbalanse_factor", "10"]
    result = python(*arguments, "-k", "python3", "--no-progress-bar", cwd=tmp_path)
    assert result.returncode != 0
    assert "'imbalanse_factor' is no parameter of this notebook. Did you mean 'imbalance_factor'" in result.stderr
