"""The wheel is whole: installed away from the checkout, it reports, compares with papers and opens the lessons."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import nbformat
import pytest

from ltlib import paths

pytestmark = pytest.mark.slow

MEGABYTES = 25


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The built wheel."""
    to = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "-q", "-w", str(to)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(paths.project())], check=True, cwd=to)
    [file] = to.glob("ltlib-*.whl")
    return file


@pytest.fixture(scope="module")
def ltlib(wheel, tmp_path_factory):
    """Run ``ltlib`` from the installed wheel, in a folder with a space in its name that is far from the checkout."""
    site = tmp_path_factory.mktemp("site")
    folder = tmp_path_factory.mktemp("a folder")
    options = ["--no-deps", "--no-index", "-q", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LTLIB_")}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "ltlib", *arguments],
            cwd=folder,
            env=kept | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    run.folder, run.site = folder, site
    return run


def test_the_wheel_is_small_and_carries_what_it_reads(wheel):
    assert wheel.stat().st_size < MEGABYTES * 2**20
    names = zipfile.ZipFile(wheel).namelist()
    read = ("notebooks/full_run.ipynb", "notebooks/03_mislas.ipynb", "data/published_results.csv")
    for file in (*read, "data/excerpts/cifar10.png", "data/excerpts/cifar10.json"):
        assert f"ltlib/bundle/{file}" in names
    stored = {
        f"ltlib/bundle/{f.relative_to(paths.project())}" for f in paths.project().glob("data/reference_runs/*/*.json")
    }
    assert stored <= set(names)
    assert not [name for name in names if name.startswith(("tests", "data", "notebooks"))]


def test_it_is_the_wheel_that_runs(ltlib):
    script = "import ltlib.paths as p; print(p.__file__); print(p.resources())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ltlib.site)},
        cwd=ltlib.folder,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [str(ltlib.site / "ltlib/paths.py"), str(ltlib.site / "ltlib/bundle")]


def test_doctor_and_results_beside_the_papers(ltlib):
    assert ltlib("doctor").returncode == 0
    done = ltlib("results", "--papers")
    assert done.returncode == 0, done.stderr
    assert "MiSLAS README" in done.stdout


def test_a_report_is_made_in_the_users_folder(ltlib):
    subprocess.run(["git", "init", "-q"], cwd=ltlib.folder, check=True)  # a repository of the user's own
    author = ["-c", "user.name=u", "-c", "user.email=u@example.org"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "mine"], cwd=ltlib.folder, check=True)
    done = ltlib("report", "--method", "cross_entropy", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    [report] = ltlib.folder.glob("runs/*/report.ipynb")
    assert "Traceback" not in report.read_text()
    assert '"revision": ""' in (report.parent / "run.json").read_text(), "a wheel has no commit"


def test_the_lessons_are_copied_once_and_edits_survive(ltlib):
    script = "from ltlib.launch.lab import copy_lessons; from pathlib import Path; print(copy_lessons(Path('course')))"
    call = [sys.executable, "-c", script]
    environment = {"PYTHONPATH": str(ltlib.site)}
    subprocess.run(call, cwd=ltlib.folder, env=environment, check=True)
    lesson = ltlib.folder / "course/notebooks/03_mislas.ipynb"
    assert lesson.read_bytes() == (paths.project() / "notebooks/03_mislas.ipynb").read_bytes()
    lesson.write_text("mine")
    (ltlib.folder / "course/notebooks/00_start_here.ipynb").unlink()
    subprocess.run(call, cwd=ltlib.folder, env=environment, check=True)
    assert lesson.read_text() == "mine"
    assert (ltlib.folder / "course/notebooks/00_start_here.ipynb").exists()


@pytest.fixture
def colab(tmp_path) -> Path:
    """The Python of an environment with the packages of this one but without ltlib, as Colab has them."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "ltlib" not in entry.name:
            (packages / entry.name).symlink_to(entry)
    environment = tmp_path / "environment"
    venv.create(environment)
    [site] = environment.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n")
    return environment / "bin" / "python"


def test_a_lesson_opened_without_a_checkout_installs_the_wheel_and_runs(wheel, colab, tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    shutil.copy(paths.project() / "notebooks" / "00_start_here.ipynb", folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LTLIB_", "PYTHON", "JUPYTER"))}
    environment = kept | {
        "HOME": str(tmp_path),
        "LTLIB_PROFILE": "smoke",
        "LTLIB_WHEEL": wheel.as_uri(),
        "PIP_NO_INDEX": "1",
    }
    command = [colab, "-m", "papermill", "00_start_here.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    cells = [cell for cell in nbformat.read(folder / "out.ipynb", 4).cells if cell.cell_type == "code"]
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    script = "import ltlib; print(ltlib.__file__)"
    found = subprocess.run([colab, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(colab.parent.parent), found.stderr
    assert list(folder.glob("runs/*/run.json"))
