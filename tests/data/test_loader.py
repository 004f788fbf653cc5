import torch

from ltlib.data.loader import Loader

IMAGES = torch.arange(10, dtype=torch.uint8).view(-1, 1, 1, 1).expand(10, 3, 8, 8).contiguous()
LABELS = torch.arange(10) % 2


def loader(**changes):
    options = {"sampler": "instance_balanced", "epochs": 1, "batch_size": 4, "augmentation": "none"}
    return Loader(IMAGES, LABELS, **(options | changes))


def test_every_image_comes_once_with_its_label():
    batches = list(loader().epoch(0))
    assert [len(b.y) for b in batches] == [4, 4, 2]
    assert len(loader()) == 3
    x, y = torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])
    number = (x[:, 0, 0, 0] * 255).round().long()
    assert sorted(number.tolist()) == list(range(10))
    assert torch.equal(y, number % 2)


def test_images_are_floats_in_unit_range_and_the_source_is_untouched():
    before = IMAGES.clone()
    (batch,) = loader(batch_size=10, augmentation="crop_flip").epoch(0)
    assert batch.x.dtype == torch.float32
    assert batch.x.max() <= 9 / 255
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(IMAGES, before)


def test_progress_counts_epochs_by_images_and_every_epoch_begins_on_a_whole_number():
    assert [b.progress for b in loader(epochs=3).epoch(2)] == [2.0, 2.4, 2.8]
    assert [b.progress for b in loader(epochs=3, length="drop_last").epoch(0)] == [0.0, 0.5]
    assert isinstance(next(loader().epoch(0)).progress, float)


def test_drop_last_gives_full_batches_only_and_other_images_each_epoch():
    dropping = loader(length="drop_last", epochs=20)
    torch.manual_seed(0)
    assert len(dropping) == 2
    seen = [list(dropping.epoch(e)) for e in range(20)]
    assert {len(b.y) for batches in seen for b in batches} == {4}
    shown = {round(v) for batches in seen for b in batches for v in (b.x[:, 0, 0, 0] * 255).tolist()}
    assert shown == set(range(10))
    # fewer images than a batch: better a small batch than none
    assert [len(b.y) for b in loader(length="drop_last", batch_size=16).epoch(0)] == [10]
