"""Questions: nothing is chosen at first, each choice gets its reason, two per lesson, the answer is not on the page."""

import json
import re

import pytest

from ltlib.errors import InputError
from ltlib.lesson import slides
from ltlib.lesson.questions import QUESTIONS, Asked, Question, ask

LESSONS = slides.lessons()
EXAMPLE = Question("Which?", {"a <b>": "because of <i>", "c": "no reason"}, "c")


def asked_in(lesson):
    cells = json.loads(lesson.read_text())["cells"]
    return re.findall(r'^ask\("(\w+)"\)$', "\n".join("".join(c["source"]) for c in cells), flags=re.MULTILINE)


def test_a_choice_shows_its_verdict_and_its_reason():
    shown = Asked(EXAMPLE)
    assert (shown.choice.value, shown.answer.value) == (None, "")
    shown.choice.value = "c"
    assert "Right." in shown.answer.value
    assert "no reason" in shown.answer.value
    shown.choice.value = "a <b>"
    assert "Not quite." in shown.answer.value
    assert "because of &lt;i&gt;" in shown.answer.value


def test_what_is_stored_does_not_tell_the_answer():
    data = Asked(EXAMPLE)._repr_mimebundle_()
    assert data["text/plain"].splitlines()[:3] == ["Predict: Which?", "  ( ) a <b>", "  ( ) c"]
    assert "reason" not in data["text/plain"]
    assert "model_id" in data["application/vnd.jupyter.widget-view+json"]


def test_a_long_question_is_wrapped():
    lines = (
        Asked(Question("Which of these? " * 20, {"a": "x.", "b": "y."}, "a"))
        ._repr_mimebundle_()["text/plain"]
        .splitlines()
    )
    assert max(map(len, lines)) <= 100
    assert " ".join(lines).count("Which of these?") == 20


@pytest.mark.parametrize(("choices", "right"), [({"a": "x"}, "a"), ({"a": "x", "b": "y"}, "c")])
def test_a_question_without_an_answer_is_refused(choices, right):
    with pytest.raises(InputError, match="at least two choices, the right one among them"):
        Question("Which?", choices, right)


def test_an_unknown_question_is_refused():
    with pytest.raises(InputError, match="question"):
        ask("tail_acuracy")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda file: file.stem)
def test_every_lesson_asks_twice(lesson):
    assert len(asked_in(lesson)) == 2


def test_every_question_is_asked_once_and_its_reasons_differ():
    assert sorted(name for lesson in LESSONS for name in asked_in(lesson)) == sorted(QUESTIONS)
    positions = {list(q.choices).index(q.right) for q in QUESTIONS.values()}
    assert positions == {0, 1, 2}, "the right choice is not always at the same place"
    for question in QUESTIONS.values():
        assert all(reason.endswith(".") for reason in question.choices.values())
