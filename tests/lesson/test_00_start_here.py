"""What lesson 00 says of its photographs, before anything is trained."""

import numpy as np
import pytest

from ltlib.data import longtail
from ltlib.data.excerpt import excerpt
from ltlib.lesson import photographs
from ltlib.results import records

STUDY = "mislas_cifar10_exact"


@pytest.fixture(scope="module")
def ships():
    """Method -> the predictions for the ten ships of the first figure, and which are right."""
    shown = excerpt()
    here = np.flatnonzero(shown.images.labels == shown.class_names.index("ship"))[:10]
    found = {}
    for method in ("cross-entropy", "MiSLAS"):
        answers = photographs.answers(STUDY, method)
        right = answers.predicted[here] == shown.images.labels[here]
        found[method] = right, answers.confidence[here]
    return found


def test_the_first_network_gets_no_ship_right_and_eight_answers_are_above_nine_tenths(ships):
    right, confidence = ships["cross-entropy"]
    assert not right.any()
    assert (confidence > 0.9).sum() == 8


def test_the_second_network_gets_six_right_and_is_less_confident_when_it_is_wrong(ships):
    right, confidence = ships["MiSLAS"]
    assert right.sum() == 6
    assert confidence[~right].max() < ships["cross-entropy"][1].mean()


def test_both_were_trained_on_the_same_images_as_many_as_the_lesson_says():
    first, second = (
        next(r for r in records.read(STUDY) if (r.label, r.seed) == (method, 0))
        for method in ("cross-entropy", "MiSLAS")
    )
    assert first.data["fingerprint"] == second.data["fingerprint"]
    counts = dict(zip(first.data["class_names"], first.data["counts"], strict=True))
    assert (counts["airplane"], counts["ship"]) == (810, 13)


def test_the_counts_of_the_slider():
    assert longtail.class_counts(10, 5000, 1).tolist() == [5000] * 10
    assert longtail.class_counts(10, 5000, 100)[[0, -1]].tolist() == [5000, 50]
