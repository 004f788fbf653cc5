"""What is refused before anything is written, and which numbers small data get."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from ltlib import paths
from ltlib.__main__ import main
from ltlib.data import datasets
from ltlib.errors import InputError
from ltlib.experiments import execute as executing
from ltlib.experiments import runs
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.experiments.recipe import settle

TINY = "image_size=8, num_classes=3, n_max=20, test_per_class=5, epochs=1"  # for what is trained


def smoke(**fields) -> Experiment:
    return Experiment(**({"profile": "smoke"} | fields))


def tiny(method: str, more: str = "") -> Experiment:
    return smoke(method=method, imbalance_factor=2, overrides=", ".join(filter(None, (TINY, more))))


# What fails before anything is written


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"overrides": "validation=0.1, n_max=4"}, "holds out no image"),
        ({"overrides": "sync_bn=true"}, "sync_bn=true needs GPUs"),
        ({"method": "crt", "overrides": "epochs=1000000"}, "1,000,001 epochs together"),
        ({"overrides": "epochs=10000000"}, "epochs must be at most 1,000,000"),
        ({"overrides": "batch_size=10000000"}, "batch_size must be at most 100,000"),
        ({"overrides": f"n_max=1{'0' * 30}"}, "n_max must be at most 1,000,000,000"),
        ({"overrides": "n_max=100000000"}, "lower n_max"),
        ({"overrides": "test_per_class=100000000"}, "lower n_max, test_per_class"),
        ({"overrides": "lr=nan"}, "lr must be at least 0"),
        ({"method": "bgat"}, "bgat is guided by a trained network"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_the_plan(fields, message, capsys):
    fields = {"imbalance_factor": 2} | fields
    with pytest.raises(InputError, match=message):
        plan(smoke(**fields))
    flags = [f for name, value in fields.items() for f in (f"--{name.replace('_', '-')}", str(value))]
    for verb in ("train", "report"):
        assert main([verb, "--profile", "smoke", *flags]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert not paths.runs_root().exists()


def test_a_baseline_that_cannot_be_trained_stops_the_report_before_it_starts(capsys):
    assert main(["report", "--profile", "smoke", "--baseline", "bgat"]) == 2
    assert "bgat is guided" in capsys.readouterr().err
    assert not paths.runs_root().exists()


LAST = "num_classes=2, n_max=12, test_per_class=4, epochs=1, image_size=32, backbone=resnet10"  # 1x1 before its mean


@pytest.mark.parametrize(
    ("method", "batch", "processes", "fits"),
    [
        ("cross_entropy", 23, 1, False),  # 24 images: 23 and 1
        ("cross_entropy", 8, 1, True),
        ("cross_entropy", 24, 24, False),  # one image for each process
        ("cross_entropy", 8, 5, False),
        ("cross_entropy", 8, 4, True),
        ("reslt", 23, 1, True),  # full batches only
        ("mixup", 23, 1, False),
        ("crt", 23, 1, False),
    ],
)
def test_a_batch_of_one_image_is_refused_where_batch_norm_cannot_take_it(method, batch, processes, fits):
    experiment = smoke(method=method, imbalance_factor=1, overrides=f"{LAST}, batch_size={batch}")
    if fits:
        assert plan(experiment, processes=processes).data.counts.tolist() == [12, 12]
        return
    with pytest.raises(InputError, match=f"With 24 training images and batch_size={batch} a batch has only one image"):
        plan(experiment, processes=processes)


def test_a_batch_of_one_image_is_trained_where_batch_norm_can_take_it():
    overrides = f"{LAST}, batch_size=23".replace("resnet10", "resnet8")
    assert execute(smoke(imbalance_factor=1, overrides=overrides), quiet=True).state == "finished"


def test_classes_too_small_for_validation_are_counted(capsys):
    experiment = smoke(imbalance_factor=10, overrides="n_max=10, validation=0.2, image_size=8, epochs=1")
    main(["train", "--dry-run", "--profile", "smoke", "--imbalance-factor", "10", "--overrides", experiment.overrides])
    counts = [10, 7, 5, 4, 3, 2, 2, 1, 1, 1]  # int(10 * 10 ** (-i / 9))
    without = sum(round(0.2 * count) == 0 for count in counts)
    assert f"no validation image of {without} of 10 classes" in capsys.readouterr().out
    execute(experiment)
    assert f"no validation image of {without} of 10 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has"), "CUDA out of memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
            "8 b",
        ),
        (MemoryError("Unable to allocate 3.00 GiB for an array"), "3.00 GiB"),
        (MemoryError(), "no more could be had"),
    ],
)
def test_memory_that_is_full_names_the_batch_size(monkeypatch, error, said):
    def full(*_):
        raise error

    monkeypatch.setattr(executing.Engine, "fit", full)
    with pytest.raises(
        InputError, match="not enough memory for batch_size=128 with resnet8 on images of 8x8"
    ) as caught:
        execute(tiny("cross_entropy"))
    assert said in str(caught.value)
    (run,) = runs.all_runs()
    assert (run.state, run.info["reason"]) == ("failed", str(caught.value))


def test_another_error_stays_what_it_is(monkeypatch):
    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(executing.Engine, "fit", broken)
    with pytest.raises(RuntimeError, match="something else"):
        execute(tiny("cross_entropy"))


# Numbers for small and easy data go by the size of the data, not by its name


def as_folder(root: Path, dataset: str) -> Path:
    """The images of a data set that comes with the course, as a reader's own folder."""
    data = datasets.load(dataset)
    for split, images in (("train", data.train), ("test", data.test)):
        for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
            folder = root / split / data.class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number:04d}.png")
    return root


@pytest.mark.parametrize(("method", "name"), [("mixup", "alpha"), ("ldam", "scale"), ("mislas", "smooth_head")])
def test_the_digits_as_a_folder_get_the_numbers_of_the_digits(tmp_path, method, name):
    root = as_folder(tmp_path / "mine", "digits")
    built_in = plan(Experiment(method, "digits"))
    mine = plan(Experiment(method, "folder", data_dir=str(root)))
    assert mine.own == built_in.own
    assert (
        mine.sources["alpha" if method == "mixup" else "scale" if method == "ldam" else "smooth_head"] == "small data"
    )
    larger = plan(Experiment(method, "folder", data_dir=str(root), overrides="image_size=32"))
    longer = plan(Experiment(method, "folder", data_dir=str(root), overrides="epochs=20000"))
    assert larger.own == longer.own == settle(Experiment(method, "folder")).own != mine.own
