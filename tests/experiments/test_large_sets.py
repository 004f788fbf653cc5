"""The recipes of ImageNet-LT, iNaturalist 2018, Places-LT and Tiny ImageNet, from a name to what is trained.

The numbers are restated from the configurations of the official codes: MiSLAS (its ``config`` folder and data sets),
ResLT (its shell scripts), LBGAT and TRADES (their training scripts).
"""

import hashlib

import numpy as np
import pytest
import torch
from torchvision.models.resnet import BasicBlock, ResNet

from ltlib import methods
from ltlib.errors import InputError
from ltlib.experiments import prepare as preparing
from ltlib.experiments.execute import execute, load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import network as untrained
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import Recipe, resolve
from ltlib.methods.reslt import class_sets
from ltlib.models import pretrained
from ltlib.training.schedule import SCHEDULES

LARGE = ("imagenet_lt", "inaturalist2018", "places_lt")
JITTER, PLAIN = "resized_crop_flip_jitter", "resized_crop_flip"


def paper(method, dataset, overrides=""):
    return resolve(
        Experiment(method=method, dataset=dataset, profile="paper", imbalance_type="natural", overrides=overrides)
    )


# ---- MiSLAS, and the baselines that share its stage 1


@pytest.mark.parametrize("method", ["cross_entropy", "balanced_softmax", "tau_norm", "mixup", "crt", "lws", "mislas"])
@pytest.mark.parametrize(
    ("dataset", "backbone", "epochs", "weight_decay", "fixed"),
    [
        ("imagenet_lt", "resnet50", 180, 5e-4, False),  # imagenet_resnet50_stage1_mixup, _stage2_mislas
        ("inaturalist2018", "resnet50", 200, 1e-4, False),  # ina2018_resnet50_stage1_mixup, _stage2_mislas
        ("places_lt", "resnet152", 90, 5e-4, True),  # places_resnet152_stage1_mixup, _stage2_mislas
    ],
)
def test_recipe_of_mislas_and_the_baselines(method, dataset, backbone, epochs, weight_decay, fixed):
    recipe, _ = paper(method, dataset)
    assert recipe == Recipe(
        backbone=backbone,
        pretrained=fixed,
        frozen=fixed,
        epochs=epochs,
        batch_size=256,
        lr=0.1,
        momentum=0.9,
        nesterov=False,
        weight_decay=weight_decay,
        schedule="cosine",
        augmentation=JITTER,
        image_size=224,
    )


@pytest.mark.parametrize(
    ("dataset", "head", "tail"), [("imagenet_lt", 0.3, 0.0), ("inaturalist2018", 0.3, 0.0), ("places_lt", 0.4, 0.1)]
)
def test_second_stage_of_mislas(dataset, head, tail):
    own = paper("mislas", dataset)[1]
    assert (own["smooth_head"], own["smooth_tail"], own["smooth_shape"]) == (head, tail, "concave")
    assert (own["shift_bn"], own["lr_factor"], own["mixup_alpha"]) == (True, 0.05, 0.2)
    assert own["stage2_epochs"] == 10


@pytest.mark.parametrize("dataset", LARGE)
def test_mixup_of_the_baselines(dataset):
    assert paper("mixup", dataset)[1] == {"alpha": 0.2, "form": "mixup"}
    for method in ("crt", "lws"):  # Table 1 of MiSLAS has both, with mixup_alpha=0.2 and without
        assert paper(method, dataset)[1]["mixup_alpha"] == 0.0
        assert paper(method, dataset)[1]["stage2_epochs"] == 10


# ---- ResLT


@pytest.mark.parametrize(
    ("overrides", "backbone", "batch_size", "lr", "gamma", "pool_first"),
    [
        ("backbone=resnet10", "resnet10", 256, 0.1, 0.3, "always"),
        ("", "resnext50", 256, 0.1, 0.7, "evaluation"),
        ("backbone=resnext101", "resnext101", 128, 0.05, 0.7, "evaluation"),
        ("backbone=resnet50", "resnext50", 256, 0.1, 0.7, "evaluation"),  # not in the paper: as ResNeXt-50
    ],
)
def test_reslt_on_imagenet_lt(overrides, backbone, batch_size, lr, gamma, pool_first):
    recipe, own = paper("reslt", "imagenet_lt", overrides)
    assert recipe == Recipe(
        backbone=overrides.removeprefix("backbone=") or backbone,
        epochs=180,
        batch_size=batch_size,
        lr=lr,
        momentum=0.9,
        nesterov=False,
        weight_decay=5e-4,
        schedule="cosine_warmup",
        augmentation=JITTER,
        image_size=224,
    )
    assert (own["beta"], own["gamma"], own["pool_first"]) == (0.99, gamma, pool_first)
    assert (own["transform"], own["evaluation"], own["groups"]) == ("convolution", "tau_normalized", "paper")


def test_reslt_on_inaturalist():
    recipe, own = paper("reslt", "inaturalist2018")
    assert recipe == Recipe(
        backbone="resnet50",
        epochs=200,
        batch_size=256,
        lr=0.1,
        nesterov=False,
        weight_decay=1e-4,
        schedule="cosine",
        augmentation=PLAIN,  # no jitter, unlike MiSLAS
        image_size=224,
    )
    assert (own["beta"], own["gamma"], own["pool_first"]) == (0.85, 0.3, "evaluation")
    assert (own["transform"], own["evaluation"], own["groups"]) == ("convolution", "tau_normalized", "paper")
    assert len(class_sets(torch.arange(8142, 0, -1), own["groups"])) == 2  # T has no class


def test_reslt_on_places_takes_the_training_of_mislas():
    recipe, own = paper("reslt", "places_lt")
    assert recipe == paper("mislas", "places_lt")[0]
    assert own["groups"] == "counts"  # fixed sets were never published for 365 classes
    assert (own["beta"], own["gamma"], own["transform"]) == (0.99, 0.7, "convolution")


def test_rates_of_reslt_start_slowly_and_those_of_mislas_do_not():
    assert [SCHEDULES[paper("reslt", "imagenet_lt")[0].schedule](e, 180) for e in (0, 4)] == [0.2, 1.0]
    assert SCHEDULES[paper("mislas", "imagenet_lt")[0].schedule](0, 180) == 1.0


def test_reslt_learns_on_the_large_networks():
    """Its branches on 512 features of ResNet-10, in the form of the recipe."""
    recipe, own = paper("reslt", "imagenet_lt", "backbone=resnet10")
    network = untrained(
        "reslt", {"backbone": recipe.backbone, "normalize": False}, {"class_names": "abcdef", "mean": (0.5,) * 3}
    )
    method = methods.make("reslt", network, torch.tensor([300, 150, 60, 25, 12, 5]), **own | {"groups": "counts"})
    assert sum(p.numel() for p in method.branches.parameters()) == 512 * 1536 + 2 * 1536
    x = torch.rand(4, 3, 64, 64)
    assert method.branch_logits(x).shape == (3, 4, 6)


# ---- adversarial training on Tiny ImageNet


@pytest.mark.parametrize(
    ("method", "lr", "schedule", "epochs"),
    [("at", 0.1, "step_trades", 100), ("trades", 0.1, "step_trades", 76), ("lbgat", 0.01, "step_lbgat", 100)],
)
def test_adversarial_recipe_on_tiny_imagenet(method, lr, schedule, epochs):
    recipe, own = paper(method, "tiny_imagenet")
    assert recipe == Recipe(
        backbone="wrn34_10",
        epochs=epochs,
        batch_size=128,
        lr=lr,
        momentum=0.9,
        nesterov=False,
        weight_decay=2e-4,
        schedule=schedule,
        normalize=False,
        image_size=32,
    )
    assert (own["epsilon"], own["step_size"], own["attack_steps"]) == (0.031, 0.007, 10)


# ---- small


@pytest.mark.parametrize("profile", ["smoke", "lesson"])
@pytest.mark.parametrize("dataset", [*LARGE, "tiny_imagenet"])
@pytest.mark.parametrize("method", ["cross_entropy", "mislas", "reslt", "lbgat"])
def test_small_recipes_download_nothing_and_see_small_images(profile, dataset, method):
    recipe, own = resolve(Experiment(method=method, dataset=dataset, profile=profile))
    assert not recipe.pretrained
    assert not recipe.frozen
    assert 0 < recipe.image_size <= 64
    assert 0 < recipe.max_classes <= 20
    assert recipe.epochs <= 40
    if dataset in LARGE:
        assert recipe.backbone == "resnet10"
        if method == "reslt":
            assert (own["groups"], own["transform"]) == ("counts", "convolution")
            assert own["pool_first"] == ("always" if dataset == "imagenet_lt" else "evaluation")


def test_a_slice_keeps_classes_from_head_to_tail_and_their_images(image_folder):
    root = image_folder(counts=(12, 4, 9, 2, 7, 5))
    experiment = Experiment(
        dataset="folder", data_dir=str(root), imbalance_type="natural", profile="paper", overrides="max_classes=3"
    )
    sliced = prepare(experiment, resolve(experiment)[0])
    # by count: class0 12, class2 9, class4 7, class5 5, class1 4, class3 2
    assert sliced.class_names == ("class0", "class4", "class3")
    assert sliced.counts.tolist() == [12, 7, 2]
    assert np.bincount(sliced.test.labels).tolist() == [3, 3, 3]
    whole = preparing.datasets.load("folder", data_dir=str(root))
    for new, old in enumerate((0, 4, 3)):
        np.testing.assert_array_equal(
            sliced.train.pixels[sliced.train.labels == new], whole.train.pixels[whole.train.labels == old]
        )


@pytest.mark.parametrize(("most", "classes"), [(0, 6), (6, 6), (99, 6), (2, 2)])
def test_a_slice_is_never_larger_than_the_data(image_folder, most, classes):
    experiment = Experiment(
        dataset="folder",
        data_dir=str(image_folder(counts=(12, 4, 9, 2, 7, 5))),
        imbalance_type="natural",
        profile="paper",
        overrides=f"max_classes={most}",
    )
    assert prepare(experiment, resolve(experiment)[0]).num_classes == classes


# ---- a pretrained, frozen backbone in a run

FROZEN = "backbone=resnet10, pretrained=true, frozen=true, image_size=32"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """ImageNet weights of ResNet-10, which torchvision does not have, in torch's cache: the file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    torch.save(ResNet(BasicBlock, [1, 1, 1, 1]).state_dict(), folder / "new.pth")
    file = folder / f"resnet10-{hashlib.sha256((folder / 'new.pth').read_bytes()).hexdigest()[:8]}.pth"
    (folder / "new.pth").rename(file)
    monkeypatch.setitem(pretrained.PRETRAINED, "resnet10", "ResNet10_Weights")
    monkeypatch.setattr(pretrained, "address", lambda name: f"https://example.org/{file.name}")
    return file


def smoke(method="cross_entropy", overrides=FROZEN):
    return Experiment(method=method, profile="smoke", overrides=overrides)


def test_a_run_keeps_the_imagenet_weights_and_reloads_without_them(weights):
    theirs = torch.load(weights, weights_only=True)
    run = execute(smoke("mislas"))
    weights.unlink()  # the run holds all that it needs
    backbone = load(run).network.backbone
    for name, tensor in backbone.frozen.layers.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    assert not any(p.requires_grad for p in backbone.frozen.parameters())


def test_without_weights_nothing_is_written(weights, tmp_path, monkeypatch):
    weights.unlink()

    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(InputError, match="could not be downloaded .Network is unreachable.*pretrained=false"):
        execute(smoke())
    assert not (tmp_path / "runs").exists()


def test_a_second_stage_takes_over_a_frozen_first_one(weights):
    first = execute(smoke("mixup"))
    run = execute(smoke("mislas", f"{FROZEN}, stage1={first.id}"))
    assert run.state == "finished"
    thawed = FROZEN.replace("frozen=true", "frozen=false")
    with pytest.raises(InputError, match="differ in frozen"):
        execute(smoke("mislas", f"{thawed}, stage1={first.id}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("pretrained=true", "no ImageNet weights for backbone 'resnet8': choose one of resnet50, resnet101, resnet152"),
        ("backbone=resnext101, pretrained=true", "no ImageNet weights for backbone 'resnext101'"),
        ("frozen=true", "frozen=true would keep a backbone of random weights: use it with pretrained=true"),
        ("pretrained=1", "pretrained must be true or false; got '1'"),
        ("backbone=resnext50_32x4d", "Did you mean 'resnext50'"),
        ("max_classes=1", "max_classes must be 0 .all. or at least 2; got 1"),
        ("max_classes=-3", "max_classes must be at least 0; got -3"),
    ],
)
def test_what_cannot_be_is_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        resolve(Experiment(overrides=overrides))


def test_places_with_another_backbone_says_which_have_weights():
    with pytest.raises(InputError, match="choose one of resnet50.*or pretrained=false, frozen=false"):
        paper("mislas", "places_lt", "backbone=resnet10")
    recipe, _ = paper("mislas", "places_lt", "backbone=resnet50")
    assert recipe.pretrained
    assert recipe.frozen
