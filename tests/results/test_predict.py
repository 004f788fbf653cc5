"""Predictions for a folder of one's own images: right size, right names, and what cannot be read is named."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image

from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.results.predict import predict_folder


@pytest.fixture
def run():
    return execute(Experiment("cross_entropy", "glyphs", 4.0, profile="smoke", overrides="num_classes=3, n_max=40"))


@pytest.fixture
def photographs(run, tmp_path):
    """The first test images as files, one of them four times as large, one damaged."""
    experiment = Experiment(**run.info["experiment"])
    test = prepare(experiment, resolve(experiment)[0]).test
    folder = tmp_path / "my photos"
    (folder / "more").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.asarray(test.pixels[i]).transpose(1, 2, 0)).save(folder / f"{i}.png")
    large = Image.open(folder / "0.png").resize((64, 64), Image.NEAREST)
    large.save(folder / "more" / "large.png")
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("not an image either")
    return folder


def test_predictions_are_those_of_the_run(run, photographs):
    told = []
    rows = {row["file"]: row for row in predict_folder(run.id, photographs, told.append, batch=2)}
    assert set(rows) == {"0.png", "1.png", "2.png", "more/large.png"}
    logits = run.predictions()["logits"][:3].astype(float)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = run.info["data"]["class_names"]
    for i in range(3):
        row = rows[f"{i}.png"]
        assert row["label"] == names[p[i].argmax()]
        assert row["confidence"] == pytest.approx(p[i].max(), abs=1e-3)
        assert row["second"] == names[np.argsort(p[i])[-2]]
    assert len(told) == 1
    assert "broken.jpg" in told[0]


def test_the_command_writes_a_csv(run, photographs, capsys, tmp_path):
    assert main(["predict", run.id, str(photographs)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == ["0.png", "1.png", "2.png", "more/large.png"]
    to = tmp_path / "out.csv"
    assert main(["predict", run.id, str(photographs), "--to", str(to)]) == 0
    assert list(csv.DictReader(to.open())) == rows


def test_a_folder_without_images_and_an_unknown_run_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        predict_folder(run.id, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        predict_folder(run.id, tmp_path / "empty")
    with pytest.raises(InputError, match="No run is called"):
        predict_folder("nothing", tmp_path)
