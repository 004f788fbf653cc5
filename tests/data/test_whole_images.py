"""Training crops of large sets are cut out of the whole image, as the papers cut them; tests see its middle."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from ltlib.data import augment, crops, shards
from ltlib.data.folder import load_folder
from ltlib.data.loader import Loader
from ltlib.data.stream import on_device
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve

CPU = torch.device("cpu")


def photo(width, height, seed=0) -> Image.Image:
    """Smooth colours and some noise."""
    random = np.random.default_rng(seed)
    base = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height), 3)
    noisy = np.asarray(base) + random.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.fixture
def photographs(tmp_path):
    """Two classes of oblong photographs, eight images for training and one for the test each."""
    for split, n in (("train", 8), ("test", 1)):
        for c in range(2):
            folder = tmp_path / "photos" / split / f"class{c}"
            folder.mkdir(parents=True)
            for i in range(n):
                size = (100, 75) if i % 2 else (60, 90)
                photo(*size, seed=100 * c + 10 * i + n).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_training_images_are_whole_and_test_images_their_middle(photographs):
    data = load_folder(str(photographs), image_size=37, whole=73)
    assert data.train.pixels.shape == (16, 3, 73, 73)
    assert data.train.shapes[:3].tolist() == [[90, 60], [75, 100], [90, 60]]
    file = Image.open(photographs / "train" / "class0" / "1.png")
    assert np.array_equal(data.train.pixels[1].transpose(1, 2, 0), file.resize((73, 73), Image.Resampling.BILINEAR))
    assert data.image_size == 37
    theirs = v2.Compose([v2.Resize(37), v2.CenterCrop(37)])(Image.open(photographs / "test" / "class0" / "0.png"))
    assert np.array_equal(data.test.pixels[0].transpose(1, 2, 0), theirs)
    taken = data.train.take(np.array([1, 0]))
    assert taken.shapes.tolist() == [[75, 100], [90, 60]]


def test_every_corner_of_a_500x375_photograph_can_be_seen_and_a_third_of_crops_is_enlarged():
    """The centre square of 256 pixels that was stored before left out a quarter, and 93 % of crops were enlarged."""
    torch.manual_seed(0)
    height, width = torch.full((4000,), 375.0), torch.full((4000,), 500.0)
    boxes = crops.draw_boxes(height, width)
    assert boxes.left.min() == 0
    assert (boxes.left + boxes.width).max() == 500
    theirs = torch.tensor(
        [v2.RandomResizedCrop.get_params(torch.empty(3, 375, 500), [0.08, 1], [3 / 4, 4 / 3])[2:] for _ in range(4000)]
    )
    enlarged = [((h < 224) & (w < 224)).float().mean().item() for h, w in ((boxes.height, boxes.width), theirs.T)]
    assert enlarged[0] == pytest.approx(enlarged[1], abs=0.03)
    assert 0.2 < enlarged[0] < 0.4
    on_square = boxes.on_square(512, height, width)
    assert (on_square.left + on_square.width).max() == pytest.approx(512)
    assert (on_square.top + on_square.height).max() == pytest.approx(512)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (900, 600)])
def test_a_crop_of_the_squeezed_image_is_the_crop_of_the_file(size):
    """Within three grey levels on average, of the 22 by which neighbouring crops differ: resampled twice, not once."""
    torch.manual_seed(1)
    file = photo(*size)
    squeezed = torch.from_numpy(np.asarray(file.resize((512, 512), Image.Resampling.BILINEAR)).copy()).permute(2, 0, 1)
    whole = torch.from_numpy(np.asarray(file).copy()).permute(2, 0, 1)
    shape = torch.tensor([size[1], size[0]]).float().expand(6, 2).T
    boxes = crops.draw_boxes(*shape)
    ours = crops.resized_crop_flip(squeezed.expand(6, -1, -1, -1), boxes.on_square(512, *shape), 224)
    for i, (top, left, height, width, flip) in enumerate(zip(*(b.tolist() for b in boxes), strict=True)):
        theirs = tv.resized_crop(whole, int(top), int(left), int(height), int(width), [224, 224], antialias=True)
        theirs = tv.horizontal_flip(theirs) if flip else theirs
        assert (ours[i].float() - theirs.float()).abs().mean() < 3


def test_a_sliver_of_an_extreme_panorama_has_no_nan():
    """One row of a file of 3000x20 pixels is a tenth of a pixel wide in the square."""
    boxes = crops.Boxes(*(torch.tensor([v]) for v in (0.0, 2999.0, 1.0, 1.0)), torch.tensor([False]))
    x = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    on_square = boxes.on_square(64, torch.tensor([20.0]), torch.tensor([3000.0]))
    assert (crops.resized_crop_flip(x, on_square, 28) == 200).all()


def test_the_loader_cuts_by_the_shape_of_each_file(photographs, monkeypatch):
    data = load_folder(str(photographs), image_size=37, whole=73)
    asked = []
    draw = augment.draw_boxes
    monkeypatch.setattr(augment, "draw_boxes", lambda h, w: asked.append(torch.stack([h, w], 1)) or draw(h, w))
    split = on_device(data.train, CPU)
    torch.manual_seed(0)
    loader = Loader(
        *split, sampler="instance_balanced", epochs=1, batch_size=5, augmentation="resized_crop_flip_jitter"
    )
    batches = list(loader.epoch(0))
    assert [tuple(b.x.shape[1:]) for b in batches] == [(3, 32, 32)] * 4
    torch.manual_seed(0)
    order = torch.randperm(16)
    assert torch.equal(torch.cat(asked), split.shapes[order].float())


def test_held_out_images_are_seen_as_test_images_and_run_json_names_what_training_sees(photographs):
    experiment = Experiment(
        dataset="folder",
        data_dir=str(photographs),
        imbalance_type="natural",
        profile="smoke",
        overrides="validation=0.25, augmentation=resized_crop_flip, image_size=56",
    )
    data = prepare(experiment, resolve(experiment)[0])
    assert data.train.pixels.shape == (12, 3, 128, 128)
    assert data.validation.pixels.shape == (4, 3, 56, 56)
    assert data.description()["training_images"] == "whole images, squeezed to 128x128"
    files = sorted((photographs / "train").rglob("*.png"))
    pipeline = v2.Compose([v2.Resize(64), v2.CenterCrop(56)])
    expected = [np.asarray(pipeline(Image.open(file))).transpose(2, 0, 1) for file in files]
    assert all(any(np.array_equal(mine, theirs) for theirs in expected) for mine in np.asarray(data.validation.pixels))


def test_sizes_fit_together():
    assert augment.whole_side("resized_crop_flip", 224) == 512
    assert augment.whole_side("crop_flip", 224) == 0
    for side in range(8, 400):
        x = torch.zeros(1, 1, 1, augment.whole_side("resized_crop_flip", side))
        assert round(x.shape[-1] * 7 / 16) == side


def test_a_cache_of_the_old_format_is_not_read(photographs, monkeypatch):
    new = shards.Store("r", ["f"], 8, "keep").folder
    monkeypatch.setattr(shards, "FORMAT", 1)
    assert shards.Store("r", ["f"], 8, "keep").folder != new
