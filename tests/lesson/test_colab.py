"""The first cell of a lesson installs the wheel where there is no ltlib, and does nothing elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nbformat

from ltlib import paths
from ltlib.lesson import colab


def run(code: str, tmp_path, **environment: str) -> subprocess.CompletedProcess:
    """Run a cell in a process where pip is a script that only writes down what it was asked for."""
    site = tmp_path / "site"
    (site / "pip").mkdir(parents=True, exist_ok=True)
    (site / "pip" / "__init__.py").write_text("")
    (site / "pip" / "__main__.py").write_text("import sys; print('pip', *sys.argv[1:])")
    return subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: nothing that is installed can be imported
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site)} | environment,
        capture_output=True,
        text=True,
    )


def test_without_ltlib_the_cell_installs_the_wheel_and_its_notebook_packages(tmp_path):
    done = run(colab.install_cell("https://host/ltlib-1.whl"), tmp_path)
    assert done.stdout == "pip install -q ltlib[notebooks] @ https://host/ltlib-1.whl\n", done.stderr
    done = run(colab.install_cell("https://host/ltlib-1.whl"), tmp_path, LTLIB_WHEEL="file:///own.whl")
    assert done.stdout == "pip install -q ltlib[notebooks] @ file:///own.whl\n"


def test_without_an_address_the_cell_says_what_to_set(tmp_path):
    done = run(colab.install_cell(""), tmp_path)
    assert done.returncode == 1
    assert "Set the environment variable LTLIB_WHEEL" in done.stderr


def test_with_ltlib_the_cell_does_nothing(tmp_path):
    (tmp_path / "site" / "ltlib").mkdir(parents=True)
    (tmp_path / "site" / "ltlib" / "__init__.py").write_text("")
    done = run(colab.install_cell("https://host/ltlib-1.whl"), tmp_path)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_badges_follow_the_address_and_come_once():
    file = colab.lessons()[3]
    notebook = json.loads(file.read_text(encoding="utf-8"))
    address = "https://github.com/someone/lab"
    once = colab.prepare(notebook, file.name, address, "https://host/x.whl")
    twice = colab.prepare(once, file.name, address, "https://host/x.whl")
    assert once == twice
    nbformat.validate(nbformat.from_dict(once))
    title = "".join(once["cells"][0]["source"])
    assert title.count(f"colab.research.google.com/github/someone/lab/blob/main/notebooks/{file.name}") == 1
    assert title.count(f"src={address}/blob/main/notebooks/{file.name}") == 1
    back = colab.prepare(once, file.name, "", colab.addresses()[1])
    assert back == colab.prepare(notebook, file.name, "", colab.addresses()[1])


def test_the_wheel_has_the_version_of_the_package(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        (paths.project() / "pyproject.toml").read_text().replace('repository = ""', 'repository = "https://host/r/"')
    )
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    from ltlib import __version__

    expected = f"https://host/r/releases/download/v{__version__}/ltlib-{__version__}-py3-none-any.whl"
    assert colab.addresses() == ("https://host/r", expected)
