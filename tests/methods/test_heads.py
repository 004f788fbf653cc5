"""The classifiers of frozen features, against their formulas, and how they start."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.data.stream import Split
from ltlib.errors import InputError
from ltlib.evaluation.evaluate import class_means
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods.method import Stage, hyperparameters

COUNTS = torch.tensor([6, 3, 1])
FIRST = Stage("train", 1, "instance_balanced", "constant")


def on_features(name, number=4, **own):
    torch.manual_seed(0)
    network = models.make(models.FEATURES, 3, (0.0,) * number, (0.5,) * number)
    return methods.make(name, network, COUNTS, **own)


@pytest.fixture
def split():
    """Features of ten images in float16, and their labels."""
    torch.manual_seed(1)
    return Split(torch.randn(10, 4, 1, 1).half(), torch.repeat_interleave(torch.arange(3), COUNTS))


def test_class_means_are_the_means_of_each_class_of_what_the_network_sees(split):
    x, y, _ = split
    found = class_means(on_features("lift_head"), split, batch_size=3)
    for k in range(3):
        torch.testing.assert_close(found[k], (x[y == k].float() / 0.5).mean(0).flatten())


def test_class_means_leave_batch_norm_and_the_mode_alone():
    torch.manual_seed(0)
    method = methods.make("cross_entropy", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS).train()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    x = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8)
    y = torch.repeat_interleave(torch.arange(3), COUNTS)
    means = class_means(method, Split(x, y), batch_size=4)
    assert method.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(means[1], method.eval().network.features(x[6:9] / 255).mean(0))


def test_the_nearest_mean_is_that_of_the_largest_cosine(split):
    method = on_features("nearest_class_mean", scale=7.0)
    method.take_means(class_means(method, split))
    x = torch.randn(5, 4, 1, 1)
    by_hand = torch.stack(
        [7 * F.cosine_similarity(x.flatten(1), method.means[k].detach()[None], dim=1) for k in range(3)], dim=1
    )
    torch.testing.assert_close(method.logits(x), by_hand)


def test_on_frozen_features_the_nearest_mean_trains_nothing():
    method = on_features("nearest_class_mean")
    (stage,) = method.stages(40, "cosine")
    assert (stage.name, stage.epochs) == ("means", 1)
    method.begin(stage)
    assert [group["lr_factor"] for group in method.param_groups(stage)] == [0.0]


def test_on_images_the_representation_comes_first_and_its_classifier_is_dropped():
    torch.manual_seed(0)
    method = methods.make("nearest_class_mean", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS)
    first, second = method.stages(5, "step")
    batch = Batch(torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0]))
    method.begin(first)
    method.eval()
    torch.testing.assert_close(method.loss(batch), F.cross_entropy(method.network(batch.x), batch.y))
    assert not method.wants_means(first)
    assert method.wants_means(second)
    method.begin(second)
    assert not torch.equal(method.logits(batch.x), method.network(batch.x))
    assert {name for name, p in method.named_parameters() if p.requires_grad} == {"means"}


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5])
def test_the_loss_of_lift_is_the_adjusted_softmax_of_scaled_cosines(tau):
    method, x = on_features("lift_head", scale=5.0, tau=tau), torch.randn(6, 4, 1, 1)
    y = torch.tensor([0, 1, 2, 0, 1, 0])
    w = method.network.classifier.weight.detach()
    z = 5 * torch.stack([F.cosine_similarity(x.flatten(1), w[k][None], dim=1) for k in range(3)], dim=1)
    weighted = COUNTS.float() ** tau * z.exp()
    expected = -(weighted.gather(1, y[:, None]).squeeze(1) / weighted.sum(1)).log().mean()
    torch.testing.assert_close(method.loss(Batch(x, y)), expected)
    torch.testing.assert_close(method.logits(x), z)


def test_lift_starts_from_the_directions_of_the_class_means():
    method, means = on_features("lift_head"), torch.randn(3, 4)
    assert method.wants_means(FIRST)
    method.take_means(means)
    torch.testing.assert_close(method.network.classifier.weight.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(F.cosine_similarity(method.network.classifier.weight, means), torch.ones(3))
    assert not on_features("lift_head", start="random").wants_means(FIRST)


def test_lift_starts_from_text_features_of_the_user(tmp_path):
    words = np.random.default_rng(0).normal(size=(3, 4))
    np.save(tmp_path / "words.npy", words)
    method = on_features("lift_head", start="text", text_features=str(tmp_path / "words.npy"))
    assert not method.wants_means(FIRST)
    expected = F.normalize(torch.from_numpy(words).float())
    torch.testing.assert_close(method.network.classifier.weight.detach(), expected)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"start": "words"}, "start 'words' is not known"),
        ({"start": "text"}, "start=text and text_features=FILE go together"),
        ({"text_features": "a.npy"}, "go together; got start=class_mean"),
        ({"start": "text", "text_features": "missing.npy"}, "text_features=missing.npy cannot be read"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"tau": -1.0}, "tau must be at least 0"),
    ],
)
def test_what_lift_cannot_use_is_refused(own, message):
    with pytest.raises(InputError, match=message):
        on_features("lift_head", **own)


def test_text_features_of_another_size_are_refused(tmp_path):
    np.save(tmp_path / "words.npy", np.zeros((3, 5)))
    with pytest.raises(InputError, match=r"finite numbers of shape \(3, 4\), one row per class; got \(3, 5\)"):
        on_features("lift_head", start="text", text_features=str(tmp_path / "words.npy"))


def test_the_recipe_on_features_is_that_of_lift_but_longer():
    """utils/config.py of the released code: scale 25, rate 0.01, batches of 128, weight decay 5e-4, a cosine."""
    assert hyperparameters(methods.METHODS["lift_head"])["scale"] == 25
    recipe, own = resolve(Experiment("lift_head", "cifar10_features", profile="paper"))
    assert (recipe.lr, recipe.batch_size, recipe.weight_decay, recipe.momentum) == (0.01, 128, 5e-4, 0.9)
    assert (recipe.schedule, recipe.epochs, own["tau"]) == ("cosine", 20, 1.0)


def test_the_gradient_of_the_means_is_right_and_stops_at_the_features():
    """Finite differences along the gradient. The engine's step has rate 0 and leaves the means where they are."""
    torch.manual_seed(0)
    network = models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3)
    method = methods.make("nearest_class_mean", network, COUNTS).eval()
    stage = method.stages(2, "constant")[1]
    method.begin(stage)
    batch = Batch(torch.rand(6, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1, 2]))
    (means,) = method.param_groups(stage)[0]["params"]
    method.loss(batch).backward()
    assert all(p.grad is None for p in network.parameters())
    slope, step, values = means.grad.norm().item(), 1e-3, []
    direction = means.grad / slope
    for sign in (1, -2):
        with torch.no_grad():
            means += sign * step * direction
        values.append(method.loss(batch).item())
    # float32 resolves the loss to 1e-7, the difference of 2e-3 x slope to about 1e-4; curvature cancels.
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-2)


def test_batch_norm_moves_with_the_representation_and_not_with_the_means():
    torch.manual_seed(0)
    method = methods.make("nearest_class_mean", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS)
    first, means = method.stages(1, "constant")
    batch = Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)
    moved = []
    for stage in (first, means):
        method.begin(stage)
        before = {name: tensor.clone() for name, tensor in method.named_buffers() if "running" in name}
        method.train().loss(batch)
        moved.append(
            any(not torch.equal(tensor, before[name]) for name, tensor in method.named_buffers() if name in before)
        )
    assert moved == [True, False]
