"""The figure of one epoch of a stored training."""

import numpy as np
import pytest

from ltlib.errors import InputError
from ltlib.lesson import figures

GROUPS = {"many": np.array([0]), "few": np.array([1])}
TRAJECTORY = {
    "epochs": np.array([5, 10]),
    "labels": np.array([0, 0, 1, 1]),
    "predicted": np.array([[0, 0, 0, 0], [0, 0, 0, 1]]),
    "points": np.array([[[0, 0], [1, 0], [2, 0], [3, 0]], [[0, 1], [1, 1], [2, 1], [3, 1]]]),
    "class_accuracy": np.array([[1.0, 0.0], [1.0, 0.5]]),
    "class_confidence": np.array([[0.9, 0.8], [0.7, 0.6]]),
    "ece": np.array([0.35, 0.05]),
}


def test_an_epoch_shows_its_points_its_errors_and_its_numbers():
    picture = figures.trajectory.after(TRAJECTORY, 10, GROUPS, ["A", "B"], "mixup")
    left, right = picture.figure.axes
    places = {(line.get_marker(), line.get_label()): line.get_xydata().tolist() for line in left.lines}
    assert places["o", "many"] == [[0, 1], [1, 1]]
    assert places["o", "few"] == [[3, 1]]
    assert [line.get_xydata().tolist() for line in left.lines if line.get_marker() == "x"] == [[], [[2, 1]]]
    confidence, accuracy = right.lines
    assert confidence.get_ydata().tolist() == [0.7, 0.6]
    assert accuracy.get_ydata().tolist() == [1.0, 0.5]
    assert picture.text == "mixup, epoch 10: accuracy 75.0% (many 100.0%, few 50.0%), ECE 5.0%."


def test_all_epochs_have_the_same_axes_and_others_are_refused():
    first, second = (figures.trajectory.after(TRAJECTORY, epoch, GROUPS).figure.axes[0] for epoch in (5, 10))
    assert first.get_xlim() == second.get_xlim()
    assert first.get_ylim() == second.get_ylim()
    with pytest.raises(InputError, match="has no epoch 7: it has 5, 10"):
        figures.trajectory.after(TRAJECTORY, 7, GROUPS)
