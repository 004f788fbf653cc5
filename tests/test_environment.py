"""One list of dependencies, told three times: pyproject.toml, environment.yml, constraints.txt."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def declared() -> dict[str, str]:
    """Name -> floor, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    requirements = [Requirement(line) for line in lines]
    return {r.name: str(r.specifier) for r in requirements if r.name != "ltlib"}


def test_environment_yml_lists_the_same_packages_and_floors():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    flat = [item for item in listed if isinstance(item, str)] + [
        i for d in listed if isinstance(d, dict) for i in d["pip"]
    ]
    requirements = [Requirement(item) for item in flat if not item.startswith("-e")]
    assert {r.name: str(r.specifier) for r in requirements if r.name not in ("python", "pip")} == declared()


def test_every_package_says_who_needs_it():
    for file in ("pyproject.toml", "environment.yml"):
        lines = (ROOT / file).read_text().splitlines()
        packages = [line for line in lines if re.match(r'\s+("|- )[\w.-]+(\[\w+\])?[>=]=', line)]
        assert len(packages) >= len(declared())
        assert [line for line in packages if "#" not in line] == []


def test_exact_versions_satisfy_the_floors():
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"
    )
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    for name, floor in declared().items():
        assert Requirement(f"{name}{floor}").specifier.contains(pinned[name]), name
