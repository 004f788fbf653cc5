import re

import numpy as np
import pytest

from ltlib.data import longtail
from ltlib.errors import InputError

CIFAR10 = {
    10: [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
    50: [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    100: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
}


@pytest.mark.parametrize("factor", CIFAR10)
def test_exponential_counts_are_the_published_ones(factor):
    assert longtail.class_counts(10, 5000, factor).tolist() == CIFAR10[factor]


@pytest.mark.parametrize(
    ("classes", "n_max", "factor", "kind", "total"),
    [
        (10, 5000, 20, "exponential", 17023),
        (10, 5000, 200, "exponential", 11203),
        (100, 500, 10, "exponential", 19573),
        (100, 500, 50, "exponential", 12608),
        (100, 500, 100, "exponential", 10847),
        (200, 500, 100, "exponential", 21549),
        (10, 5000, 10, "step", 27500),
        (100, 500, 100, "step", 25250),
    ],
)
def test_totals_are_the_published_ones(classes, n_max, factor, kind, total):
    assert longtail.class_counts(classes, n_max, factor, kind).sum() == total


def test_cifar100_groups_at_the_borders():
    counts = longtail.class_counts(100, 500, 100)
    assert counts[34:38].tolist() == [102, 98, 93, 89]
    assert counts[69:72].tolist() == [20, 19, 18]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 500, 0.5), "at least 1; got 0.5"),
        ((10, 500, float("nan")), "at least 1; got nan"),
        ((10, 50, 100), "at most 50"),
        ((1, 500, 10), "at least 2 classes"),
        ((10, 0, 1), "n_max=0"),
        ((10, 500, 10, "steps"), "Did you mean 'step'"),
    ],
)
def test_counts_refuse(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        longtail.class_counts(*arguments)


def test_indices_follow_the_field_recipe_written_differently():
    """The oracle uses numpy's global generator, as the original code does."""
    labels = np.random.default_rng(3).integers(0, 7, 4000)
    counts = longtail.class_counts(7, 400, 20)
    np.random.seed(0)  # noqa: NPY002
    expected = []
    for c, n in enumerate(counts):
        (where,) = np.where(labels == c)
        np.random.shuffle(where)  # noqa: NPY002
        expected.extend(where[:n])
    assert longtail.longtail_indices(labels, counts).tolist() == expected


def test_indices_select_the_published_cifar10_subsets(cifar10_jpeg):
    """File names are official indices, so they give the official label sequence."""
    labels = np.empty(50_000, dtype=np.int64)
    for c, folder in enumerate(sorted((cifar10_jpeg / "train").iterdir())):
        labels[[int(file.stem) for file in folder.iterdir()]] = c
    for factor, published in longtail.CIFAR10_LT_SHA256.items():
        indices = longtail.longtail_indices(labels, longtail.class_counts(10, 5000, factor))
        assert longtail.checksum(indices) == published, f"IF {factor}"


def test_folder_order_selects_the_published_images_too(cifar10_jpeg):
    """In a folder the images stand class by class, but within a class in official order, and that is what counts."""
    files = [file for folder in sorted((cifar10_jpeg / "train").iterdir()) for file in sorted(folder.iterdir())]
    labels = np.repeat(np.arange(10), 5000)
    chosen = longtail.longtail_indices(labels, longtail.class_counts(10, 5000, 100))
    official = np.array([int(files[i].stem) for i in chosen])
    assert longtail.checksum(official) == longtail.CIFAR10_LT_SHA256[100]


def test_indices_refuse_what_the_data_do_not_hold():
    with pytest.raises(InputError, match="Class 1 has 2 images but 3 are wanted"):
        longtail.longtail_indices(np.array([0, 0, 0, 1, 1]), np.array([3, 3]))


@pytest.mark.parametrize("kind", longtail.KINDS)
@pytest.mark.parametrize("available", [[5000] * 10, [500, 400, 30, 5], [7, 90, 90, 90], [128, 132, 127, 133, 124]])
def test_largest_n_max_fits_and_the_next_does_not(available, kind):
    available = np.array(available)
    n = longtail.largest_n_max(available, 5, kind)
    assert (longtail.class_counts(len(available), n, 5, kind) <= available).all()
    assert not (longtail.class_counts(len(available), n + 1, 5, kind) <= available).all()


def test_largest_n_max_refuses_an_impossible_tail():
    with pytest.raises(InputError, match="larger than these data allow"):
        longtail.largest_n_max(np.array([5, 5, 5]), 100)


def test_threshold_groups_have_their_borders_at_100_and_20():
    groups = longtail.shot_groups(np.array([101, 100, 20, 19]))
    assert {name: g.tolist() for name, g in groups.items()} == {"many": [0], "medium": [1, 2], "few": [3]}


@pytest.mark.parametrize(("factor", "sizes"), [(100, (35, 35, 30)), (50, (41, 41, 18)), (10, (69, 31, 0))])
def test_threshold_groups_of_cifar100(factor, sizes):
    groups = longtail.shot_groups(longtail.class_counts(100, 500, factor))
    assert tuple(map(len, groups.values())) == sizes


@pytest.mark.parametrize(("classes", "sizes"), [(10, (3, 4, 3)), (100, (36, 35, 29)), (1000, (390, 445, 165))])
def test_paper_groups_are_fixed_ranges_by_descending_count(classes, sizes):
    ascending = np.arange(1, classes + 1)
    groups = longtail.shot_groups(ascending, rule="papers")
    assert tuple(map(len, groups.values())) == sizes
    assert ascending[groups["many"]].min() > ascending[groups["medium"]].max()
    assert ascending[groups["few"]].max() < ascending[groups["medium"]].min()


def test_paper_groups_refuse_other_numbers_of_classes():
    with pytest.raises(InputError, match=r"not for 12: use rule='threshold'"):
        longtail.shot_groups(np.arange(12), rule="papers")


def test_holdout_is_a_partition_that_leaves_every_class_something():
    labels = np.repeat([0, 1, 2], [50, 10, 1])
    train, validation = longtail.holdout(labels, 0.2)
    assert sorted([*train, *validation]) == list(range(61))
    assert np.bincount(labels[validation], minlength=3).tolist() == [10, 2, 0]


@pytest.mark.parametrize(
    ("num_classes", "rule"), [(10, "papers"), (100, "papers"), (40, "threshold"), (2, "threshold")]
)
def test_the_default_rule_is_that_of_the_papers_where_they_have_one(num_classes, rule):
    assert longtail.default_rule(num_classes) == rule
    assert set(longtail.shot_groups(np.arange(num_classes)[::-1] + 1, rule)) == {"many", "medium", "few"}
