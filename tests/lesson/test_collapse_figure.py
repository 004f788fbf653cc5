"""Minority collapse: the model of the last layer, and its figure."""

import numpy as np
import pytest
import torch

from ltlib.errors import InputError
from ltlib.lesson import figures
from ltlib.lesson.figures.collapse import angle
from ltlib.methods.etf import equiangular_tight_frame, layer_peeled


def rows_of(first):
    return layer_peeled(torch.tensor([first, 1, 1]))[1].numpy()


def test_equal_counts_give_the_frame_and_a_long_tail_moves_the_rare_rows_together():
    balanced, tail, longer = (angle(*rows_of(n)[1:]) for n in (1, 10, 100))
    assert balanced == pytest.approx(120, abs=0.1)
    assert balanced > tail > longer
    assert longer < 60


def test_a_fixed_frame_keeps_the_features_apart():
    torch.manual_seed(0)
    features, rows = (t.numpy() for t in layer_peeled(torch.tensor([100, 1, 1]), equiangular_tight_frame(3, 2)))
    assert angle(*rows[1:]) == pytest.approx(120, abs=0.01)
    assert angle(*features[1:]) > 110


def test_the_figure_shows_features_rows_and_their_angle():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    picture = figures.collapse.minority_collapse({"learnt": (2 * rows, rows), "fixed": (rows, rows)}, ("A", "I", "J"))
    left, right = picture.figure.axes
    points = [[(float(x), float(y)) for x, y in line.get_xydata()] for line in left.lines]
    assert points == [[(2.0, 0.0)], [(0.0, 2.0)], [(0.0, 4.0)]]
    assert [t.get_text() for t in left.get_legend().get_texts()] == ["A", "I", "J"]
    assert [list(t.xy) for t in right.texts] == rows.tolist()
    assert picture.text.startswith("learnt: 0 degrees between the rows of the last two classes; fixed: 0 degrees")


@pytest.mark.parametrize(
    ("panels", "message"),
    [({}, "at least one panel"), ({"a": (np.zeros((3, 3)), np.zeros((3, 3)))}, r"features and rows \(K, 2\)")],
)
def test_what_is_not_in_the_plane_is_refused(panels, message):
    with pytest.raises(InputError, match=message):
        figures.collapse.minority_collapse(panels)
