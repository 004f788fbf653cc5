"""The capstone: its folder of images, its report card, its exercises, and what the lesson says of its own results."""

import os
import re

import nbformat
import numpy as np
import pytest
from PIL import Image

from ltlib import paths
from ltlib.data.folder import load_folder
from ltlib.data.images import Images
from ltlib.data.write_folder import write_folder
from ltlib.errors import InputError
from ltlib.evaluation.calibration import ece, probabilities
from ltlib.experiments.attack import measure
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.lesson.capstone import card
from ltlib.lesson.exercises import EXERCISES, WrongAnswer


def images(labels, seed):
    draw = np.random.default_rng(seed)
    return Images(draw.integers(0, 256, (len(labels), 3, 8, 8), dtype=np.uint8), np.array(labels))


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("class_balanced", lambda p, y: np.mean(p == y), "four times as much"),
        ("class_balanced", lambda p, y: np.mean([np.mean(y[p == k] == k) for k in np.unique(p)]), "true class"),
        ("class_balanced", lambda p, y: np.mean([np.mean(p[y == k] == k) for k in np.unique(y[p == y])]), "with 0"),
        ("held_out", lambda names, every: [True] * len(names), "wren1 and wren3"),
        ("held_out", lambda names, every: [True], "for each of the 6 names"),
        ("held_out", lambda names, every: [name in names[::every] for name in names], "held out and trained on"),
    ],
)
def test_typical_mistakes_get_a_hint(name, answer, hint):
    with pytest.raises(WrongAnswer, match=hint):
        EXERCISES[name](answer)


def test_a_written_folder_is_read_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("LTLIB_CACHE", str(tmp_path / "cache"))
    train, test = images([0, 0, 0, 1], 0), images([1, 0], 1)
    folder = write_folder(tmp_path / "mine", ("robin", "wren"), train=train, test=test)
    assert Image.open(folder / "test/wren/00000.png").size == (8, 8)
    read = load_folder(str(folder))
    assert read.class_names == ("robin", "wren")
    assert np.array_equal(read.train.labels, [0, 0, 0, 1])
    assert np.array_equal(read.train.pixels, train.pixels)
    assert np.array_equal(read.test.pixels, test.pixels[[1, 0]])


def test_a_folder_that_is_there_stays_and_one_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "mine").mkdir()
    assert write_folder(tmp_path / "mine", ("a", "b"), train=images([0], 0)) == tmp_path / "mine"
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_folder(tmp_path / "file" / "mine", ("a",), train=images([0], 0))
    assert sorted(os.listdir(tmp_path)) == ["file", "mine"]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        run = execute(Experiment(profile="smoke", overrides="epochs=1, validation=0.2"))
        robust = measure(run, epsilon=1 / 255, attack="pgd20", images=20)
        yield run, robust, {line["question"]: line["answer"] for line in card(run, 2.0, robust)}


def test_the_card_is_filled_from_the_run(told):
    run, _, answers = told
    found, stored = run.info["metrics"], run.predictions()
    right = np.mean(stored["logits"].argmax(axis=1) == stored["labels"])
    assert answers["accuracy"].startswith(f"{right:.1%}, by group: ")
    worst = found["worst_class"]
    of_worst = np.mean(stored["logits"].argmax(axis=1)[stored["labels"] == worst] == worst)
    assert answers["accuracy"].endswith(
        f"the worst class is {run.info['data']['class_names'][worst]} with {of_worst:.1%}"
    )
    before, after = (ece(probabilities(stored["logits"] / t), stored["labels"]) for t in (1, 2))
    assert answers["ECE"] == f"{before:.1%}, with temperature 2.00 {after:.1%}"
    assert answers["decided on"] == f"{run.info['data']['validation_images']} held-out images"
    assert answers["command"] == run.info["command"]


def test_the_card_says_how_it_was_attacked_and_what_is_missing(told):
    _, robust, answers = told
    assert answers["under attack"].startswith(
        f"{robust['robust_accuracy']:.1%} ({robust['clean_accuracy']:.1%} without)"
    )
    assert answers["under attack"].endswith("pgd20 with radius 1/255 on 20 test images")
    passed = sum(check["passed"] for check in robust["checks"])
    assert answers["checks of the attack"] == f"{passed} of {len(robust['checks'])} passed"
    assert "no interval" in answers["seeds"]


def test_what_the_lesson_says_is_what_its_stored_outputs_show():
    cells = {c.id: c for c in nbformat.read(paths.project() / "notebooks/10_capstone.ipynb", as_version=4).cells}
    noise = re.search(
        r"random noise from ([\d.]+)% to ([\d.]+)%; PGD, 10 steps from [\d.]+% to ([\d.]+)%",
        cells["capstone-26"].outputs[0].data["text/plain"],
    )
    clean, noisy, attacked = map(float, noise.groups())
    assert clean - noisy < 5 < 40 < clean - attacked
    table = cells["capstone-20"].outputs
    chosen = table[0].text.split()[-1]
    balanced = {line.split()[0]: float(line.split()[-1][:-1]) for line in table[1].data["text/plain"].splitlines()[2:]}
    del balanced["cross_entropy"]
    assert chosen == max(balanced, key=balanced.__getitem__) == "logit_adjustment"
    trained = [output.data["text/plain"] for output in cells["capstone-17"].outputs]
    on_test = {line.split()[1]: float(re.search(r"test ([\d.]+)%", line)[1]) for line in trained}
    assert on_test["crt"] > on_test[chosen]
    scaled = re.search(r"T = ([\d.]+)", cells["capstone-23"].outputs[0].data["text/plain"])
    assert 0.9 < float(scaled[1]) < 1.1
