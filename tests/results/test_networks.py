"""Stored networks and trajectories: made from a run, opened without it, refused when they are damaged."""

from __future__ import annotations

import json
import runpy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import setuptools
import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors

import ltlib
from ltlib import paths
from ltlib.__main__ import main
from ltlib.data.augment import to_float
from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.experiments.runs import Run
from ltlib.results import export, float16, networks, records, trajectories


def letters(overrides: str) -> Experiment:
    """Some seconds of training."""
    return Experiment("cross_entropy", "glyphs", 4.0, profile="smoke", overrides=overrides)


SMALL = "epochs=4, n_max=60, num_classes=3, test_per_class=30"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return execute(letters(f"keep_every=2, {SMALL}"), runs)


@pytest.fixture
def study(run, tmp_path, monkeypatch):
    """A study that holds the run, its network and its trajectory."""
    monkeypatch.setattr(records, "studies", lambda: tmp_path)
    folder = tmp_path / "letters"
    export.export(run, folder, "cross-entropy")
    networks.store(run, folder, "plain")
    return folder


def test_a_stored_network_gives_the_logits_of_its_run(run, study):
    assert networks.names() == ["letters/plain"]
    method = ltlib.load("letters/plain")
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(method.logits(images), load(run).logits(images))
    assert not method.training


def test_a_damaged_or_unknown_network_is_refused(study):
    with pytest.raises(InputError, match="Did you mean"):
        ltlib.load("letters/plan")
    file = study / "networks" / "plain.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="no record of weights with SHA-256"):
        ltlib.load("letters/plain")


def test_a_float16_copy_is_half_as_large_says_what_it_is_of_and_predicts_alike(run, study):
    file = study / "networks" / "plain.safetensors"
    content = file.read_bytes()
    copy = float16.halved(content)
    assert len(copy) < 0.6 * len(content)
    assert float16.original(content) is None
    [record] = records.read("letters")
    assert float16.original(copy) == record.weights_sha256
    stored, full = from_safetensors(copy), from_safetensors(content)
    assert stored.keys() == full.keys()
    for name, tensor in full.items():
        expected = tensor.half() if tensor.dtype == torch.float32 else tensor
        assert torch.equal(stored[name], expected), name

    test = prepare(letters(SMALL), resolve(letters(SMALL))[0]).test
    labels = torch.from_numpy(test.labels)

    def accuracy():
        method = ltlib.load("letters/plain")
        assert {p.dtype for p in method.parameters()} == {torch.float32}
        with torch.inference_mode():
            predicted = method.logits(to_float(torch.from_numpy(np.asarray(test.pixels)))).argmax(1)
        return (predicted == labels).double().mean().item()

    told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert told["float32"] == accuracy() == pytest.approx(record.metrics["accuracy"], abs=1e-9)
    file.write_bytes(copy)
    assert told["float16"] == accuracy()


def test_a_damaged_float16_copy_is_refused(study):
    file = study / "networks" / "plain.safetensors"
    copy = bytearray(float16.halved(file.read_bytes()))
    copy[-1] ^= 1
    file.write_bytes(copy)
    with pytest.raises(InputError, match="damaged .its values have another checksum.*install the wheel again"):
        ltlib.load("letters/plain")
    file.write_bytes(b"no weights")
    with pytest.raises(InputError, match="damaged .it is no safetensors file"):
        ltlib.load("letters/plain")


@pytest.mark.parametrize(
    ("accuracy", "halves"),
    [
        ({"float32": 0.9, "float16": 0.9}, True),
        ({"float32": 0.9, "float16": 0.9004}, True),
        ({"float32": 0.9, "float16": 0.8994}, False),
        ({"float32": 0.9, "float16": None}, False),
        (None, False),
    ],
)
def test_the_wheel_carries_the_copy_only_where_accuracy_allows_it(study, accuracy, halves, monkeypatch):
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    setup = runpy.run_path(str(paths.project() / "setup.py"))
    file = study / "networks" / "plain.safetensors"
    measured = file.with_suffix(".json")
    measured.unlink()
    if accuracy:
        measured.write_text(json.dumps(accuracy), encoding="utf-8")
    content = file.read_bytes()
    assert setup["as_it_travels"](file) == (float16.halved(content) if halves else content)


def test_the_accuracy_of_the_copy_is_that_of_the_copy(run, study, monkeypatch):
    content = (study / "networks" / "plain.safetensors").read_bytes()
    other = {name: -w if "classifier" in name else w for name, w in from_safetensors(content).items()}
    monkeypatch.setattr(float16, "halved", lambda _: to_safetensors(other))
    [record] = records.read("letters")
    told = networks.accuracies(run, record, content)
    assert told["float32"] == pytest.approx(record.metrics["accuracy"], abs=1e-9)
    assert told["float16"] != told["float32"]


def test_weights_that_float16_cannot_hold_are_not_copied(run, study):
    weights = {"a": torch.tensor([1.0, 70000.0])}
    with pytest.raises(OverflowError):
        float16.halved(to_safetensors(weights))


def test_the_card_tells_what_the_record_says(run, study):
    text = (study / "networks" / "plain.md").read_text()
    [record] = records.read("letters")
    assert text == networks.card(record, "letters/plain")
    for fact in (
        run.id,
        record.weights_sha256,
        f"{record.metrics['accuracy']:.2%}",
        'ltlib.load("letters/plain")',
    ):
        assert fact in text


def test_a_trajectory_ends_where_the_run_ended(run, study):
    arrays = trajectories.compute(run, per_class_images=10)
    trajectories.write(arrays, study, run.id)
    found = trajectories.read(study, run.id)
    assert found["epochs"].tolist() == [2, 4]
    stored, curve = run.predictions(), run.metrics
    followed = found["images"]
    assert np.array_equal(found["predicted"][-1], stored["logits"].argmax(1)[followed])
    assert np.array_equal(found["labels"], stored["labels"][followed])
    assert np.bincount(found["labels"]).tolist() == [10, 10, 10]
    for place, epoch in enumerate(found["epochs"]):
        assert found["class_accuracy"][place] == pytest.approx(curve[epoch - 1]["class_accuracy"], abs=1e-3)
        assert found["class_confidence"][place] == pytest.approx(curve[epoch - 1]["class_confidence"], abs=1e-3)
    assert found["ece"][-1] == pytest.approx(run.info["metrics"]["ece"], abs=1e-6)


def test_the_trajectories_of_two_stages_are_one(run):
    """The features are frozen in the second stage, so its images stay where the first one left them."""
    settings = f"stage1={run.id}, keep_every=1, {SMALL}"
    second = execute(replace(letters(settings), method="crt"), run.folder.parent)
    first, then = (trajectories.compute(of, per_class_images=10) for of in (run, second))
    both = trajectories.joined(first, then)
    counted = len(then["epochs"])
    assert both["epochs"].tolist() == [2, 4, *range(5, 5 + counted)]
    assert np.array_equal(both["class_accuracy"][2:], then["class_accuracy"])
    assert np.array_equal(both["labels"], first["labels"])
    assert both["points"].shape == (2 + counted, 30, 2)
    np.testing.assert_allclose(both["points"][2:], both["points"][[1] * counted], atol=0.02)
    with pytest.raises(InputError, match="follow different test images"):
        trajectories.joined(first, trajectories.compute(second, per_class_images=5))


def test_a_trajectory_goes_on_where_it_was_stopped_and_without_the_kept_weights(run, tmp_path, monkeypatch):
    whole = trajectories.compute(run, per_class_images=10)
    moved = Run(shutil.copytree(run.folder, tmp_path / "r" / run.id))
    moved.kept_epochs()[2].unlink()
    (moved.folder / "epochs" / "0004.npz").unlink()
    again = trajectories.compute(moved, per_class_images=10)
    assert sorted(again) == sorted(whole)
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


def test_an_unfinished_run_has_frames_but_no_trajectory(run, tmp_path):
    early = Run(shutil.copytree(run.folder, tmp_path / "r" / run.id))
    early.update(state="interrupted")
    assert list(trajectories.frames(early, per_class_images=10)) == [2, 4]
    with pytest.raises(InputError, match=r"interrupted: finish it before its trajectory"):
        trajectories.compute(early)


def test_frames_of_another_number_of_images_are_made_anew(run):
    trajectories.compute(run, per_class_images=10)
    assert len(trajectories.compute(run, per_class_images=5)["images"]) == 15


def test_a_run_without_kept_weights_says_how_to_keep_them(run, study, tmp_path):
    plain = execute(letters(SMALL), tmp_path / "r")
    with pytest.raises(InputError, match="keep_every"):
        trajectories.compute(plain)
    with pytest.raises(InputError, match="no stored trajectory"):
        trajectories.read(study, "nothing")


def test_the_plane_separates_the_class_means_as_much_as_any():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    features = torch.randn(40, 6, generator=random) + 5 * torch.nn.functional.one_hot(labels, 6)
    directions = trajectories.plane(features, labels)
    assert torch.allclose(directions.T @ directions, torch.eye(2), atol=1e-5)

    def spread(d):
        means = torch.stack([(features @ d)[labels == c].mean(0) for c in range(4)])
        return (means - means.mean(0)).square().sum().item()

    others = [torch.linalg.qr(torch.randn(6, 2, generator=random))[0] for _ in range(50)]
    assert spread(directions) > max(map(spread, others))


def test_kept_weights_do_not_change_a_run_and_survive_a_kill(run, tmp_path):
    plain = execute(letters(SMALL), tmp_path / "plain")
    assert plain.id == run.id, "keeping weights decides nothing"
    assert np.array_equal(plain.predictions()["logits"], run.predictions()["logits"])
    # A kill between the checkpoint and the kept weights leaves an epoch without them. The next start writes them.
    kept = run.kept_epochs()
    assert list(kept) == [2, 4]
    content = kept[4].read_bytes()
    kept[4].unlink()
    run.update(state="interrupted")
    execute(Experiment(**run.info["experiment"]), run.folder.parent)
    assert run.kept_epochs()[4].read_bytes() == content


def test_the_command_line_stores_network_and_trajectory_too(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LTLIB_RUNS", str(run.folder.parent))
    monkeypatch.setattr(records, "studies", lambda: tmp_path)
    to = ["runs", "export", run.id, "--to", str(tmp_path / "letters"), "--network", "plain"]
    assert main([*to, "--trajectory"]) == 0
    assert networks.names() == ["letters/plain"]
    assert trajectories.read(tmp_path / "letters", run.id)["epochs"].tolist() == [2, 4]
    assert main([*to[:3], run.id, *to[3:]]) == 2
    assert "--network names the weights of one run" in capsys.readouterr().err


def test_a_network_opens_although_its_record_has_a_setting_that_is_no_longer_there(run, study):
    file = study / f"{run.id}.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    told["hyperparameters"]["of_an_older_version"] = 1.0
    file.write_text(json.dumps(told), encoding="utf-8")
    assert len(ltlib.load("letters/plain").state_dict()) == len(load(run).state_dict())
