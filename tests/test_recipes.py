"""The recipes of CONTRIBUTING.md do what they say: their blocks are applied to a copy of the project, and run there.

A recipe is a section ``### Add ...``. In it a ``python`` block is a new file, named in its first line. A ``diff`` block
adds lines: each part after ``@@`` must fit at exactly one place of the file. A plain block is commands.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ltlib import paths

PAGE = (paths.project() / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^### Add (?:a|an) ([\w ]+)\n(.*?)(?=^##)", PAGE, flags=re.MULTILINE | re.DOTALL))
END = "= the command has ended"
ONE_AFTER_THE_OTHER = f"""
import shlex, sys
from ltlib.__main__ import main
for line in sys.argv[1:]:
    status = main(shlex.split(line)[3:])
    if status:
        sys.exit(status)
    print({END!r})
"""
COPIED = ("ltlib", "pyproject.toml")
COPIED_FOR_A_LESSON = (*COPIED, "README.md", "notebooks", "tests", "data")


def blocks(recipe: str) -> list[tuple[str, str]]:
    """The fenced blocks of a recipe in their order: (language, text)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", RECIPES[recipe], flags=re.MULTILINE | re.DOTALL)
    assert found, recipe
    return found


def hunks(diff: str) -> tuple[str, list[tuple[str, str]]]:
    """The file that a diff changes, and for each part the text that is there and the text that replaces it."""
    head, *parts = re.split(r"^@@\n", diff, flags=re.MULTILINE)
    changes = []
    for part in parts:
        lines = part.splitlines(keepends=True)
        assert {line[0] for line in lines} <= {" ", "+"}, "a recipe only adds lines"
        changes.append(("".join(line[1:] for line in lines if line[0] == " "), "".join(line[1:] for line in lines)))
    return head.removeprefix("--- ").strip(), changes


class Copy:
    """A copy of the project in which a recipe is followed."""

    def __init__(self, folder, names):
        self.folder = folder
        for name in names:
            source = paths.project() / name
            ignore = shutil.ignore_patterns("__pycache__", "cache")
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignore)
            else:
                shutil.copy(source, folder / name)

    def follow(self, recipe: str) -> list[str]:
        """Apply the blocks of a recipe in their order; returns what each command printed."""
        printed = []
        for language, text in blocks(recipe):
            if language == "python":
                self.create(text)
            elif language == "diff":
                self.change(text)
            else:
                printed += self.run_all(text.splitlines())
        return printed

    def run_all(self, lines: list[str]) -> list[str]:
        """What each command prints. Those of ltlib itself share a process, which saves the time of its start."""
        if not all(line.startswith("python -m ltlib ") for line in lines):
            return [self.run(line) for line in lines]
        return self.run(shlex.join(["python", "-c", ONE_AFTER_THE_OTHER, *lines])).split(f"{END}\n")[:-1]

    def create(self, text: str) -> None:
        name = re.match(r"# (\S+)\n", text)[1]
        assert not (self.folder / name).exists()
        (self.folder / name).write_text(text)

    def change(self, diff: str) -> None:
        name, changes = hunks(diff)
        text = (self.folder / name).read_text()
        for there, wanted in changes:
            assert f"\n{text}".count(f"\n{there}") == 1, f"this is not in {name} exactly once:\n{there}"
            text = f"\n{text}".replace(f"\n{there}", f"\n{wanted}")[1:]
        (self.folder / name).write_text(text)

    def run(self, line: str) -> str:
        python, *arguments = shlex.split(line)
        assert python == "python"
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        environment |= {"PYTHONPATH": str(self.folder), "LTLIB_RUNS": str(self.folder / "runs")}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def trained(self) -> tuple[dict, dict[str, np.ndarray], list[dict]]:
        """Of the one run: run.json, predictions and metrics."""
        (folder,) = (file.parent for file in (self.folder / "runs").glob("*/run.json"))
        with np.load(folder / "predictions.npz") as stored:
            predictions = dict(stored)
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return json.loads((folder / "run.json").read_text()), predictions, metrics


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "copy").mkdir()
    return Copy(tmp_path / "copy", COPIED)


def test_the_page_has_these_recipes():
    assert list(RECIPES) == ["method", "data set", "metric", "attack", "schedule", "lesson"]


@pytest.mark.parametrize("recipe", ["method", "data set", "metric", "attack"])
def test_a_recipe_is_one_file_and_two_lines(recipe):
    kinds = [language for language, _ in blocks(recipe)]
    assert kinds == ["python", "diff", ""]
    added = [line for _, text in blocks(recipe)[1:2] for line in text.splitlines() if line.startswith("+")]
    assert len(added) == 2


def test_a_new_method_trains_with_its_own_hyper_parameter(copy):
    (copy.folder / "data").symlink_to(paths.project() / "data")  # a card compares with published and stored numbers
    printed, card = copy.follow("method")
    told, _, _ = copy.trained()
    assert told["state"] == "finished"
    assert told["hyperparameters"] == {"smoothing": 0.2}
    assert "label_smoothing" in printed
    assert "loss  L = (1 - smoothing) CE(z, y) + smoothing mean_i(-log p_i)" in card
    assert "| `smoothing` | `0.1` | share of the label that is spread over all classes, at least 0. |" in card
    with pytest.raises(AssertionError, match="smoothing must be at least 0; got -1"):
        copy.run("python -m ltlib train --method label_smoothing --profile smoke --overrides smoothing=-1")


def test_a_new_data_set_is_listed_prepared_and_trained_on(copy):
    prepared, trained = copy.follow("data set")
    assert "upright" in prepared
    assert "stripes" in trained
    told, _, _ = copy.trained()
    assert told["recipe"]["augmentation"] == "crop", "what the entry says of mirroring decides the recipe"
    assert "stripes, drawn when they are asked for" in copy.run("python -m ltlib data show")


def test_a_new_metric_is_measured_overall_and_per_group(copy):
    copy.follow("metric")
    _, stored, _ = copy.trained()
    z, counts, labels = stored["logits"].astype(float), stored["counts"], stored["labels"]
    p = np.exp(z - z.max(1, keepdims=True))
    above = (p / p.sum(1, keepdims=True)).max(1) > 0.5
    rare = np.isin(labels, np.argsort(-counts, kind="stable")[7:])  # of ten classes the papers call three "few"
    with (copy.folder / "table.csv").open(newline="") as file:
        found = {row["metric"]: float(row["mean"]) for row in csv.DictReader(file)}
    assert found == {"over half": above.mean(), "over half few": above[rare].mean()}
    shown = copy.run("python -m ltlib runs show cross_entropy")
    (line, *_) = (line.split() for line in shown.splitlines() if line.startswith("over half"))
    assert line[2] == f"{above.mean():.1%}"


def test_a_new_attack_is_reported_and_judged(copy):
    _, printed = copy.follow("attack")
    (file,) = (copy.folder / "runs").glob("*/robust-noise-*.json")
    report = json.loads(file.read_text())
    assert (report["attack"], list(report["attacks"])) == ("noise", ["noise"])
    assert report["robust_accuracy"] <= report["clean_accuracy"]
    assert report["checks"]
    assert "noise" in printed


def test_a_new_schedule_decides_the_learning_rate(copy):
    copy.follow("schedule")
    told, _, metrics = copy.trained()
    expected = [told["recipe"]["lr"] * (1 - epoch / 4) ** 0.9 for epoch in range(4)]
    assert [record["lr"] for record in metrics] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_a_new_lesson_passes_the_tests_of_every_lesson(tmp_path):
    copy = Copy(tmp_path, COPIED_FOR_A_LESSON)
    written, built, tested = copy.follow("lesson")
    assert written.strip() == str(tmp_path / "notebooks" / "11_distillation.ipynb")
    assert built.startswith("11_distillation.ipynb: ")
    passed = re.search(r"(\d+) passed", tested)
    assert passed
    assert int(passed[1]) >= 15
    assert "failed" not in tested
    with pytest.raises(AssertionError, match="exists, and is not overwritten"):
        copy.run("python -m ltlib.lesson.build --new 11_distillation")
    with pytest.raises(AssertionError, match="two digits and its topic"):
        copy.run("python -m ltlib.lesson.build --new distillation")
