"""Where things are on disk."""

import pytest

from ltlib import paths


def test_the_project_is_the_checkout_of_this_package():
    assert (paths.project() / "ltlib" / "paths.py").samefile(paths.__file__)


@pytest.mark.parametrize(
    "described",
    ['[project]\nname = "another"\n', "[tool.ruff]\n", "project = 3\n", "not = TOML = at all", "\x00\xff", None],
)
def test_a_stray_pyproject_is_not_taken_for_the_checkout(tmp_path, monkeypatch, described):
    site = tmp_path / "site-packages"
    (site / "ltlib").mkdir(parents=True)
    if described is not None:
        (site / "pyproject.toml").write_text(described, encoding="latin-1")
    monkeypatch.setattr(paths, "__file__", str(site / "ltlib" / "paths.py"))
    monkeypatch.chdir(tmp_path)
    assert paths.project() == tmp_path
