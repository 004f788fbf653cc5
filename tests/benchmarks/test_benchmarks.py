"""The benchmarks measure what they say. Nothing here asserts on time."""

import json
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ltlib import paths
from ltlib.models.cost import cost
from tests.benchmarks import growth, limit, operators, race, rows
from tests.benchmarks.rows import table

STORED = sorted(paths.project().glob("data/benchmarks/*.json"))


@pytest.mark.parametrize("backbone", ["resnet8", "resnet32", "resnet18"])
def test_without_the_cost_of_memory_the_limit_is_operations_over_speed(backbone):
    machine = limit.Machine(operations=1e9, bytes=math.inf, dtype=torch.float32)
    assert limit.seconds_per_image(backbone, 32, machine) == pytest.approx(cost(backbone, 10, 32).forward / 1e9)


def test_without_the_cost_of_operations_the_limit_is_what_each_layer_reads_and_writes():
    """ResNet-8 at 8 pixels by hand: stem, two convolutions a stage, classifier; weights once a batch are left out."""
    machine = limit.Machine(operations=math.inf, bytes=1.0, dtype=torch.bfloat16)
    maps = {16: 16 * 64, 32: 32 * 16, 64: 64 * 4}
    moved = (3 * 64 + maps[16]) + 2 * (2 * maps[16]) + (maps[16] + maps[32]) + 2 * maps[32]
    moved += (maps[32] + maps[64]) + 2 * maps[64] + (64 + 10)
    assert limit.seconds_per_image("resnet8", 8, machine) == pytest.approx(2 * moved)


class Operations(TorchDispatchMode):
    """Counts the floating-point operations of everything that is computed inside, also of gradients by the image."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


# One pass of 22 is the last look of APGD, which the row leaves out. The plain LBGAT computes the clean logits in each
# of its ten steps and the gradients of the weights in none: 9 more forward passes of 30.
@pytest.mark.parametrize(
    ("work", "contestant", "images", "passes", "more"),
    [
        (rows._training("resnet8", 4, 2), "ltlib", 8, 3, 0),
        (rows._training("resnet8", 4, 2), "plain", 8, 3, 0),
        (rows._lbgat("resnet8", "resnet8", 4), "ltlib", 4, 30, 0),
        (rows._lbgat("resnet8", "resnet8", 4), "plain", 4, 30, 9),
        (rows._apgd("resnet8", 4), "ltlib", 4, 22, 1),
        (rows._apgd("resnet8", 4), "plain", 4, 22, 1),
        (rows._evaluation("resnet8", 4), "plain", 4, 1, 0),
    ],
)
def test_both_contestants_compute_the_passes_that_a_row_counts(work, contestant, images, passes, more):
    call = work(contestant, torch.device("cpu"))
    with Operations() as counted:
        call()
    forward = images * cost("resnet8", 10, 32).forward
    # The first layer needs no gradient by the image when the weights learn: less than one of a hundred passes.
    assert counted.total / forward == pytest.approx(passes + more, abs=0.15)


def test_a_race_takes_turns_and_reports_medians(monkeypatch):
    clock, calls = iter(range(1000)), []
    monkeypatch.setattr(race.time, "perf_counter", lambda: next(clock))
    times = race.race({"a": lambda: calls.append("a"), "b": lambda: [calls.append("b"), next(clock)]}, rounds=3)
    assert calls == ["a", "b"] * 4, "once to warm up, then three times"
    assert times == {"a": 1, "b": 2}


def test_growth_fits_the_line_of_relative_times(monkeypatch):
    monkeypatch.setattr(growth, "race", lambda works, rounds: {x: 3.0 + 0.5 * int(x) for x in works})
    line = growth._line("steps", "a step", (2, 4, 10), lambda x, device: None, torch.device("cpu"), 1)
    # (3 + x / 2) / 4 = 3/4 + (1/4) (x / 2)
    assert line["relative"] == [1.0, 1.25, 2.0]
    assert (line["fixed"], line["slope"]) == (pytest.approx(0.75), pytest.approx(0.25))


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_stored_results_say_where_they_come_from_and_agree_with_themselves(file):
    found = json.loads(file.read_text())
    assert found["command"].startswith("python -m tests.benchmarks")
    assert {"hardware", "versions", "revision", "precision", "date"} <= set(found)
    assert found["revision"]
    gpu = found["hardware"]["device"] != "cpu"
    assert [row["what"] for row in found["rows"]] == [row.name for row in table(gpu, 1)]
    for row in found["rows"]:
        assert row["ratio"] == pytest.approx(row["ltlib"] / row["plain"])
        assert row["share_of_limit"] == pytest.approx(row["ltlib"] / row["limit"])
        assert 0 < row["share_of_limit"] < 1


def test_some_results_are_stored():
    assert STORED


@pytest.mark.parametrize("what", operators.STEPS)
def test_a_step_does_not_start_more_operators_than_it_must(what):
    method, backbone, own, most = operators.STEPS[what]
    found = operators.count(method, backbone, **own)
    assert found.total() <= most, found
    assert found["convolution"] >= 31
