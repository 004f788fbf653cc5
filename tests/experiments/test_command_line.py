import subprocess
import sys

import pytest

from ltlib import paths
from ltlib.__main__ import FLAGS, main
from ltlib.data.datasets import DATASETS
from ltlib.experiments.experiment import FIELDS


def test_every_field_is_a_flag():
    assert tuple(FLAGS) == FIELDS


def test_train_list_and_show(capsys):
    assert main(["train", "--profile", "smoke", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "epoch 2/2" in out
    assert "everything is in" in out
    assert main(["runs", "list"]) == 0
    assert "cross_entropy-glyphs-if100-smoke-s3" in capsys.readouterr().out
    assert main(["runs", "show", "cross"]) == 0
    out = capsys.readouterr().out
    assert "groups by rule 'papers'" in out
    assert "best test accuracy" in out


def test_a_reader_that_leaves_early_is_no_failure():
    script = f"{sys.executable} -m ltlib runs list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=paths.project(), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--method", "balance_softmax"], "Did you mean 'balanced_softmax'"),
        (["train", "--seed", "x"], "seed must be a whole number; got 'x'"),
        (["train", "--dataset", "folder", "--data-dir", "/none"], "data_dir '/none' is not a folder"),
        (["report", "--baseline", "nothing"], "method 'nothing' is not known"),
        (["report", "--profile", "smoke", "--imbalance-factor", "0.5"], "a number from 1; got 0.5"),
        (["train", "--metod", "mixup"], "'--metod' is no option here. Did you mean '--method'"),
        (["runs", "list", "now"], "'now' is no option here"),
        (["runs", "show", "abc"], "There is no run"),
        (["data", "prepare", "--imbalance-factor", "9999"], "larger than these data allow"),
    ],
)
def test_bad_input_is_one_sentence_status_two_and_nothing_written(capsys, arguments, message):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not paths.runs_root().exists()


def test_data_prepare_prints_counts_and_checksum(capsys):
    assert main(["data", "prepare", "--dataset", "digits", "--imbalance-factor", "10"]) == 0
    out = capsys.readouterr().out
    assert "digits: " in out
    assert "SHA-256 of the selected training indices: " in out


def test_data_show_names_every_set(capsys):
    assert main(["data", "show"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in DATASETS)


def test_doctor_finds_this_machine_fit(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch and torchvision match" in out
    assert "!!" not in out


def test_doctor_names_a_missing_match(monkeypatch):
    import torchvision

    from ltlib import doctor

    def broken(*arguments):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", broken)
    assert any(line.startswith("!! torchvision does not match torch") for line in doctor.examine())


def test_doctor_names_a_folder_that_is_not_writable(monkeypatch):
    import os

    from ltlib import doctor

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert any(line.startswith("!! LTLIB_RUNS") for line in doctor.examine())
