import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ltlib import paths
from ltlib.data import longtail
from ltlib.data.augment import to_float
from ltlib.data.stream import on_device
from ltlib.errors import InputError, TrainingStopped
from ltlib.evaluation.evaluate import predict, report_card
from ltlib.experiments import execute as executing
from ltlib.experiments import runs
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.results import formats, records, views
from ltlib.results.table import table

SMOKE = Experiment(profile="smoke")


def test_a_run_folder_holds_everything_a_reader_needs():
    run = execute(SMOKE)
    info = run.info
    assert run.state == info["state"] == "finished"
    assert info["experiment"]["profile"] == "smoke"
    assert info["command"] == "python -m ltlib train --method cross_entropy --dataset glyphs --profile smoke"
    assert info["data"]["counts"] == longtail.class_counts(10, 100, 100).tolist()
    assert info["hardware"]["device"]
    assert info["versions"]["torch"] == torch.__version__.split("+")[0]
    assert [r["epoch"] for r in run.metrics] == [1, 2]
    stored = run.predictions()
    assert stored["logits"].dtype == np.float32
    assert report_card(stored["logits"], stored["labels"], stored["counts"]) == info["metrics"]


def test_stored_weights_give_the_stored_predictions():
    run = execute(SMOKE)
    planned = plan(SMOKE)
    data, method = planned.data, planned.build().to(memory_format=torch.channels_last)
    method.load_state_dict(load_file(run.folder / "weights.safetensors"))
    logits = predict(method, on_device(data.test, torch.device("cpu"))[0])
    np.testing.assert_allclose(logits.numpy(), run.predictions()["logits"], rtol=1e-4, atol=1e-5)


def test_a_finished_run_is_reloaded_and_not_touched(capsys, monkeypatch):
    first = execute(SMOKE)
    before = {p.name: p.stat().st_mtime_ns for p in first.folder.iterdir() if p.name != ".lock"}
    monkeypatch.setattr(executing, "Engine", None)  # would fail if it trained
    assert execute(SMOKE).info == first.info
    assert {p.name: p.stat().st_mtime_ns for p in first.folder.iterdir() if p.name != ".lock"} == before
    assert "is finished" in capsys.readouterr().out


def test_an_interrupted_run_resumes_to_the_same_result(monkeypatch, tmp_path):
    whole = execute(SMOKE, tmp_path / "whole")

    def stop(self, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(executing.Progress, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        execute(SMOKE, tmp_path / "part")
    (part,) = runs.all_runs(tmp_path / "part")
    assert part.state == "interrupted"
    # As if the process died between the checkpoint and the line that follows it.
    (part.folder / "metrics.jsonl").write_text("")
    monkeypatch.undo()
    resumed = execute(SMOKE, tmp_path / "part")
    assert resumed.id == whole.id
    assert (resumed.folder / "weights.safetensors").read_bytes() == (whole.folder / "weights.safetensors").read_bytes()
    assert [r["loss"] for r in resumed.metrics] == [r["loss"] for r in whole.metrics]
    assert resumed.info["metrics"] == whole.info["metrics"]


def test_validation_is_held_out_of_training_and_measured():
    run = execute(Experiment(profile="smoke", overrides="validation=0.2, evaluate_every=1"))
    assert sum(run.info["data"]["counts"]) + run.info["data"]["validation_images"] == sum(
        longtail.class_counts(10, 100, 100)
    )
    assert all("validation_accuracy" in r for r in run.metrics)
    assert run.info["best_epochs"]["validation_accuracy"]["epoch"] in (1, 2)


def test_the_best_epoch_on_held_out_images_is_what_a_run_reports(monkeypatch, tmp_path):
    overrides = "epochs=3, validation=0.2, keep_every=1, keep=best_on_validation"
    scores = iter([0.0, 0.2, 0.0, 0.6, 0.0, 0.4])  # test and held-out images, in three epochs
    monkeypatch.setattr("ltlib.training.engine.accuracy", lambda logits, labels: next(scores))
    run = execute(Experiment(profile="smoke", overrides=overrides), tmp_path, quiet=True)
    assert run.info["reported_epoch"] == 2
    assert run.info["recipe"]["keep"] == "best_on_validation"
    assert (run.folder / "weights.safetensors").read_bytes() == run.kept_epochs()[2].read_bytes()
    assert (run.folder / "weights.safetensors").read_bytes() != run.kept_epochs()[3].read_bytes()
    x, logits = (
        prepare(Experiment(profile="smoke"), resolve(Experiment(profile="smoke"))[0]),
        run.predictions()["logits"],
    )
    again = load(run).logits(to_float(torch.from_numpy(x.test.pixels[:50])))
    torch.testing.assert_close(again, torch.from_numpy(logits[:50]), rtol=1e-4, atol=1e-4)
    record = records.of_run(run)
    assert (record.reported_epoch, record.reported) == (2, "best epoch on validation")
    assert views.per_run([record])[0]["reported"] == "best epoch on validation"
    assert views.summary([record])[0]["reported"] == "best epoch on validation"
    assert "numbers of the best epoch on validation" in views.of_runs([run])
    (row,) = table([record])
    assert row.columns()["reported"] == "best epoch on validation"
    assert "numbers of the best epoch on validation" in views.sheet([row]).foot


def test_the_best_epoch_needs_held_out_images(tmp_path):
    with pytest.raises(InputError, match=r"keep=best_on_validation .* validation=0 .* such as validation=0.1"):
        plan(Experiment(profile="smoke", overrides="keep=best_on_validation"), runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_last_epoch_is_the_default_and_keeps_run_ids(tmp_path):
    usual = plan(Experiment(profile="smoke"), runs_dir=tmp_path)
    assert usual.recipe.keep == "last"
    assert "keep" not in usual.identity()


def test_natural_keeps_a_folder_as_it_is_and_numbers_its_classes_from_the_head(image_folder):
    root = image_folder((4, 30, 7))
    experiment = Experiment(dataset="folder", data_dir=str(root), imbalance_type="natural", profile="smoke")
    data = prepare(experiment, resolve(experiment)[0])
    assert data.counts.tolist() == [30, 7, 4]
    assert data.class_names == ("class1", "class2", "class0")
    assert data.subset_sha256 == ""
    for split, images in (("train", data.train), ("test", data.test)):
        for c, name in enumerate(data.class_names):
            first = np.asarray(Image.open(root / split / name / "000.png")).transpose(2, 0, 1)
            assert np.array_equal(images.pixels[images.labels == c][0], first)


def test_thinning_a_folder_takes_what_it_allows(image_folder):
    root = image_folder((30, 30, 30))
    experiment = Experiment(dataset="folder", data_dir=str(root), imbalance_factor=10, profile="smoke")
    data = prepare(experiment, resolve(experiment)[0])
    assert data.counts.tolist() == [30, 9, 3]
    mean = data.train.pixels.mean(axis=(0, 2, 3)) / 255
    assert data.mean == pytest.approx(mean)


def test_a_run_in_use_is_refused():
    run = execute(SMOKE)
    run.update(state="running")
    assert run.state == "interrupted"
    code = (
        "import sys, pathlib\nfrom ltlib.experiments.runs import Run\n"
        f"with Run(pathlib.Path({str(run.folder)!r})).locked():\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        assert run.state == "running"
        with pytest.raises(InputError, match="in use by another process"):
            execute(SMOKE)
    finally:
        holder.kill()
        holder.wait()
    assert run.state == "interrupted"


def test_failed_training_is_recorded_with_its_reason(monkeypatch):
    experiment = Experiment(profile="smoke", overrides="lr=1e30")
    with pytest.raises(TrainingStopped, match="is not finite"):
        execute(experiment)
    (run,) = runs.all_runs()
    assert run.state == "failed"
    assert "is not finite" in run.info["reason"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"imbalance_factor": 5000}, "larger than these data allow"),
        ({"overrides": "n_max=200", "dataset": "digits"}, "n_max=200 is more than these data allow"),
        ({"overrides": "num_classes=99"}, "2 to 65 classes"),
        ({"method": "mixup", "overrides": "alpha=0"}, "alpha must be above 0"),
        ({"dataset": "folder"}, "needs data_dir"),
    ],
)
def test_bad_input_leaves_nothing_behind(fields, message):
    with pytest.raises(InputError, match=message):
        execute(Experiment(profile="smoke", **fields))
    assert not paths.runs_root().exists()


def test_a_checkpoint_of_another_model_is_refused_and_kept(tmp_path):
    run = execute(SMOKE)
    other = execute(Experiment(profile="smoke", overrides="backbone=resnet14"))
    content = other.checkpoint.read_bytes()
    run.checkpoint.write_bytes(content)
    run.update(state="interrupted")
    with pytest.raises(InputError, match="backbone is 'resnet14', not 'resnet8'"):
        execute(SMOKE)
    assert run.checkpoint.read_bytes() == content


def test_damaged_run_file_is_named(tmp_path):
    run = execute(SMOKE)
    (run.folder / "run.json").write_text('{"state": "fin')
    with pytest.raises(InputError, match=r"run\.json cannot be read"):
        execute(SMOKE)


def test_runs_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LTLIB_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(InputError, match="set LTLIB_RUNS"):
        execute(SMOKE)


def test_read_only_disk(small_disk, monkeypatch):
    disk = small_disk("ro")
    monkeypatch.setenv("LTLIB_RUNS", str(disk / "runs"))
    with pytest.raises(InputError, match="Read-only file system.*set LTLIB_RUNS"):
        execute(SMOKE)


def test_disk_that_fills_during_training_keeps_the_last_good_epoch(small_disk, monkeypatch):
    experiment = Experiment(profile="smoke", overrides="epochs=4")
    disk = small_disk("size=3m")
    monkeypatch.setenv("LTLIB_RUNS", str(disk))

    def fill(self, record):
        # Checkpoints are written in the background, and what one of them frees is filled after the next epoch.
        with (disk / "filler").open("ab") as filler:
            filler.write(b"0" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))

    monkeypatch.setattr(executing.Progress, "__call__", fill)
    with pytest.raises(InputError, match="No space left on device.*the run resumes"):
        execute(experiment)
    monkeypatch.undo()
    monkeypatch.setenv("LTLIB_RUNS", str(disk))
    (disk / "filler").unlink()
    run = execute(experiment)
    assert run.state == "finished"
    assert [r["epoch"] for r in run.metrics] == [1, 2, 3, 4]


def test_find_and_table():
    run = execute(SMOKE)
    assert runs.find(run.id[:20]).folder == run.folder
    with pytest.raises(InputError, match="Did you mean"):
        runs.find(run.id + "x")
    (row,) = views.per_run([records.of_run(run)])
    assert row["accuracy"] == run.info["metrics"]["accuracy"]
    assert views.per_run([records.of_run(run)], "threshold")[0]["many"] is None  # no class has more than 100 images
    text = formats.as_text([row])
    assert f"{row['accuracy']:.1%}" in text
    assert row["many"] is not None  # by the default rule, which goes by the order of the classes


def test_run_json_is_strict_json():
    run = execute(SMOKE)

    def refuse(name):
        raise AssertionError(name)

    json.loads((run.folder / "run.json").read_text(), parse_constant=refuse)
    assert os.listdir(run.folder).count("run.json") == 1
