"""LDAM-DRW: its margins, its classifier, and the epoch at which the weights enter."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.experiments.recipe import resolve
from ltlib.methods.margins import CosineClassifier, margins, with_margin
from ltlib.training.device import reproducible
from ltlib.training.engine import Engine, Options

COUNTS = torch.tensor([16, 5, 3])
CIFAR10 = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
CPU = torch.device("cpu")


def make(name, counts=COUNTS, **own):
    torch.manual_seed(0)
    return methods.make(name, models.make("resnet8", len(counts), (0.5,) * 3, (0.2,) * 3), counts, **own)


def test_margins_fall_with_the_fourth_root_of_the_counts():
    """For CIFAR-10-LT: 0.5 for 50 images, and 100^(1/4) = 3.1623 times less for 5000."""
    m = margins(CIFAR10, 0.5)
    assert m[[0, 9]].tolist() == pytest.approx([0.158114, 0.5], abs=1e-6)
    for a, b in itertools.combinations(range(10), 2):
        assert (m[b] / m[a]).item() ** 4 == pytest.approx((CIFAR10[a] / CIFAR10[b]).item(), rel=1e-5)


def test_the_margin_lowers_the_true_logit_alone():
    z = torch.arange(6.0).view(2, 3)
    expected = torch.tensor([[0.0, 1.0, 2.0 - 0.3], [3.0 - 0.1, 4.0, 5.0]])
    torch.testing.assert_close(with_margin(z, torch.tensor([2, 0]), torch.tensor([0.1, 0.2, 0.3])), expected)


def test_cosine_classifier_knows_only_angles():
    linear = torch.nn.Linear(5, 4)
    classifier = CosineClassifier(linear, 7.0)
    f = torch.randn(6, 5)
    expected = torch.stack([7 * F.cosine_similarity(f, linear.weight[k].expand_as(f)) for k in range(4)], dim=1)
    torch.testing.assert_close(classifier(f), expected)
    torch.testing.assert_close(classifier(100 * f), expected)
    with torch.no_grad():
        classifier.weight[0] *= 3
    torch.testing.assert_close(classifier(f), expected)


def test_gradient_of_the_cosine_classifier_by_finite_differences():
    torch.manual_seed(0)
    classifier = CosineClassifier(torch.nn.Linear(4, 3), 2.0).double()
    f, w = torch.randn(5, 4, dtype=torch.double), classifier.weight.detach()

    def call(f, w):
        return torch.func.functional_call(classifier, {"weight": w}, (f,))

    assert torch.autograd.gradcheck(call, (f.requires_grad_(), w.requires_grad_()))


@pytest.mark.parametrize("late", [False, True])
def test_loss_of_ldam_by_hand(late):
    """-log of exp(s (cos_y - m_y)) over that plus the others' exp(s cos_k), weighted once the weights are in."""
    method = make("ldam", drw_start=0.0 if late else 1.0, scale=5.0, max_margin=0.4, cb_beta=0.9)
    method.begin(method.stages(10, "constant")[0])
    method.eval()
    batch = Batch(torch.rand(9, 3, 8, 8), torch.arange(9) % 3)
    f = method.network.features(batch.x)
    cos = torch.stack([F.cosine_similarity(f, row.expand_as(f)) for row in method.network.classifier.weight], dim=1)
    effective = torch.tensor([(1 - 0.9**n) / 0.1 for n in COUNTS.tolist()])
    weight = (1 / effective) / (1 / effective).mean() if late else torch.ones(3)
    losses, m = [], [0.4 * (3 / n) ** 0.25 for n in COUNTS.tolist()]
    for c, y in zip(cos, batch.y.tolist(), strict=True):
        true = torch.exp(5 * (c[y] - m[y]))
        others = sum(torch.exp(5 * c[k]) for k in range(3) if k != y)
        losses.append(-weight[y] * torch.log(true / (true + others)))
    expected = sum(losses) / weight[batch.y].sum()
    torch.testing.assert_close(method.loss(batch), expected)
    torch.testing.assert_close(method.logits(batch.x), 5 * cos)  # no margin at test time


class Watched:
    """Notes of every step whether its loss was the plain one, the weighted one, or both (a batch of one class)."""

    def training_logits(self, batch):
        self.z = super().training_logits(batch)
        return self.z

    def loss(self, batch):
        loss = super().loss(batch)
        plain, weighted = (F.cross_entropy(self.z, batch.y, weight=w) for w in (None, self.weights))
        self.noted.append({n for n, value in (("plain", plain), ("weighted", weighted)) if torch.equal(loss, value)})
        return loss


def entered(noted):
    """Whether the weights count in the second half of the steps and in no other."""
    half = len(noted) // 2
    first = all("plain" in step for step in noted[:half]) and {"plain"} in noted[:half]
    return first and all("weighted" in step for step in noted[half:]) and {"weighted"} in noted[half:]


def engine(name, seed=0):
    """Six epochs on 24 images in batches of 10, so three steps an epoch; weights from epoch 4 on."""
    method = make(name, drw_start=0.5)
    method.__class__ = type("Watched", (Watched, type(method)), {})
    method.noted = []
    torch.manual_seed(1)
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(3).repeat_interleave(COUNTS)
    options = Options(6, batch_size=10, precision="float32", evaluate_every=6)
    return Engine(method, (images, labels), options, {"test": (images, labels)})


def fit(e, file, until=6):
    def stop(record):
        if record["epoch"] == until:
            raise KeyboardInterrupt

    with reproducible(5, CPU):
        e.resume(file, {})
        if until < 6:
            with pytest.raises(KeyboardInterrupt):
                e.fit(file, {}, stop)
        else:
            e.fit(file, {}, lambda record: None)
    return e


@pytest.mark.parametrize("name", ["ce_drw", "ldam"])
def test_weights_enter_exactly_at_their_epoch_also_after_a_resume(tmp_path, name):
    whole = fit(engine(name), tmp_path / "whole.pt").method
    assert len(whole.noted) == 18
    assert entered(whole.noted)
    for stop in (2, 3, 4):  # before, at and after
        file = tmp_path / f"{stop}.pt"
        noted = fit(engine(name), file, until=stop).method.noted
        resumed = fit(engine(name), file).method
        assert len(noted + resumed.noted) == 18
        assert entered(noted + resumed.noted)
        assert all(torch.equal(t, resumed.state_dict()[n]) for n, t in whole.state_dict().items())


def test_published_recipes_of_the_ldam_code():
    for name in ("ce_drw", "ldam"):
        recipe, own = resolve(Experiment(method=name, dataset="cifar10", profile="paper"))
        assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (200, 128, 0.1, 2e-4)
        assert (recipe.schedule, own["drw_start"], own["cb_beta"]) == ("step_ldam", 0.8, 0.9999)
        assert resolve(Experiment(method=name))[0].schedule == "step"
    assert (own["scale"], own["max_margin"]) == (30.0, 0.5)
    assert plan(Experiment(method="ldam")).own["scale"] == 10.0  # short runs on the letters


def test_a_cosine_classifier_is_not_taken_over():
    ldam = execute(Experiment(method="ldam", profile="smoke", overrides="epochs=1"))
    before = set(ldam.folder.parent.iterdir())
    for method, overrides in (("crt", f"stage1={ldam.id}"), ("bgat", f"natural_run={ldam.id}")):
        with pytest.raises(InputError, match="cosine classifier cannot be taken over"):
            execute(Experiment(method=method, profile="smoke", overrides=overrides))
    assert set(ldam.folder.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"scale": 0.0}, "scale must be above 0; got 0.0"),
        ({"max_margin": -0.5}, "max_margin must be at least 0; got -0.5"),
        ({"drw_start": 1.1}, "drw_start is a share of the epochs, from 0 to 1; got 1.1"),
        ({"drw_start": 160}, "drw_start is a share of the epochs, from 0 to 1; got 160"),
        ({"cb_beta": 1.0}, r"cb_beta must lie in \[0, 1\)"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make("ldam", **own)
