"""What lesson 00 says of its photographs, before anything is trained."""

import numpy as np
import pytest

from ltlib.data import longtail
from ltlib.data.excerpt import excerpt
from ltlib.lesson import photographs
from ltlib.results import records

STUDY = "cifar10_lt_paper"


@pytest.fixture(scope="module")
def trucks():
    """Method -> the predictions for the ten trucks of the first figure, and which are right."""
    shown = excerpt()
    here = np.flatnonzero(shown.images.labels == shown.class_names.index("truck"))[:10]
    found = {}
    for method in ("mixup", "MiSLAS"):
        answers = photographs.answers(STUDY, method)
        found[method] = [shown.class_names[k] for k in answers.predicted[here]], answers.confidence[here]
    return found


def test_the_first_network_gets_four_trucks_right_and_takes_the_others_for_frequent_classes(trucks):
    names, confidence = trucks["mixup"]
    assert names.count("truck") == 4
    assert set(names) - {"truck"} == {"automobile", "airplane"}
    wrong = [c for name, c in zip(names, confidence, strict=True) if name != "truck"]
    assert round(float(max(wrong)), 2) == 0.82


def test_the_second_network_gets_all_ten_right(trucks):
    assert trucks["MiSLAS"][0] == ["truck"] * 10


def test_both_have_the_same_features_and_were_trained_on_as_many_images_as_the_lesson_says():
    first, second = (
        next(r for r in records.read(STUDY) if (r.label, r.seed) == (method, 0)) for method in ("mixup", "MiSLAS")
    )
    assert second.start == first.id
    assert second.hyperparameters["shift_bn"] is False
    counts = dict(zip(first.data["class_names"], first.data["counts"], strict=True))
    assert (counts["airplane"], counts["truck"]) == (5000, 50)


def test_the_counts_of_the_slider():
    assert longtail.class_counts(10, 5000, 1).tolist() == [5000] * 10
    assert longtail.class_counts(10, 5000, 100)[[0, -1]].tolist() == [5000, 50]
