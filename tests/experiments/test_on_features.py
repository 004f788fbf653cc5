"""Heads train on frozen features through the same engine: the pack, one's own images, resume, refusals."""

import json

import numpy as np
import pytest
import torch
from torchvision import models as tv

from ltlib.errors import InputError
from ltlib.experiments.attack import measure
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import as_lines, plan
from ltlib.results.predict import predict_folder
from ltlib.training.engine import Engine


def on_pack(method, overrides=""):
    return Experiment(method, "cifar10_features", profile="smoke", overrides=overrides)


def test_the_nearest_class_mean_of_the_pack_is_right_for_more_than_55_per_cent(tmp_path):
    """On the whole pack; nothing is random in it."""
    run = execute(Experiment("nearest_class_mean", "cifar10_features", profile="paper"), tmp_path, quiet=True)
    assert run.info["metrics"]["accuracy"] > 0.55
    stored = run.predictions()
    assert stored["logits"].shape == (10_000, 10)
    assert run.info["data"]["frozen"]["backbone"] == "efficientnet_lite0"


class Stop(Exception):
    pass


@pytest.mark.parametrize("method", ["lift_head", "cross_entropy", "nearest_class_mean"])
def test_a_resumed_head_is_that_of_an_uninterrupted_training(tmp_path, method):
    experiment = on_pack(method, "epochs=3")
    whole = execute(experiment, tmp_path / "whole", quiet=True)

    def stop(run, record):
        raise Stop

    with pytest.raises(Stop):
        execute(experiment, tmp_path / "part", quiet=True, watch=stop)
    part = execute(experiment, tmp_path / "part", quiet=True)
    assert np.array_equal(whole.predictions()["logits"], part.predictions()["logits"])


def test_the_means_are_taken_once_and_not_again_after_a_resume(tmp_path, monkeypatch):
    taken = []
    begin = Engine._epoch

    def watched(engine):
        engine.method.take_means = lambda means: taken.append(engine.epoch)
        return begin(engine)

    monkeypatch.setattr(Engine, "_epoch", watched)
    execute(on_pack("lift_head", "epochs=3"), tmp_path, quiet=True)
    assert taken == [0]


def test_images_of_ones_own_become_features_of_a_network_of_ones_own(tmp_path, image_folder, monkeypatch):
    torch.manual_seed(0)
    torch.save(tv.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "net.pth")
    overrides = f"features=shufflenet_v2_x0_5, features_file={tmp_path / 'net.pth'}, features_side=32"
    experiment = Experiment(
        "lift_head", "folder", 2.0, profile="smoke", data_dir=str(image_folder()), overrides=overrides
    )
    run = execute(experiment, tmp_path / "runs", quiet=True)
    data = run.info["data"]
    assert (len(data["mean"]), data["frozen"]["side"], data["training_images"]) == (1024, 32, "1024 features")
    assert run.info["recipe"]["backbone"] == "features"
    assert "1024 features" in "\n".join(as_lines(plan(experiment, runs_dir=tmp_path / "runs")))
    monkeypatch.setenv("LTLIB_RUNS", str(run.folder.parent))
    with pytest.raises(InputError, match="was trained on features"):
        predict_folder(run.id, image_folder(name="photographs"))
    with pytest.raises(InputError, match="was trained on features, and an attack changes the pixels"):
        measure(run)

    torch.save(tv.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "net.pth")  # other weights, the same name
    other = plan(experiment, runs_dir=tmp_path / "runs")
    assert other.data.fingerprint != data["fingerprint"]
    assert other.run.id != run.id


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (on_pack("trades"), "an attack changes the pixels of images"),
        (on_pack("lift_head", "backbone=resnet8"), "holds features, not images"),
        (Experiment("lift_head", "digits", profile="smoke", overrides="backbone=features"), "digits holds images"),
        (on_pack("lift_head", "features=resnet18"), "holds features already"),
        (
            Experiment("lift_head", "digits", profile="smoke", overrides="features=resnet18, backbone=resnet8"),
            "leave one of them out",
        ),
        (Experiment("lift_head", "digits", profile="smoke", overrides="features_file=a.pth"), "give its name too"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(tmp_path, experiment, message):
    with pytest.raises(InputError, match=message):
        execute(experiment, tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()


def test_another_selection_of_images_is_another_run(tmp_path):
    first, second = (
        plan(Experiment(dataset="digits", profile="smoke", overrides=f"subset_seed={seed}"), runs_dir=tmp_path)
        for seed in (0, 1)
    )
    assert first.data.counts.tolist() == second.data.counts.tolist()
    assert first.data.subset_sha256 != second.data.subset_sha256
    assert first.run.id != second.run.id
    assert json.dumps(first.identity()) != json.dumps(second.identity())
