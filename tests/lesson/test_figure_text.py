"""Class names of any kind are drawn as they are, and a method has one colour in every figure."""

import re
import warnings

import numpy as np
import pytest
from matplotlib.text import Text

from ltlib.evaluation.evaluate import report_card
from ltlib.lesson import figures
from ltlib.lesson.figures import looks, text
from ltlib.lesson.figures.figure import Picture, new_figure

NAMES = ["$x_1$ and $y^2$", "_hidden", "50 % {wool}", "a_b^c", "US$", r"back\slash", "山猫"]
COUNTS = np.array([300, 200, 100, 50, 20, 10, 5])


@pytest.fixture
def given():
    random = np.random.default_rng(0)
    labels = np.arange(70) % 7
    logits = random.normal(size=(70, 7)).astype(np.float32)
    return logits, labels, report_card(logits, labels, COUNTS)


def written(picture):
    """What a reader sees as text, and every warning as an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.png()
    seen = [t.get_text() for t in picture.figure.findobj(Text) if t.get_visible()]
    assert not [t for t in seen if re.search(r"(?<!\\)\$.*(?<!\\)\$", t) and "mathdefault" not in t], "a formula"
    return [t.replace(r"\$", "$").strip() for t in seen]


def with_names(names, logits, labels, card):
    """Every figure that shows names of classes."""
    images, p = np.zeros((2, 3, 8, 8), np.uint8), np.full(7, 1 / 7)
    data, eps = figures.long_tailed_data, figures.adversarial_examples
    return {
        "per_class": figures.per_class({"net": card}, names),
        "confusion": figures.confusion({"net": card}, names),
        "class_counts": figures.class_counts(COUNTS, {"many": np.arange(7)}, "papers", names),
        "image_rows": figures.image_rows(dict.fromkeys(names, images), "a title"),
        "count_profiles": data.count_profiles({"step": COUNTS}, names=names),
        "class_shares": data.class_shares({"q = 1": COUNTS / COUNTS.sum()}, "a title", names=names),
        "confidence": figures.mislas.confidence_by_class({"net": (logits, labels)}, names),
        "mean_logits": figures.reslt.mean_logits({"H": p}, "few", np.array([6]), (0, 1), names),
        "example": eps.adversarial_example(images[0] / 255, images[1] / 255, names, p, p, 0, 5),
    }


def test_names_are_drawn_letter_by_letter(given):
    for figure, picture in with_names(NAMES, *given).items():
        seen = written(picture)
        for name in NAMES[:-1]:
            assert name in seen, (figure, name, seen)


def test_labels_of_runs_are_drawn_letter_by_letter(given):
    logits, labels, card = given
    labelled = [figures.groups(dict.fromkeys(NAMES, card), "threshold"), figures.per_class({NAMES[0]: card}, "ABCDEFG")]
    labelled.append(figures.spread({name: {"all": [0.2, 0.3]} for name in NAMES}, "accuracy", "a title"))
    labelled.append(figures.two_measures({name: [(0.5, 0.5)] for name in NAMES}, "t", ("a", "b"), ("a", "b")))
    for picture in labelled:
        seen = written(picture)
        assert NAMES[0] in seen
    assert "_hidden" in seen
    assert "$x_1$ and $y^2$" in written(figures.reliability({NAMES[0]: (logits, labels)}))[0] + "".join(
        written(figures.reliability({NAMES[0]: (logits, labels)}))
    )


def test_a_script_without_a_font_becomes_the_number_of_the_class(given, monkeypatch):
    monkeypatch.setattr(text, "_family", lambda c: text.MAIN if ord(c) < 128 else None)
    for figure, picture in with_names(NAMES, *given).items():
        shown = "??" if figure == "image_rows" else "class 6"
        assert shown in written(picture), figure
    assert "山猫" in figures.image_rows({"山猫": np.zeros((1, 3, 8, 8), np.uint8)}, "t").text  # in words it remains


def test_a_script_of_another_font_is_drawn_with_it():
    """Which scripts are at hand depends on the machine; matplotlib brings a font whose letters the usual one lacks."""
    usual = text._characters(text.font_manager.findfont(text.MAIN))
    name, file = next(iter(text._others().items()))
    letter = chr(min(text._characters(file) - usual))
    figure, (ax,) = new_figure(3, 2)
    ax.set_title(text.plain(f"a {letter}"))
    assert f"a {letter}" in written(Picture(figure, "a title"))
    assert ax.title.get_fontfamily() == [text.MAIN, name]


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("cross_entropy", "cross entropy"),
        ("natural", "cross entropy"),
        ("LBGAT0 + CE, seed 1", "lbgat"),
        ("AT-BSL, cosine classifier", "at bsl"),
        ("at_bsl", "at bsl"),
        ("AT, seed 0", "at"),
        ("BGAT + CE, MiSLAS guide", "bgat"),
        ("MiSLAS stage 2 on ResLT", "mislas"),
        ("atlas", None),
        ("seed 0", None),
    ],
)
def test_a_label_begins_with_its_method(label, method):
    assert looks.method_of(label) == method


def test_one_colour_per_method_one_marker_per_variant():
    found = looks.looks(["AT, seed 0", "LBGAT0", "AT, seed 1", "another", "LBGAT6"])
    assert found["AT, seed 0"]["color"] == found["AT, seed 1"]["color"] == looks.METHOD_COLOURS["at"]
    assert found["LBGAT0"]["color"] == found["LBGAT6"]["color"] != found["AT, seed 0"]["color"]
    assert found["AT, seed 0"]["marker"] != found["AT, seed 1"]["marker"]
    assert found["another"]["color"] not in {look["color"] for label, look in found.items() if label != "another"}


def test_methods_of_one_lesson_have_different_colours():
    together = ["cross entropy", "balanced softmax", "mislas", "reslt", "at", "at bsl", "trades", "bgat", "lbgat"]
    assert len({looks.METHOD_COLOURS[name] for name in together}) == len(together)


def test_the_step_profile_is_drawn_as_a_step():
    steps = {"exponential": np.array([8, 4, 2, 1]), "step": np.array([8, 8, 1, 1])}
    slope, step = figures.long_tailed_data.count_profiles(steps).figure.axes[0].lines[:2]
    assert (slope.get_drawstyle(), step.get_drawstyle()) == ("default", "steps-mid")
