"""Drawings: nothing is cut off, no text covers another, and what is computed in them is right."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from ltlib import paths
from ltlib.lesson.figures import drawings
from ltlib.lesson.figures.drawings import attacks, data, sketch
from ltlib.methods.mislas import label_aware_smoothing, smoothing

every_drawing = pytest.mark.parametrize("name", drawings.__all__)


def drawn(name):
    """The picture, and the rectangle of each visible text in pixels."""
    picture = getattr(drawings, name)()
    picture.figure.draw_without_rendering()
    texts = [t for t in picture.figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return picture, [(t.get_text(), t.get_window_extent()) for t in texts]


@every_drawing
def test_every_text_is_inside_the_sheet(name):
    picture, texts = drawn(name)
    whole = picture.figure.bbox
    for text, place in texts:
        inside = whole.x0 <= place.x0 and place.x1 <= whole.x1 and whole.y0 <= place.y0 and place.y1 <= whole.y1
        assert inside, text


@every_drawing
def test_no_text_covers_another(name):
    _, texts = drawn(name)
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(width, height) < 1.5, (one, other)


@every_drawing
def test_texts_of_boxes_fit_into_them(name):
    picture, texts = drawn(name)
    boxes = [patch.get_window_extent() for patch in picture.figure.findobj(FancyBboxPatch)]
    for text, place in texts:
        x, y = (place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2
        around = [b for b in boxes if b.x0 < x < b.x1 and b.y0 < y < b.y1]
        for b in around:
            assert b.x0 <= place.x0, text
            assert place.x1 <= b.x1, text


@every_drawing
def test_a_lesson_shows_it_and_it_has_a_text(name):
    lessons = "".join(file.read_text() for file in (paths.project() / "notebooks").glob("0*.ipynb"))
    assert f"drawings.{name}()" in lessons
    assert len(getattr(drawings, name)().text) > 90


def test_the_run_folder_of_the_drawing_is_that_of_the_package():
    code = "".join(Path(file).read_text() for file in (paths.project() / "ltlib/experiments").glob("*.py"))
    _, texts = drawn("run_flow")
    named = re.findall(r"\w+\.(?:jsonl|json|npz)", " ".join(text for text, _ in texts))
    assert named == ["run.json", "metrics.jsonl", "predictions.npz"]
    assert all(name in code for name in named)


@pytest.mark.parametrize(("q", "times"), [(1, [8, 3, 1]), (0, [4, 4, 4])])
def test_the_sampler_draws_what_its_probabilities_say(q, times):
    found = data.draws(q)
    assert [sum(kind == c for kind, _ in found) for c in range(3)] == times
    assert len({image for kind, image in found if kind == 2}) == 1
    assert max(int(image) for kind, image in found if kind == 0) <= data.SIZES[0]


def test_pgd_stays_in_the_ball_and_crosses_the_boundary():
    path = attacks.pgd_path(attacks.CENTRE + np.array([-0.09, -0.12]))
    assert np.abs(path - attacks.CENTRE).max() <= attacks.RADIUS + 1e-12
    assert attacks.margin(attacks.CENTRE) > 0 > attacks.margin(path[-1])
    h = 1e-6
    for point, after in itertools.pairwise(path[:4]):  # before it reaches the edge: the sign of the true gradient
        slope = [-(attacks.margin(point + d) - attacks.margin(point - d)) / (2 * h) for d in (h * np.eye(2))]
        assert np.sign(after - point) == pytest.approx(np.sign(slope))
    assert "wrongly" in drawings.ball().text


def test_targets_of_smoothing_are_those_of_the_loss():
    counts = (500, 179, 38, 5)
    axes = drawings.label_aware_smoothing(0.3, counts).figure.axes
    eps = smoothing(torch.tensor(counts), 0.3, 0.0)
    for ax, y in zip(axes, (0, 1, 3), strict=True):
        target = [bar.get_height() for bar in ax.patches]
        z = torch.zeros(1, 4, requires_grad=True)  # the gradient of a cross-entropy is softmax(z) - target
        label_aware_smoothing(z, torch.tensor([y]), eps).backward()
        assert (0.25 - z.grad[0]).tolist() == pytest.approx(target, abs=1e-6)


def test_a_box_holds_its_text_in_the_middle():
    _, ax = sketch.sheet(3, 2)
    sketch.box(ax, (1, 0.5), (1, 1), "word")
    assert ax.texts[0].get_position() == (1.5, 1.0)
