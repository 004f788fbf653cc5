"""Stage 2 over a finished stage 1."""

import numpy as np
import pytest
import torch

from ltlib.data.augment import to_float
from ltlib.errors import InputError
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve


def smoke(method, overrides="", **fields):
    return execute(Experiment(method=method, profile="smoke", overrides=overrides, **fields))


@pytest.fixture
def mixup():
    return smoke("mixup")


@pytest.mark.parametrize("name", ["crt", "mislas"])
def test_equals_training_both_stages_in_one_run_bit_for_bit(mixup, name):
    whole = smoke(name, "mixup_alpha=0.2")
    reused = smoke(name, f"stage1={mixup.id[:8]}")
    assert reused.id != whole.id
    assert np.array_equal(whole.predictions()["logits"], reused.predictions()["logits"])
    assert reused.info["hyperparameters"]["stage1"] == mixup.id
    assert reused.info["hyperparameters"]["mixup_alpha"] == 0.2
    assert [record["stage"] for record in reused.metrics] == ["classifier"]


def test_stage_1_may_be_balanced_softmax():
    first = smoke("balanced_softmax", "mixup_alpha=0.2")
    whole = smoke("crt", "mixup_alpha=0.2, balanced=true")
    reused = smoke("crt", f"stage1={first.id}")
    assert np.array_equal(whole.predictions()["logits"], reused.predictions()["logits"])
    assert (reused.info["hyperparameters"]["mixup_alpha"], reused.info["hyperparameters"]["balanced"]) == (0.2, True)
    plain = smoke("crt", "mixup_alpha=0.2")
    assert not np.array_equal(whole.predictions()["logits"], plain.predictions()["logits"])
    with pytest.raises(InputError, match="was trained with balanced=True; leave balanced=False out"):
        smoke("crt", f"stage1={first.id}, balanced=false")


def test_bad_stage_1_is_refused_and_nothing_is_written(mixup, tmp_path):
    two_stages = smoke("lws")
    before = set(mixup.folder.parent.iterdir())
    for overrides, fields, message in (
        ("stage1=nothing", {}, "No run is called 'nothing'"),
        (f"stage1={two_stages.id}", {}, "has two stages itself"),
        (f"stage1={mixup.id}", {"imbalance_factor": 10.0}, "was trained on other images"),
        (f"stage1={mixup.id}", {"dataset": "digits"}, "was trained on other images"),
        (f"stage1={mixup.id}, backbone=resnet14", {}, "has the backbone resnet8, not resnet14"),
        (f"stage1={mixup.id}, mixup_alpha=1", {}, "was trained with mixup_alpha=0.2"),
    ):
        with pytest.raises(InputError, match=message):
            smoke("mislas", overrides, **fields)
    mixup.update(state="failed")
    with pytest.raises(InputError, match="is failed: finish it first with 'python -m ltlib train --method mixup"):
        smoke("mislas", f"stage1={mixup.id}")
    mixup.update(state="finished")
    mixup.checkpoint.unlink()
    with pytest.raises(InputError, match="has lost its checkpoint"):
        smoke("mislas", f"stage1={mixup.id}")
    assert set(mixup.folder.parent.iterdir()) == before


def test_load_gives_the_trained_method_back():
    run = smoke("mislas")
    experiment = Experiment(**run.info["experiment"])
    images = torch.from_numpy(prepare(experiment, resolve(experiment)[0]).test.pixels)
    with torch.inference_mode():
        logits = load(run).logits(to_float(images))
    np.testing.assert_allclose(logits.numpy(), run.predictions()["logits"], atol=1e-4)
    (run.folder / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="weights in .* are missing or damaged"):
        load(run)
    run.update(state="failed")
    with pytest.raises(InputError, match="is failed: finish it"):
        load(run)


def test_paper_profile_takes_the_published_configuration():
    recipe, own = resolve(Experiment(method="mislas", dataset="cifar10", profile="paper"))
    assert (recipe.epochs, own["stage2_epochs"], own["mixup_alpha"]) == (200, 10, 1.0)
    assert (own["smooth_head"], own["smooth_tail"], own["shift_bn"], own["lr_factor"]) == (0.3, 0.0, False, 0.5)
    assert resolve(Experiment(method="mislas", profile="smoke"))[1]["stage2_epochs"] == 1


def test_stage_2_goes_on_from_reslt_folded_into_one_classifier():
    reslt = smoke("reslt")
    mislas = smoke("mislas", f"stage1={reslt.id}, stage2_epochs=1")
    assert mislas.info["hyperparameters"]["mixup_alpha"] == 0
    folded = load(reslt).plain_weights(load(reslt).state_dict())
    network = load(mislas).network.state_dict()
    assert torch.equal(network["backbone.stem.0.weight"], folded["backbone.stem.0.weight"])
    images = torch.rand(4, 3, 32, 32)
    fresh = load(mislas).network
    fresh.load_state_dict(folded)
    torch.testing.assert_close(fresh(images), load(reslt).logits(images))


def test_stage_2_cannot_go_on_from_convolution_branches():
    reslt = smoke("reslt", "transform=convolution")
    before = set(reslt.folder.parent.iterdir())
    with pytest.raises(InputError, match="is not one linear classifier: use 'batch_norm'"):
        smoke("mislas", f"stage1={reslt.id}")
    assert set(reslt.folder.parent.iterdir()) == before


def test_paper_profile_takes_the_published_recipe_of_reslt():
    recipe, own = resolve(Experiment(method="reslt", dataset="cifar10", profile="paper"))
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.momentum) == (200, 128, 0.1, 0.9)
    assert (recipe.weight_decay, recipe.nesterov, recipe.schedule) == (5e-4, True, "step_reslt")
    assert (own["beta"], own["groups"], own["transform"]) == (0.998, "paper", "batch_norm")
