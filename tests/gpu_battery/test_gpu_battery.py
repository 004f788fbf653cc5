"""The battery survives what may happen to it: the end of the time, a kill, a step that fails."""

import importlib.util
import json
import subprocess
import sys
import time

import pytest
import torch

from ltlib.training.device import choose_device
from tests.gpu_battery.__main__ import battery
from tests.gpu_battery.report import Report
from tests.gpu_battery.steps import STEPS
from tests.gpu_battery.work import SMALL, images

ABOUT = {"device": "a GPU"}

# torch as its wheel installs it, and NumPy
BARE = {
    *("torch", "torchgen", "functorch", "triton", "nvidia", "cuda", "numpy"),
    *("typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec", "setuptools"),
}
# Python that finds nothing else, besides itself, the package and its tests.
ONLY_TORCH = f"""
import sys

class Only:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        # Python's own build variables are in a module whose name holds the platform.
        own = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        known = own or top in {BARE | {"ltlib", "tests"}!r}
        return self.finder.find_spec(name, path, target) if known else None

sys.meta_path = [Only(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
"""


def fails(report):
    report.add("first", 1.0)
    raise ValueError("no kernel image")


def measures(report):
    report.add("second", 0.123456, "below 1")


def test_a_failing_step_is_written_down_and_the_next_one_runs(tmp_path):
    report = Report(tmp_path / "r.json", ABOUT, minutes=1)
    report.run("a", fails)
    report.run("b", measures)
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["finished"] == ["b"]
    assert found["errors"] == {"a": "ValueError: no kernel image"}
    assert [row["value"] for row in found["measurements"]] == [1.0, 0.1235]
    assert any("below 1" in line and "0.1235" in line for line in report.lines())
    assert any("NOT FINISHED" in line and "no kernel image" in line for line in report.lines())


def test_each_measurement_is_on_the_disk_before_the_next_one(tmp_path):
    class Killed(BaseException):
        pass

    def killed(report):
        report.add("first", 1.0)
        raise Killed

    with pytest.raises(Killed):
        Report(tmp_path / "r.json", ABOUT, minutes=1).run("a", killed)
    assert json.loads((tmp_path / "r.json").read_text())["measurements"][0]["what"] == "first"


def test_the_same_command_continues_with_what_is_missing(tmp_path):
    first = Report(tmp_path / "r.json", ABOUT, minutes=1)
    first.run("b", measures)
    first.run("a", fails)
    called = []
    again = Report(tmp_path / "r.json", ABOUT, minutes=1)
    again.run("b", called.append)
    again.run("a", measures)
    assert called == []
    assert again.found["errors"] == {}
    assert [row["what"] for row in again.found["measurements"]] == ["second", "second"]
    other = Report(tmp_path / "r.json", {"device": "another"}, minutes=1)
    assert other.found["measurements"] == []


def test_nothing_begins_after_the_time(tmp_path):
    called = []
    report = Report(tmp_path / "r.json", ABOUT, minutes=0)
    report.run("a", called.append)
    assert called == []
    assert report.found["errors"] == {"a": "no time was left"}


def test_the_images_are_a_long_tail_that_two_seeds_share():
    x, y = images(500)
    counts = torch.bincount(y).tolist()
    assert counts[0] == 500
    assert counts[-1] == 5
    assert counts == sorted(counts, reverse=True)
    other, _ = images(500, seed=1)
    same_class, another = (
        (x[0].float() - other[1].float()).abs().mean(),
        (x[0].float() - other[-1].float()).abs().mean(),
    )
    assert not torch.equal(x, other)
    assert same_class < another


@pytest.mark.slow
@pytest.mark.parametrize("pretend", [True, False])
def test_every_step_can_be_tried_without_a_gpu(tmp_path, pretend):
    if not pretend and choose_device().type == "cuda":
        pytest.skip("the real battery is for this machine")
    steps = [name for name in STEPS if name != "5 benchmark"]
    report = battery(tmp_path / "r.json", 30, SMALL, pretend, steps)
    assert report.found["finished"] == steps
    assert report.found["errors"] == {}
    checks = [row for row in report.found["measurements"] if row["target"] == "True"]
    assert len(checks) >= (9 if pretend else 3)
    assert all(row["value"] is True for row in checks), checks


def bare(code: str) -> list[str]:
    return [sys.executable, "-c", ONLY_TORCH + code]


def test_only_torch_and_numpy_are_needed(tmp_path):
    code = """
from pathlib import Path
from tests.gpu_battery.__main__ import battery
from tests.gpu_battery.work import SMALL
battery(Path(sys.argv[1]), 5, SMALL, False, ["5 benchmark"])
"""
    done = subprocess.run([*bare(code), str(tmp_path / "r.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["errors"] == {}
    left_out = found["measurements"][0]["value"]
    assert left_out == "left out: it needs torchvision, PIL, matplotlib, joblib"
    assert importlib.util.find_spec("torchvision"), "they are there, only not for that process"


@pytest.mark.slow
def test_a_killed_battery_continues_to_the_end_where_only_torch_is(tmp_path):
    file = tmp_path / "r.json"
    command = [*bare("from tests.gpu_battery.__main__ import main\nmain()"), "--pretend", "--out", str(file)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not file.exists() or "1 correctness" not in json.loads(file.read_text())["finished"]:
        assert first.poll() is None
        time.sleep(0.2)
    first.kill()
    first.wait()
    before = json.loads(file.read_text())
    assert before["finished"][0] == "1 correctness"
    assert before["finished"] != list(STEPS), "it was killed before the end"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 correctness: measured before" in done.stdout
    found = json.loads(file.read_text())
    assert found["finished"] == list(STEPS)
    assert found["errors"] == {}
    assert found["measurements"][: len(before["measurements"])] == before["measurements"]
