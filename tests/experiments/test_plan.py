"""What a plan settles, that it writes nothing, and which changes make another run of it."""

from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import pytest
import torch

import ltlib
from ltlib import paths
from ltlib.__main__ import main
from ltlib.errors import InputError
from ltlib.experiments import plan as planning
from ltlib.experiments import runs
from ltlib.experiments.execute import about, execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import REVISION, as_lines, plan
from ltlib.experiments.recipe import settle
from tests.experiments import defaults

SMOKE = Experiment(profile="smoke")
TINY = "image_size=8, num_classes=3, n_max=20, test_per_class=5, epochs=1"  # for what is trained


def smoke(**fields) -> Experiment:
    return Experiment(**({"profile": "smoke"} | fields))


def tiny(method: str, more: str = "") -> Experiment:
    return smoke(method=method, imbalance_factor=2, overrides=", ".join(filter(None, (TINY, more))))


def test_everything_that_decides_a_result_changes_the_run_id():
    changes = (
        {},
        {"seed": 1},
        {"method": "mixup"},
        {"method": "mixup", "overrides": "alpha=0.5"},
        {"imbalance_factor": 10},
        {"imbalance_type": "step"},
        {"dataset": "digits"},
        {"overrides": "lr=0.05"},
        {"overrides": "validation=0.2"},
    )
    ids = [plan(smoke(**c)).run_id() for c in changes]
    ids.append(plan(SMOKE, processes=2).run_id())
    assert len(set(ids)) == len(changes) + 1
    assert plan(SMOKE).run_id() == ids[0]
    assert plan(SMOKE).with_seed(1).run_id() == ids[1]


def test_what_decides_nothing_leaves_the_run_id_alone(image_folder, tmp_path, monkeypatch):
    expected = plan(SMOKE).run_id()
    assert plan(smoke(overrides="keep_every=1, lr=0.1")).run_id() == expected  # 0.1 is the default
    monkeypatch.setattr(ltlib, "__version__", "99.0")
    assert plan(SMOKE).run_id() == expected
    root = image_folder((12, 6))
    mine = plan(smoke(dataset="folder", data_dir=str(root), imbalance_type="natural")).run_id()
    root.rename(tmp_path / "moved")
    assert plan(smoke(dataset="folder", data_dir=str(tmp_path / "moved"), imbalance_type="natural")).run_id() == mine


def test_another_revision_of_results_makes_other_runs(monkeypatch):
    before = plan(SMOKE).run_id()
    monkeypatch.setattr(planning, "REVISION", REVISION + 1)
    assert plan(SMOKE).run_id() != before


def test_a_changed_default_comes_with_another_revision():
    if defaults.stored()["revision"] == REVISION:
        assert defaults.changed() == []
    assert defaults.now() == defaults.stored(), "there are new ones: python -m tests.experiments.defaults"


def test_each_setting_names_where_its_value_comes_from():
    experiment = Experiment(
        "mislas", "cifar10", imbalance_factor=50, profile="smoke", overrides="lr=0.05, smooth_tail=0.1"
    )
    recipe, own, sources = settle(experiment)
    expected = {
        "batch_size": (128, "default"),
        "backbone": ("resnet8", "profile"),
        "stage2_epochs": (1, "profile"),
        "smooth_head": (0.2, "published"),
        "lr": (0.05, "override"),
        "smooth_tail": (0.1, "override"),
    }
    values = asdict(recipe) | own
    assert {name: (values[name], sources[name]) for name in expected} == expected
    assert set(sources) == set(values)
    assert settle(smoke())[2]["augmentation"] == "data set"


def test_what_follows_from_another_run_names_that_run_and_changes_nothing_in_place():
    first = execute(tiny("mixup"))
    experiment = tiny("mislas", f"stage1={first.id[:8]}")
    own = settle(experiment).own
    for _ in range(2):
        planned = plan(experiment)
        assert planned.first.id == first.id
        assert (planned.own["stage1"], planned.sources["stage1"]) == (first.id, f"run {first.id}")
        assert (planned.own["mixup_alpha"], planned.sources["mixup_alpha"]) == (0.2, f"run {first.id}")
    assert own["stage1"] == first.id[:8]
    assert plan(experiment).run_id() == plan(tiny("mislas", f"stage1={first.id}")).run_id()
    with pytest.raises(FrozenInstanceError):
        planned.recipe.epochs = 3


def test_a_plan_names_the_run_that_is_trained():
    experiment = tiny("mislas")
    planned = plan(experiment)
    assert planned.run.state == "new"
    run = execute(experiment)
    assert (run.id, run.state) == (planned.run.id, "finished")
    assert planned.epochs == len(run.metrics) == 2
    assert run.info["recipe"] == asdict(planned.recipe)
    assert run.info["hyperparameters"] == planned.own


def test_a_run_of_an_earlier_version_is_still_read_and_taken_over(capsys):
    """Its id holds the version of the package; what it is, its run.json says."""
    run = execute(tiny("mixup"))
    old = run.folder.with_name("mixup-glyphs-if2-smoke-s0-00000000")
    run.folder.rename(old)
    runs.Run(old).update(id=old.name)
    assert plan(tiny("crt", "stage1=mixup-glyphs")).first.id == old.name
    assert main(["runs", "list"]) == 0
    assert old.name in capsys.readouterr().out


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("method", "name"), [("tau_norm", "tau"), ("mixup", "alpha"), ("mislas", "lr_factor")])
def test_a_number_that_is_not_finite_is_refused(method, name, value):
    with pytest.raises(InputError, match=f"{name} must be a finite number; got {value}"):
        plan(smoke(method=method, overrides=f"{name}={value}"))
    assert not paths.runs_root().exists()


def everything_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    before = everything_below(tmp_path)
    flags = ["--method", "mislas", "--profile", "smoke", "--overrides", "lr=0.05"]
    assert main(["train", "--dry-run", *flags]) == 0
    said = capsys.readouterr().out
    assert everything_below(tmp_path) == before
    planned = plan(smoke(method="mislas", overrides="lr=0.05"))
    lines = [line.split() for line in said.splitlines()]
    assert ["run", planned.run.id, "(new)"] in lines
    assert ["lr", "0.05", "override"] in lines
    assert ["backbone", "resnet8", "profile"] in lines
    assert ["smooth_head", "0.1", "small", "data"] in lines
    assert "glyphs: 242 training, 0 validation and 200 test images, 16x16 pixels" in said
    assert "100  59  35  21  12  7  4  2  1  1" in said
    assert f"representation ({planned.recipe.epochs} epochs), classifier (1 epochs)" in said
    images = 2 * 242 + 3 * 128  # two epochs of all images, and one of three full batches for the classifier
    assert f"{images:,} images go through the training" in said
    planned.run.update(**about(planned, torch.device("cpu")) | {"state": "finished"})
    main(["train", "--dry-run", *flags])
    assert f"{planned.run.id} (finished)" in capsys.readouterr().out


def test_dry_run_names_the_run_of_every_seed(capsys):
    assert main(["train", "--dry-run", "--profile", "smoke", "--seeds", "3,4"]) == 0
    said = capsys.readouterr().out
    assert all(plan(smoke(seed=seed)).run.id in said for seed in (3, 4))
    assert not paths.runs_root().exists()


def test_a_quiet_training_leaves_no_line_of_progress_in_a_notebook(monkeypatch):
    """There the line is displayed as soon as it is made."""
    monkeypatch.setattr("ltlib.experiments.execute.Progress", lambda *_, **__: pytest.fail("a line of progress"))
    assert execute(tiny("cross_entropy"), quiet=True).state == "finished"


def test_a_quiet_training_prints_nothing(capsys):
    for _ in range(2):  # trained, then reloaded
        assert execute(tiny("cross_entropy"), quiet=True).state == "finished"
    assert capsys.readouterr().out == ""


# Which run a second stage or a guide starts from, when a method is named


def test_a_method_names_its_run_of_the_same_experiment():
    experiment = tiny("mislas", "stage1=mixup, smooth_tail=0.1")
    with pytest.raises(
        InputError, match="stage1=mixup is not trained yet: do it first with 'python -m ltlib train --me"
    ):
        plan(experiment)
    waiting = plan(experiment, pending=True)
    mixup = plan(tiny("mixup")).run
    assert waiting.waits_for.id == waiting.first.id == mixup.id
    assert not paths.runs_root().exists()
    assert execute(tiny("mixup")).id == mixup.id
    ready = plan(experiment)
    assert ready.waits_for is None
    assert ready.run_id() == waiting.run_id() == plan(tiny("mislas", f"stage1={mixup.id}, smooth_tail=0.1")).run_id()
    other = waiting.with_seed(5)
    assert other.waits_for.id == plan(replace(tiny("mixup"), seed=5)).run_id()
    assert other.run_id() != waiting.run_id()


def test_a_guide_of_other_images_is_refused_by_method_too():
    with pytest.raises(InputError, match="natural_run=cross_entropy is not trained yet"):
        plan(tiny("bgat", "natural_run=cross_entropy"))
    guided = plan(tiny("bgat", "natural_run=cross_entropy"), pending=True)
    assert guided.own["natural"] == "resnet8"
    assert guided.natural.id == plan(tiny("cross_entropy")).run_id()


def test_the_settings_of_a_plan_are_one_column():
    """The longest name, stage2_mixup_alpha, is that of a method's own setting."""
    lines = as_lines(plan(Experiment(method="mislas", profile="smoke")))
    columns = {
        line.index(value)
        for name, value in (("epochs", "2 "), ("stage2_mixup_alpha", "0.0 "))
        for line in lines
        if line.startswith(f"  {name} ")
    }
    assert columns == {len("  stage2_mixup_alpha ")}
