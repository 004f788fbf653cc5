"""Stored networks and trajectories: made from a run, opened without it, refused when they are damaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ltlib
from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.results import export, networks, records, trajectories


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
