"""Damaged and foreign files: the answer is a value or an `InputError`, soon, and nothing is written."""

import contextlib
import csv
import io
import json
import random
import re
import shutil
import signal
import time

import pytest

from ltlib.data.lists import read_list
from ltlib.errors import InputError
from ltlib.experiments import runs
from ltlib.experiments.attack import robust_reports
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import parse_overrides
from ltlib.launch.sweep_file import read_sweep
from ltlib.lesson import grade
from ltlib.training import checkpoint

TRIALS, SECONDS, HANG = 200, 5.0, 30  # for each target: at most so many, for at most so long; each ends by itself
JUNK = [
    "null",
    "[]",
    "{}",
    "-1",
    "1e400",
    "NaN",
    '"\\u0000"',
    '"../x"',
    "99999999999999999999",
    "true",
    '"\\ud800"',
    "[[[[",
]
WORDS = ["=cmd()", "+1", "-1", "@x", "\t=1", "\x1b[31m", '"', ",", "\n", "\r", "ä", "\u202e", "\ud800", "0", "x" * 40]


def damaged(rng: random.Random, content: bytes) -> bytes:
    """The content of a file after one to three accidents."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content = content[:at] + rng.randbytes(rng.randint(1, 8)) + content[at:]
        elif kind == 2:
            content = content[:at] + rng.choice(JUNK).encode() + content[at + rng.randint(0, 12) :]
        elif kind == 3 and content:
            at = rng.randrange(len(content))
            content = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        elif kind == 4:
            content = content[:at] + content[at // 2 : at] + content[at:]
        else:
            lines = content.split(b"\n")
            rng.shuffle(lines)
            content = b"\n".join(lines)
    return content


@contextlib.contextmanager
def soon():
    """Ends what hangs."""

    def hangs(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trials():
    """Random generators, each with its number as the seed, until there were enough or the time is over."""
    end = time.monotonic() + SECONDS
    for number in range(TRIALS):
        if time.monotonic() > end and number >= 20:
            return
        yield number, random.Random(number)


def state(folder) -> dict:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def answers(folder, read) -> bool:
    """Whether ``read`` gives a value. Otherwise it must raise `InputError`; nothing is written either way."""
    before, said = state(folder), None
    try:
        with soon():
            read()
    except InputError as error:
        said = str(error)
    assert state(folder) == before
    assert said is None or (said and len(said.splitlines()) == 1)
    return said is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with a robust report."""
    from ltlib.experiments.attack import measure

    root = tmp_path_factory.mktemp("fuzz")
    run = execute(Experiment(profile="smoke", imbalance_factor=1, overrides="n_max=4, epochs=1"), root, quiet=True)
    measure(run, epsilon=1 / 255, attack="pgd20", images=2)
    return run


READERS = {
    "run.json": lambda run: (runs.all_runs(run.folder.parent), run.info),
    "metrics.jsonl": lambda run: run.metrics,
    "predictions.npz": lambda run: run.predictions(),
    "robust*.json": robust_reports,
    "checkpoint*.pt": lambda run: checkpoint.load(next(run.folder.rglob("checkpoint*.pt"))),
}


@pytest.mark.parametrize("pattern", READERS)
def test_files_of_a_run(pattern, finished, tmp_path):
    copy = tmp_path / "runs" / finished.folder.name
    shutil.copytree(finished.folder, copy)
    run = runs.Run(copy)
    (file, *_) = sorted(copy.rglob(pattern))
    whole = file.read_bytes()
    assert answers(tmp_path, lambda: READERS[pattern](run))
    refused = 0
    for _, rng in trials():
        file.write_bytes(damaged(rng, whole))
        refused += not answers(tmp_path, lambda: READERS[pattern](runs.Run(copy)))
    assert refused


SWEEP = b"""common: {dataset: digits, profile: smoke}
grid:
  method: [mixup, mislas]
  imbalance_factor: [10, 1.5]
seeds: [0, 1]
"""
LIST = b"a/0.png 0\na/1.png 0\nb/0.png 1\nb/\xc3\xa4 1.png 1\n"


@pytest.mark.parametrize(
    ("name", "whole", "read"),
    [("many.yaml", SWEEP, read_sweep), ("train.txt", LIST, read_list)],
)
def test_sweep_files_and_lists(name, whole, read, tmp_path):
    file = tmp_path / name
    file.write_bytes(whole)
    assert answers(tmp_path, lambda: read(file))
    refused = 0
    for _, rng in trials():
        file.write_bytes(damaged(rng, whole))
        refused += not answers(tmp_path, lambda: read(file))
    assert refused


def test_overrides(tmp_path):
    refused = 0
    for _, rng in trials():
        text = damaged(rng, b"epochs=5, lr=0.05, backbone=resnet8, momentum=0.9").decode("utf-8", "surrogateescape")
        refused += not answers(tmp_path, lambda text=text: parse_overrides(Experiment(overrides=text).overrides))
    assert refused


def is_formula(value: str) -> bool:
    """Whether a spreadsheet computes something where a text is meant; a plain number such as -1 is none."""
    return value.startswith(("=", "+", "-", "@", "\t", "\r")) and not re.fullmatch(r"[+-]?[0-9.]+\s*", value)


def test_the_table_of_the_grader_is_read_back_and_has_no_formula():
    for _, rng in trials():
        texts = ["".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in range(4)]
        text = grade.as_csv([grade.asdict(grade.Verdict(*texts))])
        (row,) = csv.DictReader(io.StringIO(text.encode("utf-8").decode()))
        assert len(row) == 4
        assert not any(is_formula(value) for value in row.values()), (texts, row)
        assert "\x1b" not in text


def test_what_students_hand_in(tmp_path):
    file = tmp_path / "student.ipynb"
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# 99 none"}
    whole = json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()
    for _, rng in trials():
        file.write_bytes(damaged(rng, whole))
        with soon():
            (verdict,) = grade.grade(file)
        assert verdict.verdict == "unreadable"
        assert len(str(verdict)) < 1000
        assert "\n" not in str(verdict)
