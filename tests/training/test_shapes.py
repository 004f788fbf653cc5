import numpy as np
import pytest
import torch

from ltlib import methods, models
from ltlib.data.loader import Loader
from ltlib.errors import InputError
from ltlib.methods.method import Stage
from ltlib.training.shapes import check_single_images, smallest_share, training_bytes
from tests.training.small import small


def stage(length="all"):
    return (Stage("train", 1, "instance_balanced", "step", length=length),)


@pytest.mark.parametrize("length", ["all", "drop_last", "one_more"])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(("images", "batch"), [(65, 64), (64, 64), (5, 8), (9, 4), (10, 3), (7, 2)])
def test_the_smallest_share_is_that_of_the_loader(monkeypatch, images, batch, length, processes):
    sampler = "class_balanced_cyclic" if length == "one_more" else "instance_balanced"
    sizes = []
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    for rank in range(processes):
        monkeypatch.setenv("RANK", str(rank))
        pixels, labels = torch.zeros(images, 3, 8, 8, dtype=torch.uint8), torch.arange(images) % 2
        loader = Loader(pixels, labels, sampler=sampler, epochs=1, batch_size=batch, augmentation="none", length=length)
        sizes += [len(b.y) for b in loader.epoch(0)]
    assert smallest_share(images, batch, length, processes) == min(sizes)


def method(backbone, name="cross_entropy"):
    return small(name)(models.make(backbone, 3, (0.5,) * 3, (0.2,) * 3), torch.tensor([5, 4, 3]))


@pytest.mark.parametrize("name", ["cross_entropy", "reslt", "lbgat"])
def test_one_image_of_one_pixel_is_refused_and_torch_would_have_failed(name):
    """ResNet-18 leaves one pixel of an image of 8."""
    m = method("resnet18", name)
    with pytest.raises(InputError, match="65 images in batches of 64 leave.*one image.*batch_size, such as 63"):
        check_single_images(m, stage(), 65, 8, 64)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        m.train().logits(torch.zeros(1, 3, 8, 8))


def test_what_can_train_is_let_through():
    check_single_images(method("resnet18"), stage(), 66, 8, 64)
    check_single_images(method("resnet18"), stage("drop_last"), 65, 8, 64)
    check_single_images(method("resnet18"), stage(), 65, 32, 64)
    check_single_images(method("resnet8"), stage(), 65, 8, 64)


def test_a_share_of_one_image_is_refused_on_two_processes():
    with pytest.raises(InputError, match="shared by 2 processes"):
        check_single_images(method("resnet18"), stage(), 67, 8, 64, processes=2)
    check_single_images(method("resnet18"), stage(), 67, 8, 64)


def test_the_method_is_left_as_it_was():
    m = method("resnet18").eval()
    before = {name: t.clone() for name, t in m.state_dict().items()}
    check_single_images(m, stage(), 65, 32, 64)
    assert not m.training
    assert all(torch.equal(t, before[name]) for name, t in m.state_dict().items())


def test_memory_grows_with_the_batch_the_network_and_the_image():
    least = training_bytes(["resnet8"], 10, 32, 1)
    assert least > 1.5 * 2**30
    per_image = training_bytes(["resnet32"], 10, 32, 129) - training_bytes(["resnet32"], 10, 32, 128)
    # stem and 30 convolutions, each with BatchNorm; the stem's ReLU is a layer, the others are functions
    maps = 16 * 1024 * (1 + 10) + 32 * 256 * 10 + 64 * 64 * 10
    assert per_image == pytest.approx(8 * (2 * maps + 16 * 1024 + 3 * 1024 + 10), abs=9)
    assert training_bytes(["resnet32", "resnet8"], 10, 32, 128) > training_bytes(["resnet32"], 10, 32, 128)
    assert np.isclose(training_bytes(["wrn34_10"], 10, 32, 0), 1.5 * 2**30 + 16 * 46.2e6, rtol=0.01)


def test_every_method_is_tried_without_error():
    for name in methods.METHODS:
        if "natural_run" not in methods.METHODS[name].sources:
            images = 66 if name == "etf" else 65
            check_single_images(method("resnet8", name), stage(), images, 8, 64)
    # its BatchNorm behind the pooled features cannot train on one image of any size
    with pytest.raises(InputError, match="choose another batch_size"):
        check_single_images(method("resnet8", "etf"), stage(), 65, 8, 64)
