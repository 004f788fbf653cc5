"""The sharpness that a study keeps beside the predictions of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ltlib.__main__ import main
from ltlib.data.augment import to_float
from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.results import landscape, predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    small = Experiment(
        "cross_entropy", "glyphs", 4.0, profile="smoke", overrides="epochs=2, n_max=40, num_classes=3, test_per_class=9"
    )
    return execute(small, tmp_path_factory.mktemp("runs"))


def test_the_rise_is_that_of_a_step_along_the_gradient_of_the_class(run):
    found = landscape.sharpness(run)
    assert {name: values.shape for name, values in found.items()} == {
        "rise": (3,),
        "lowest": (3,),
        "highest": (3,),
    }
    experiment = Experiment(**run.info["experiment"])
    data, method = prepare(experiment, resolve(experiment)[0]), load(run)
    x, y = (torch.from_numpy(values[data.train.labels == 2]) for values in (data.train.pixels, data.train.labels))
    loss = torch.nn.functional.cross_entropy
    before = loss(method.logits(to_float(x)), y)
    gradients = torch.autograd.grad(before, list(method.parameters()))
    length = torch.cat([g.flatten() for g in gradients]).norm()
    with torch.no_grad():
        for p, g in zip(method.parameters(), gradients, strict=True):
            p += 0.05 * g / length
        rise = loss(method.logits(to_float(x)), y) - before
    assert found["rise"][2] == pytest.approx(rise.item(), rel=1e-4)
    assert (found["lowest"] < found["highest"]).all()


def test_the_command_keeps_it_only_where_it_is_asked_for(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LTLIB_RUNS", str(run.folder.parent))
    for study, more in (("plain", []), ("measured", ["--sharpness"])):
        assert main(["runs", "export", run.id, "--to", str(tmp_path / study), *more]) == 0
    kept = predictions.unpack(tmp_path / "measured" / f"{run.id}.npz")
    assert np.array_equal(kept["sharpness"]["rise"], landscape.sharpness(run)["rise"])
    assert "sharpness" not in predictions.unpack(tmp_path / "plain" / f"{run.id}.npz")


def test_other_images_are_refused(run):
    file = run.folder / "run.json"
    told = file.read_text(encoding="utf-8")
    info = json.loads(told)
    info["data"]["fingerprint"] = "0" * 64
    file.write_text(json.dumps(info), encoding="utf-8")
    try:
        with pytest.raises(InputError, match="have changed: export it without --sharpness"):
            landscape.sharpness(run)
    finally:
        file.write_text(told, encoding="utf-8")
