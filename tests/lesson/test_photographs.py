"""Photographs carry the predictions of the run that is named, and their figures show them without a choice."""

import numpy as np
import pytest
import torch

from ltlib.data.excerpt import excerpt
from ltlib.errors import InputError
from ltlib.lesson import figures, photographs
from ltlib.lesson.figures.photographs import RIGHT, WRONG
from ltlib.results import records

STUDY = "mislas_cifar10_exact"


def run(label, seed=0):
    return next(r for r in records.read(STUDY) if (r.label, r.seed) == (label, seed))


def test_the_predictions_are_those_of_the_named_run():
    found = photographs.answers(STUDY, "MiSLAS", seed=1)
    test, shown = run("MiSLAS", 1).predictions["test"], excerpt()
    for c in range(10):
        first = np.flatnonzero(test["labels"] == c)[: shown.per_class]
        mine = shown.images.labels == c
        assert (found.predicted[mine] == test["predicted"][first]).all()
        assert found.confidence[mine] == pytest.approx(test["confidence"][first] / 65535, abs=1 / 65535)
    other = photographs.answers(STUDY, "MiSLAS", seed=0)
    assert (other.predicted != found.predicted).any()


def test_stored_logits_give_the_confidence_of_their_softmax():
    record, shown = run("cross-entropy"), excerpt()
    test = record.predictions["test"]
    z = np.zeros((len(test["labels"]), 10), np.float16)
    z[:, 4] = np.log(3)
    record.__dict__["predictions"] = {"test": test | {"logits": z}}
    found = photographs.of_record(record, shown)
    assert (found.predicted == 4).all()
    assert found.confidence == pytest.approx(np.full(200, 3 / 12), abs=1e-3)


def test_a_network_answers_the_photographs_in_their_order():
    class Brightness:
        def logits(self, x):
            z = torch.zeros(len(x), 10)
            z[:, 6] = (x.mean((1, 2, 3)) - 0.5).sign()
            return z

    shown = excerpt()
    bright = shown.images.pixels.mean((1, 2, 3)) / 255 > 0.5
    found = photographs.of_network(Brightness(), shown)
    assert (found.predicted == np.where(bright, 6, 0)).all()
    assert found.confidence[bright] == pytest.approx(np.e / (np.e + 9))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "MiSLAS"), "nowhere"),
        ((STUDY, "MiSLAZ"), "MiSLAZ, seed 0"),
        ((STUDY, "MiSLAS", 7), "MiSLAS, seed 7"),
        (("demo", "MiSLAS"), "tested on glyphs"),
    ],
)
def test_a_run_that_has_no_such_predictions_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        photographs.answers(*arguments)


def texts(picture):
    return {t.get_text(): t.get_color() for t in picture.figure.axes[0].texts}


def made(predicted, confidence=0.5):
    return photographs.Answers(np.asarray(predicted), np.full(200, confidence))


def test_wrong_answers_have_the_error_colour_and_a_cross():
    shown = excerpt()
    answers = made(np.where(np.arange(200) % 20 < 3, shown.images.labels, 0), 0.25)
    picture = figures.photographs.told(shown, {"net": answers}, "ship", number=5)
    found = texts(picture)
    assert found["ship\n25%"] == RIGHT
    assert found["✗ airplane\n25%"] == WRONG
    assert "net: 3 of 5 right" in found
    assert "net, 3 of 5 right: ship 25%, ship 25%, ship 25%, airplane 25%, airplane 25%" in picture.text


def test_the_gallery_shows_the_first_photographs_of_a_class_by_their_answer():
    shown = excerpt()
    predicted = np.where(np.arange(200) % 20 < 4, shown.images.labels, 1)
    predicted[-7] = 5
    picture = figures.photographs.mistaken(shown, made(predicted), ["horse", "truck"], number=14)
    assert len(picture.figure.axes[0].images) == 28
    assert "horse: horse 4, automobile 10; truck: truck 4, automobile 9, dog 1" in picture.text
    assert texts(picture)["automobile"] == WRONG


def test_bars_have_the_heights_of_the_counts():
    picture = figures.photographs.long_tail(excerpt(), np.array([100, *[50] * 8, 1]), "a title")
    heights = [patch.get_height() for container in picture.figure.axes[0].containers for patch in container]
    assert np.array(heights) / heights[0] == pytest.approx([1, *[0.5] * 8, 0.01])
    assert "truck 1" in picture.text


def test_a_row_of_the_pictogram_is_as_long_as_its_class_is_large():
    picture = figures.photographs.pictogram(excerpt(), np.array([2000, *[250] * 8, 25]), "a title")
    ends = {}
    for image in picture.figure.axes[0].images:
        _, right, _, top = image.get_extent()
        ends[round(-top)] = max(right, ends.get(round(-top), 0))
    assert ends[0] == 20
    assert ends[1] == pytest.approx(2.5)
    assert ends[9] == pytest.approx(0.25)
    assert "One photograph is 100 training images" in picture.text
