import numpy as np
import pytest

from ltlib.data import datasets, glyphs
from ltlib.errors import InputError

LABELS = np.arange(40) % 10


def test_same_seed_same_images_another_seed_others():
    first, again, other = (glyphs.render(LABELS, 10, seed=s) for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (40, 3, 16, 16)
    assert first.dtype == np.uint8


def test_every_letter_of_every_font_leaves_ink_inside_the_page():
    stencils = glyphs._stencils(len(glyphs.ALPHABET))
    assert stencils.flatten(2).sum(-1).min() > 50
    assert stencils[..., 0, :].max() == stencils[..., -1, :].max() == 0
    assert stencils[..., :, 0].max() == stencils[..., :, -1].max() == 0


def test_no_letter_is_a_missing_glyph():
    """A font without a letter draws its box for it; two letters would then look the same."""
    for font in glyphs._stencils(len(glyphs.ALPHABET)):
        flat = font.flatten(1)
        assert len(flat.unique(dim=0)) == len(glyphs.ALPHABET)


def test_letters_are_told_apart_by_shape_not_by_colour():
    """An image's mean colour has a standard deviation near 44 grey levels, so a class mean one of 44/sqrt(2000) = 1."""
    images = glyphs.render(np.repeat(np.arange(10), 2000), 10).reshape(10, 2000, 3, -1)
    means = images.mean(axis=(1, 3))  # class x channel
    assert np.ptp(means, axis=0).max() < 6


@pytest.mark.parametrize("classes", [1, 200])
def test_number_of_classes_is_checked(classes):
    with pytest.raises(InputError, match=f"got num_classes={classes}"):
        glyphs.render(LABELS, classes)


def test_train_and_test_are_different_images():
    data = datasets.load("glyphs", n_max=50, test_per_class=50)
    assert not np.array_equal(data.train.pixels, data.test.pixels)
    assert data.class_names == tuple("ABCDEFGHIJ")
