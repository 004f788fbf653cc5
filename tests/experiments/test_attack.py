"""Attacking finished runs from the command line."""

import json

import pytest

from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments.attack import attack_command, attack_of, measure, robust_reports
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment


@pytest.fixture
def run():
    return execute(Experiment(method="at", profile="smoke", overrides="attack_steps=1"))


def test_report_is_stored_in_the_run_and_shown(run, capsys):
    assert main(["robust", run.id, "--attack", "pgd20", "--epsilon", "0.01", "--images", "40"]) == 0
    out = capsys.readouterr().out
    assert "PGD-20, linf epsilon 0.01000, 40 images" in out
    assert "two passes give the same logits" in out
    (report,) = robust_reports(run)
    assert (report["run"], report["epsilon"], report["images"]) == (run.id, 0.01, 40)
    assert report["attack"] == "pgd20"
    assert report["data"] == run.info["data"]["name"]
    assert report["attacks"]["PGD-20"]["step_size"] == pytest.approx(0.001)
    assert 0 <= report["robust_accuracy"] <= report["clean_accuracy"]
    assert main(["robust", run.id, "--attack", "pgd20", "--epsilon", "0.01", "--images", "40"]) == 0
    assert "measured already" in capsys.readouterr().out
    assert main(["runs", "show", run.id]) == 0
    assert "PGD-20, linf epsilon 0.01000, 40 images" in capsys.readouterr().out
    assert measure(run, epsilon=0.01, attack="pgd20", images=40) == report


def test_epsilon_may_be_a_fraction_and_comes_back_as_one(run):
    assert main(["robust", run.id, "--attack", "cw20", "--epsilon", "2/255", "--images", "8"]) == 0
    (report,) = robust_reports(run)
    assert report["epsilon"] == 2 / 255
    assert report["attacks"]["CW-20"]["loss"] == "margin"
    expected = f"python -m ltlib robust {run.id} --attack cw20 --epsilon 2/255 --norm linf --images 8"
    assert attack_command(report) == expected
    assert main(attack_command(report).split()[3:]) == 0
    assert len(robust_reports(run)) == 1


def test_a_report_of_the_first_version_tells_its_attack_by_its_parts(run):
    for key, name in (("pgd20", "PGD-20"), ("ensemble", "APGD-CE + APGD-T + Square"), ("official", "AutoAttack")):
        stored = {"attacks": {part: {} for part in name.split(" + ")}}
        assert attack_of(stored) == key
        assert attack_of(stored | {"attack": "eot"}) == "eot"


@pytest.mark.parametrize(("text", "message"), [("epsilon=8", "Did you mean 8/255?"), ("epsilon=nan", "got nan")])
def test_the_radius_of_the_training_attack_is_checked_as_well(text, message):
    with pytest.raises(InputError, match=message):
        execute(Experiment(method="at", profile="smoke", overrides=text))
    assert Experiment.parse(method="at", overrides="epsilon=8/255")


def test_another_run_is_the_surrogate(run):
    other = execute(Experiment(method="cross_entropy", profile="smoke"))
    report = measure(run, epsilon=0.01, attack="pgd20", images=20, surrogate=other)
    assert any("another model's" in check["name"] for check in report["checks"])


def test_the_transfer_table_has_a_row_for_each_source_and_is_stored(run, capsys):
    other = execute(Experiment(method="cross_entropy", profile="smoke"))
    flags = ["--attack", "transfer", "--epsilon", "0.01", "--images", "20"]
    assert main(["robust", run.id, *flags, "--surrogate", f"{other.id},{run.id}"]) == 0
    out = capsys.readouterr().out
    assert "its own (white box)" in out
    assert other.id in out
    (file,) = run.folder.glob("transfer-*.json")
    table = json.loads(file.read_text())["table"]
    assert list(table) == [run.id, other.id]
    white_box = measure(run, epsilon=0.01, attack="pgd20", images=20)
    assert set(table[run.id]) == {"PGD-20", "CW-20"}
    # the same attack with the same seed; the report starts from images that are right, the table from all
    assert table[run.id]["PGD-20"] <= white_box["robust_accuracy"] + 0.1
    assert main(["robust", run.id, *flags]) == 2
    assert "A transfer table needs other runs" in capsys.readouterr().err
    fewer = execute(Experiment(method="cross_entropy", profile="smoke", overrides="num_classes=4"))
    assert main(["robust", run.id, *flags, "--surrogate", fewer.id]) == 2
    assert "has other classes than" in capsys.readouterr().err
    assert main(["robust", run.id, "--surrogate", f"{other.id},{fewer.id}"]) == 2
    assert "takes one surrogate" in capsys.readouterr().err


def test_bad_input_gets_one_sentence(run, capsys):
    before = sorted(run.folder.iterdir())
    for flags, message in (
        (["--attack", "pgd"], "attack 'pgd' is not known"),
        (["--epsilon", "big"], "epsilon"),
        (["--epsilon", "-1"], "epsilon must be a finite number, at least 0"),
        (["--epsilon", "8"], "Did you mean 8/255?"),
        (["--epsilon", "8/0"], "epsilon must be a number; got '8/0'"),
        (["--epsilon", "nan"], "at least 0; got nan"),
        (["--epsilon", "inf"], "at least 0; got inf"),
        (["--epsilon", "0"], "epsilon 0 allows no change of an image"),
        (["--images", "-3"], "images must be at least 0"),
        (["--norm", "l1"], "norm 'l1' is not known"),
        (["--surrogate", "nobody"], "No run is called 'nobody'"),
    ):
        assert main(["robust", run.id, *flags]) == 2
        assert message in capsys.readouterr().err
    run.update(data=run.info["data"] | {"fingerprint": "other"})
    with pytest.raises(InputError, match="have changed since it was trained"):
        measure(run)
    run.update(state="failed")
    with pytest.raises(InputError, match="is failed: finish it"):
        measure(run)
    assert sorted(run.folder.iterdir()) == before
    assert json.loads((run.folder / "run.json").read_text())["state"] == "failed"
