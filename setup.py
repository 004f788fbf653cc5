"""The build of the wheel. Everything else is in pyproject.toml.

``data/`` and ``notebooks/`` stay at the top of the repository, where readers look for them. A wheel holds only the
package, so this step copies what the package reads (the report, the lessons, published and stored results) into
``ltlib/bundle`` of the wheel. ``ltlib.paths.resources`` finds them in either place.
"""

import json
import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
BUNDLED = (
    "notebooks/*.ipynb",
    "notebooks/images/*",
    "notebooks/guide/*.md",
    "notebooks/sweeps/*",
    "data/README.md",
    "data/published_results.csv",
    "data/benchmarks/*.json",
    "data/features/*",
    "data/excerpts/*",
    "data/reference_runs/*/*.json",
    "data/reference_runs/*/*.npz",
    "data/reference_runs/*/order.txt",
    "data/reference_runs/*/networks/*",
    "data/reference_runs/*/trajectories/*",
)


class BuildWithResources(build_py):
    """The package, and the files it reads."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # an editable installation reads them where they are
            return
        bundle = Path(self.build_lib) / "ltlib" / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        for file in (file for pattern in BUNDLED for file in ROOT.glob(pattern)):
            target = bundle / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            if file.suffix == ".safetensors":
                target.write_bytes(as_it_travels(file))


def as_it_travels(network: Path) -> bytes:
    """The weights of a network in float16 where its measured accuracy allows it, else as they are."""
    # By path: the build does not have the packages that ltlib imports.
    float16 = runpy.run_path(str(ROOT / "ltlib" / "results" / "float16.py"))
    content, measured = network.read_bytes(), network.with_suffix(".json")
    accuracy: dict = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else {"float16": None}
    if accuracy["float16"] is None or 100 * abs(accuracy["float16"] - accuracy["float32"]) > float16["POINTS"]:
        return content
    return float16["halved"](content)


setup(cmdclass={"build_py": BuildWithResources})
