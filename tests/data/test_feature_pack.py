"""The feature pack: the published images, whole, small, and refused if it is damaged."""

import hashlib
import json

import numpy as np
import pytest

from ltlib.data import features
from ltlib.data.cifar import BINARY
from ltlib.data.datasets import load
from ltlib.data.images import Images, feature_statistics
from ltlib.data.longtail import CIFAR10_LT_SHA256, checksum, class_counts
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.models.efficientnet_lite import SHA256


@pytest.fixture(scope="module")
def pack():
    return load("cifar10_features")


def test_the_pack_has_the_published_images_and_is_small(pack):
    assert features.pack_file().stat().st_size < 6_000_000
    assert pack.train.pixels.shape == (12_406, 128, 1, 1)
    assert pack.test.pixels.shape == (10_000, 128, 1, 1)
    assert pack.train.pixels.dtype == np.float16
    assert checksum(pack.official) == CIFAR10_LT_SHA256[100]
    assert pack.train.counts(10).tolist() == class_counts(10, 5000, 100).tolist()
    assert pack.test.counts(10).tolist() == [1000] * 10
    assert pack.class_names == BINARY["cifar10"].class_names


def test_its_origin_is_described(pack):
    about = json.loads(features.pack_file().with_suffix(".json").read_text())
    assert about["frozen"] == pack.frozen
    assert (pack.frozen["backbone"], pack.frozen["sha256"], pack.frozen["side"]) == ("efficientnet_lite0", SHA256, 96)
    assert len(about["sources"]) == 3
    assert about["command"].startswith("python -m tests.data.pack")


def test_a_smaller_subset_is_the_published_one_for_its_size(pack):
    """The field's recipe shuffles each class before it cuts, so the first images of a class are those of any size."""
    experiment = Experiment(dataset="cifar10_features", profile="paper", overrides="n_max=500")
    data = prepare(experiment, resolve(experiment)[0])
    assert data.counts.tolist() == class_counts(10, 500, 100).tolist()
    first = [pack.official[pack.train.labels == c][:n] for c, n in enumerate(data.counts)]
    assert data.subset_sha256 == checksum(np.concatenate(first))
    assert data.description()["frozen"] == pack.frozen
    assert data.description()["training_images"] == "128 features"


def test_another_selection_is_refused_because_the_pack_has_one():
    experiment = Experiment(dataset="cifar10_features", overrides="subset_seed=1")
    with pytest.raises(InputError, match="holds the published selection only: leave subset_seed=1 out"):
        prepare(experiment, resolve(experiment)[0])


def test_a_damaged_pack_is_named(monkeypatch, tmp_path):
    file = tmp_path / "cifar10_lt.npz"
    monkeypatch.setattr(features, "pack_file", lambda: file)
    with pytest.raises(InputError, match="cannot be read"):
        load("cifar10_features")
    file.write_bytes(b"half")
    file.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(b"whole").hexdigest()}))
    with pytest.raises(InputError, match="is damaged"):
        load("cifar10_features")


def test_reducing_keeps_angles_within_the_components():
    random = np.random.default_rng(0)
    train = random.normal(size=(50, 3)) @ random.normal(size=(3, 8)) + 1  # rank 4 at most
    few, few_test, kept = features.reduced(train, train[:5], 4)
    assert kept == pytest.approx(1)
    np.testing.assert_allclose(few.astype(float) @ few.T.astype(float), train @ train.T, rtol=0.02, atol=0.05)
    assert np.array_equal(few[:5], few_test)


def test_features_are_scaled_by_one_number():
    x = np.array([[3.0, 0.0], [0.0, 4.0]], dtype=np.float16)[:, :, None, None]
    mean, std = feature_statistics(x)
    assert mean == (0.0, 0.0)
    assert std == pytest.approx((2.5, 2.5))


@pytest.mark.parametrize("bad", [np.zeros((2, 4), np.float16), np.full((2, 4, 1, 1), np.nan, np.float16)])
def test_features_of_another_shape_or_not_finite_are_refused(bad):
    with pytest.raises(InputError, match=r"Features must be finite and have shape \(N, D, 1, 1\)"):
        Images(bad, np.zeros(2, dtype=np.int64))
