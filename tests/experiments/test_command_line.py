import json
import subprocess
import sys

import pytest

from ltlib import paths
from ltlib.__main__ import main
from ltlib.data.datasets import DATASETS
from ltlib.experiments.experiment import FIELDS, Experiment, meanings
from ltlib.experiments.recipe import Recipe
from tests.experiments import words


def test_every_field_is_described_once_and_told_everywhere(capsys):
    assert tuple(meanings(Experiment)) == FIELDS
    assert set(meanings(Recipe)) == set(Recipe.__dataclass_fields__)
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for meaning in (meanings(Experiment) | meanings(Recipe)).values():
        assert meaning.replace("`", "") in said
    again = "run python -m tests.experiments.words"
    assert words.TABLE.search(words.README.read_text())[0] == words.table(), again
    cell = "".join(words.parameters(json.loads(words.FULL_RUN.read_text()))["source"])
    assert words.with_comments(cell) == cell, again


def test_what_a_docstring_says_is_found_in_its_bases_too():
    class Base:
        """One.

        Attributes:
            first: of two
                lines.
            second, third: alike.

        Raises:
            InputError: never.
        """

    expected = {"first": "of two lines.", "second": "alike.", "third": "alike."}
    assert meanings(Base) == expected
    assert meanings(type("Silent", (Base,), {})) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "The following arguments are required: COMMAND"),
        (["trian"], "There is no command 'trian'. Did you mean 'train'?"),
        (["runs", "lst"], "There is no command 'lst'. Did you mean 'list'?"),
        (["train", "--seed"], "Argument --seed: expected one argument"),
        (["sweep"], "The following arguments are required: file"),
        (["train", "--seeds", ""], "--seeds is empty"),
        (["results", "--to", ""], "--to is empty"),
        (["runs", "export", "x", "--to", ""], "--to is empty"),
    ],
)
def test_a_command_that_cannot_be_read_is_one_sentence(capsys, arguments, message):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1
    assert not paths.runs_root().exists()


def test_train_list_and_show(capsys):
    assert main(["train", "--profile", "smoke", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "epoch 2/2" in out
    assert "everything is in" in out
    assert main(["runs", "list"]) == 0
    assert "cross_entropy-glyphs-if100-smoke-s3" in capsys.readouterr().out
    assert main(["runs", "show", "cross"]) == 0
    out = capsys.readouterr().out
    assert "groups by the threshold rule" in out
    assert "groups by the papers rule" in out
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
