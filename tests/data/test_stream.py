"""Streamed images against resting ones: the same batches, the same training, bit for bit."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from ltlib import methods, models
from ltlib.data import images as images_module
from ltlib.data import shards
from ltlib.data.folder import load_folder
from ltlib.data.loader import Loader
from ltlib.data.stream import AHEAD, Stream
from ltlib.errors import InputError
from ltlib.evaluation.evaluate import predict
from ltlib.experiments import execute
from ltlib.experiments.experiment import Experiment
from ltlib.training.device import reproducible
from ltlib.training.engine import Engine, Options

CPU = torch.device("cpu")


@pytest.fixture
def data(image_folder, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 5 * 3 * 8 * 8)
    return load_folder(str(image_folder((20, 9, 4))))


def resting(split):
    return torch.from_numpy(np.asarray(split.pixels)), torch.from_numpy(split.labels)


def streamed(split):
    return Stream(split.pixels, CPU), torch.from_numpy(split.labels)


@pytest.mark.parametrize("sampler", ["instance_balanced", "class_balanced", "class_balanced_cyclic"])
@pytest.mark.parametrize("augmentation", ["crop_flip", "resized_crop_flip_jitter"])
def test_a_stream_gives_the_batches_of_resting_images(data, sampler, augmentation):
    options = {"sampler": sampler, "epochs": 2, "batch_size": 7, "augmentation": augmentation}
    seen = []
    for split in (resting(data.train), streamed(data.train)):
        torch.manual_seed(1)
        loader = Loader(*split, **options)
        seen.append([batch for epoch in range(2) for batch in loader.epoch(epoch)])
    assert len(seen[0]) == 10
    for ours, theirs in zip(*seen, strict=True):
        assert torch.equal(ours.x, theirs.x)
        assert torch.equal(ours.y, theirs.y)


def test_predictions_are_those_of_resting_images(data):
    torch.manual_seed(0)
    method = methods.make("cross_entropy", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), torch.ones(3))
    expected = predict(method, resting(data.train)[0], batch_size=8)
    assert torch.equal(predict(method, streamed(data.train)[0], batch_size=8), expected)


def test_resumed_streaming_equals_uninterrupted_resting_training(data, tmp_path):
    options = Options(epochs=3, batch_size=8, augmentation="resized_crop_flip", precision="float32")

    class Stop(Exception):
        pass

    def stop(record):
        if record["epoch"] == 2:
            raise Stop

    def fit(split, name, on_epoch=lambda record: None):
        with reproducible(3, CPU):
            network = models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3)
            engine = Engine(methods.make("cross_entropy", network, torch.ones(3)), split(data.train), options, {})
            engine.resume(tmp_path / name, {})
            engine.fit(tmp_path / name, {}, on_epoch)
        return engine.method.state_dict()

    whole = fit(resting, "whole.pt")
    with pytest.raises(Stop):
        fit(streamed, "part.pt", stop)
    resumed = fit(streamed, "part.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_only_a_few_batches_are_read_ahead_and_the_thread_ends_with_the_loop(data):
    read = []

    class Watched(Stream):
        def _read(self, index):
            read.append(len(index))
            return super()._read(index)

    batches = Watched(data.train.pixels, CPU).batches(torch.arange(len(data.train)).split(3))
    next(batches)
    time.sleep(0.1)
    assert len(read) <= AHEAD + 1 < 11
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("reading images")]


def test_a_shard_lost_while_training_is_named(data):
    shard = data.train.pixels.files[2]
    for spoil in (lambda: shard.write_bytes(shard.read_bytes()[:-100]), shard.unlink):
        spoil()
        with pytest.raises(InputError, match=r"00002\.npy was removed or damaged"):
            list(streamed(data.train)[0].batches(torch.arange(len(data.train)).split(4)))


def test_size_alone_decides_what_is_streamed_and_changes_no_result(image_folder, monkeypatch):
    root = image_folder((30, 10), size=16)
    experiment = Experiment(
        dataset="folder",
        data_dir=str(root),
        imbalance_type="natural",
        profile="smoke",
        overrides="validation=0.2, augmentation=resized_crop_flip, batch_size=8",
    )
    kinds, cards = [], []
    build = execute.on_device

    def watch(images, device):
        kinds.append(type(build(images, device)[0]))
        return build(images, device)

    monkeypatch.setattr(execute, "on_device", watch)
    for limit in (2**31, 100):
        monkeypatch.setattr(images_module, "RESTING_BYTES", limit)
        run = execute.execute(replace(experiment, seed=1), root / f"runs{limit}")
        cards.append([run.info["metrics"], run.info["data"], [r["loss"] for r in run.metrics]])
    assert kinds == [torch.Tensor] * 3 + [Stream] * 3
    assert cards[0] == cards[1]
    assert cards[0][1]["image_size"] == 14
