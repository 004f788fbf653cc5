"""The battery survives what may happen to it: the end of the time, a kill, a step that fails."""

import json

import pytest
import torch

from ltlib.training.device import choose_device
from tests.gpu_battery.__main__ import battery
from tests.gpu_battery.report import Report
from tests.gpu_battery.steps import STEPS
from tests.gpu_battery.work import SMALL, images

ABOUT = {"device": "a GPU"}


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
