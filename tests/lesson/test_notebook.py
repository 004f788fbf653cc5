"""The setup cell says what will happen and refuses what cannot; shown source is the real one."""

import inspect
import json

import pytest
import torch

from ltlib import paths
from ltlib.data import longtail
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.lesson import notebook
from ltlib.lesson.figures import Picture


def test_setup_returns_the_experiment_and_prints_its_facts(capsys):
    experiment = notebook.setup(
        profile="smoke", imbalance_factor=50, overrides="epochs=7", baseline="mixup", expects={"smoke": "about 3 s"}
    )
    assert experiment == Experiment(profile="smoke", imbalance_factor=50, overrides="epochs=7")
    printed = capsys.readouterr().out
    for fact in (
        "device     ",
        ", precision float32",
        "profile    smoke: resnet8, 7 epochs",
        "data       glyphs, 276 training images, from 100 to 2 per class",
        "imbalance  exponential, factor 50",
        "seed       0",
        "changes    epochs=7",
        f"run        {plan(experiment).run.id} (new)",
        "time       about 3 s",
    ):
        assert fact in printed


def test_setup_says_what_is_natural(capsys):
    notebook.setup(profile="lesson", imbalance_type="natural", expects={"smoke": "about 3 s"})
    printed = capsys.readouterr().out
    assert "natural, the data as they are" in printed
    assert "resnet8, 40 epochs" in printed
    assert "time" not in printed
    assert "changes" not in printed


def test_setup_says_what_replaces_the_data_of_the_experiment(capsys):
    notebook.setup(profile="smoke", instead={"data": "your images in birds", "run": ""})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["device", "profile", "data", "imbalance", "seed"]
    assert "data       your images in birds" in lines


def test_setup_writes_nothing_and_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    notebook.setup(profile="smoke")
    assert torch.equal(torch.rand(2), expected)
    assert not paths.runs_root().exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"profile": "leson"}, "profile 'leson' is not known. Did you mean 'lesson'"),
        ({"seed": -1}, "seed must be"),
        ({"overrides": "epoch=3"}, "overrides name 'epoch'"),
    ],
)
def test_setup_refuses(parameters, message):
    with pytest.raises(InputError, match=message):
        notebook.setup(**parameters)


def test_an_injected_name_that_the_notebook_does_not_have_is_refused():
    with pytest.raises(InputError, match="'imbalanse_factor' is no parameter of this notebook. Did you mean"):
        notebook.refuse_unknown(["imbalanse_factor"], {"imbalance_factor": 100.0})


def test_shown_source_is_the_source_with_a_link_to_its_lines():
    bundle = notebook.show_source(longtail.checksum)._repr_mimebundle_()
    lines, first = inspect.getsourcelines(longtail.checksum)
    link = f"../ltlib/data/longtail.py#L{first}-L{first + len(lines) - 1}"
    assert bundle["text/plain"] == f"# {link}\n{''.join(lines).rstrip()}"
    assert f'<a href="{link}">ltlib.data.longtail.checksum</a>' in bundle["text/html"]
    # the link starts in notebooks/, and what it points to is there
    assert (paths.project() / "notebooks" / link.partition("#")[0]).resolve().samefile(longtail.__file__)


def test_shown_source_is_highlighted_without_a_style_sheet():
    html = notebook.show_source(longtail.checksum)._repr_mimebundle_()["text/html"]
    assert '<span style="color: #008000; font-weight: bold">def</span>' in html
    assert "class=" not in html


def test_several_objects_and_methods_are_shown_in_order():
    plain = notebook.show_source(longtail.checksum, Picture.png)._repr_mimebundle_()["text/plain"]
    assert plain.index("def checksum(") < plain.index("\ndef png(self)")
    assert "\n    buffer = io.BytesIO()" in plain


def test_code_from_elsewhere_is_shown_without_a_link():
    bundle = notebook.show_source(json.dumps)._repr_mimebundle_()
    assert bundle["text/plain"].startswith("# json.dumps\n")
    assert "href" not in bundle["text/html"]


@pytest.mark.parametrize("thing", [len, 3])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(InputError, match="functions, methods and classes written in Python"):
        notebook.show_source(thing)
