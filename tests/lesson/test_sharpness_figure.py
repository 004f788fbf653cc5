"""The figure of the ends of each class's spectrum."""

import numpy as np

from ltlib.lesson import figures


def test_each_run_is_a_point_and_each_line_a_mean():
    lowest, highest = np.array([[-1.0, -4.0], [-3.0, -6.0]]), np.array([[10.0, 100.0], [30.0, 300.0]])
    picture = figures.sharpness.curvature({"cross-entropy": (lowest, highest)}, ("A", "J"))
    left, right = picture.figure.axes
    for ax, values in ((left, lowest), (right, highest)):
        mean, runs = ax.lines[:2]
        assert mean.get_ydata().tolist() == values.mean(0).tolist()
        assert sorted(map(tuple, runs.get_xydata().tolist())) == sorted(
            (float(k), value) for run in values.tolist() for k, value in enumerate(run)
        )
        assert [label.get_text() for label in ax.get_xticklabels()] == ["A", "J"]
    assert right.get_yscale() == "log"
    assert left.lines[-1].get_ydata() == [0, 0]
    assert picture.text == (
        "Means over the runs; lowest of cross-entropy: first class -2.0, last class -5.0; "
        "highest of cross-entropy: first class 20.0, last class 200.0."
    )
