import math

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.methods.method import hyperparameters

COUNTS = torch.tensor([100, 30, 5])


@pytest.fixture
def make():
    """A method over one and the same small network."""

    def make(name, **own):
        torch.manual_seed(0)
        return methods.make(name, models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)

    return make


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Batch(torch.rand(12, 3, 8, 8), torch.arange(12) % 3)


def reference_logits(method, batch):
    """Logits in training mode, without touching the running statistics."""
    import copy

    return copy.deepcopy(method.network)(batch.x)


def test_cross_entropy(make, batch):
    method = make("cross_entropy")
    z = reference_logits(method, batch)
    expected = -torch.log_softmax(z, 1)[torch.arange(12), batch.y].mean()
    torch.testing.assert_close(method.loss(batch), expected)


def test_mixup_is_cross_entropy_with_soft_labels(make, batch):
    method = make("mixup")
    torch.manual_seed(3)
    x, y_a, y_b, lam = methods.baselines.mixup(batch.x, batch.y, 1.0)
    soft = lam * F.one_hot(y_a, 3) + (1 - lam) * F.one_hot(y_b, 3)
    expected = F.cross_entropy(reference_logits(method, Batch(x, y_a)), soft)
    torch.manual_seed(3)
    torch.testing.assert_close(method.loss(batch), expected)


def test_resampling_chooses_its_sampler(make):
    assert make("resampling").stages(5, "step")[0].sampler == "class_balanced"
    assert make("resampling", sampler="square_root").stages(5, "step")[0].sampler == "square_root"
    assert make("cross_entropy").stages(5, "step")[0].sampler == "instance_balanced"


def test_reweighting_uses_effective_numbers_with_mean_one(make, batch):
    method = make("reweighting", cb_beta=0.99)
    effective = torch.tensor([(1 - 0.99**n) / 0.01 for n in COUNTS.tolist()])
    weights = (1 / effective) / (1 / effective).mean()
    torch.testing.assert_close(method.weights, weights)
    torch.testing.assert_close(method.loss(batch), F.cross_entropy(reference_logits(method, batch), batch.y, weights))


def test_reweighting_with_beta_zero_is_cross_entropy(make, batch):
    torch.testing.assert_close(make("reweighting", cb_beta=0.0).loss(batch), make("cross_entropy").loss(batch))


@pytest.mark.parametrize("cb_beta", [0.0, 0.99])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_by_hand(make, batch, gamma, cb_beta):
    method = make("focal", gamma=gamma, cb_beta=cb_beta)
    p = reference_logits(method, batch).double().softmax(1)[torch.arange(12), batch.y]
    w = torch.tensor([(1 - cb_beta) / (1 - cb_beta**n) for n in COUNTS.tolist()]).double()[batch.y]
    expected = (w * (1 - p) ** gamma * -p.log()).sum() / w.sum()
    torch.testing.assert_close(method.loss(batch).double(), expected)


def test_focal_loss_with_gamma_zero_is_its_cross_entropy(make, batch):
    torch.testing.assert_close(make("focal", gamma=0.0).loss(batch), make("cross_entropy").loss(batch))
    weighted = make("focal", gamma=0.0, cb_beta=0.99).loss(batch)
    torch.testing.assert_close(weighted, make("reweighting", cb_beta=0.99).loss(batch))


def test_focal_loss_has_a_gradient_where_the_network_is_certain(make, batch):
    """The slope of (1 - p)^gamma at p = 1 is infinite for gamma < 1."""
    method = make("focal", gamma=0.5)
    with torch.no_grad():
        method.network.classifier.weight.mul_(1e6)
    method.loss(batch).backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


def test_mixup_with_balanced_softmax_adds_the_counts_to_both_labels(make, batch):
    method = make("balanced_softmax", mixup_alpha=1.0)
    torch.manual_seed(3)
    x, y_a, y_b, lam = methods.baselines.mixup(batch.x, batch.y, 1.0)
    soft = lam * F.one_hot(y_a, 3) + (1 - lam) * F.one_hot(y_b, 3)
    expected = F.cross_entropy(reference_logits(method, Batch(x, y_a)) + COUNTS.log(), soft)
    torch.manual_seed(3)
    torch.testing.assert_close(method.loss(batch), expected)


def test_balanced_softmax_equals_its_definition(make, batch):
    method = make("balanced_softmax")
    z = reference_logits(method, batch).double()
    n = COUNTS.double()
    p = n * z.exp() / (n * z.exp()).sum(1, keepdim=True)
    expected = -p[torch.arange(12), batch.y].log().mean()
    torch.testing.assert_close(method.loss(batch).double(), expected)
    method.eval()
    torch.testing.assert_close(method.logits(batch.x), method.network(batch.x))


def test_logit_adjustment_loss_form_with_tau_one_is_balanced_softmax(make, batch):
    ours = make("logit_adjustment", form="loss").loss(batch)
    torch.testing.assert_close(ours, make("balanced_softmax").loss(batch))


def test_posthoc_logit_adjustment_trains_plainly_and_shifts_the_logits(make, batch):
    method = make("logit_adjustment", tau=1.5)
    torch.testing.assert_close(method.loss(batch), make("cross_entropy").loss(batch))
    method.eval()
    shift = method.network(batch.x) - method.logits(batch.x)
    expected = torch.tensor([1.5 * math.log(n / 135) for n in COUNTS.tolist()])
    torch.testing.assert_close(shift, expected.expand(12, 3))


GUIDED = {"natural": "resnet8", "natural_run": "some"}
SETTINGS = {"lbgat": {"natural": "resnet8"}, "bgat": GUIDED, "dkl_distillation": GUIDED}
# Its cross-entropy holds the clean prediction fixed, which finite differences do not.
SETTINGS["dkl"] = {"alpha": 0.0, "beta": 1.0}


def each_stage():
    return [(name, i) for name in methods.METHODS for i in range(1 + ("stage1" in methods.METHODS[name].sources))]


@pytest.mark.parametrize(("name", "stage"), each_stage())
def test_loss_reaches_every_parameter_and_its_gradient_is_right(make, batch, name, stage):
    """Finite differences along the gradient, over what the stage trains."""
    method = make(name, **SETTINGS.get(name, {}))
    stage = method.stages(2, "constant")[stage]
    method.begin(stage)
    method.eval()
    if hasattr(method, "adversarial"):  # found for the weights as they are; the gradient holds it fixed
        x_adv = method.adversarial(batch)
        method.adversarial = lambda given: x_adv

    def loss():
        torch.manual_seed(7)  # mixup draws the same pairs each time
        method_loss = method.loss(batch)
        assert method_loss.shape == ()
        return method_loss

    loss().backward()
    parameters = [p for group in method.param_groups(stage) for p in group["params"]]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)
    trained = {id(p) for p in parameters}
    assert all(p.grad is None for p in method.parameters() if id(p) not in trained)
    direction = [p.grad / sum(q.grad.norm() ** 2 for q in parameters).sqrt() for p in parameters]
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, direction, strict=True)).item()
    step, values = 1e-3, []
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += sign * step * d
        values.append(loss().item())
    # float32 resolves the loss to 1e-7, the difference of 2e-3 x slope to about 1e-4; curvature cancels.
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_tau_normalisation_shortens_the_weights_and_drops_the_bias(make, batch, tau):
    method = make("tau_norm", tau=tau).eval()
    with torch.no_grad():
        method.network.classifier.bias.fill_(3.0)
    f, w = method.network.features(batch.x), method.network.classifier.weight
    by_hand = torch.stack([f @ (w[k] / w[k].square().sum().sqrt() ** tau) for k in range(3)], dim=1)
    torch.testing.assert_close(method.logits(batch.x), by_hand)


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("mixup", {"alpha": 0.0}, "alpha must be above 0; got 0.0"),
        ("focal", {"gamma": -1.0}, "gamma must be at least 0; got -1.0"),
        ("balanced_softmax", {"mixup_alpha": -1.0}, "mixup_alpha must be at least 0; got -1.0"),
        ("reweighting", {"cb_beta": 1.0}, r"cb_beta must lie in \[0, 1\); got 1.0"),
        ("resampling", {"sampler": "balanced"}, "Did you mean 'class_balanced'"),
        ("logit_adjustment", {"tau": -1.0}, "tau must be above 0"),
        ("tau_norm", {"tau": -1.0}, "tau must be at least 0; got -1.0"),
        ("logit_adjustment", {"form": "post"}, "Did you mean 'posthoc'"),
    ],
)
def test_hyperparameters_are_checked(make, name, own, message):
    with pytest.raises(InputError, match=message):
        make(name, **own)


def test_hyperparameters_are_the_keyword_arguments():
    assert hyperparameters(methods.METHODS["logit_adjustment"]) == {"tau": 1.0, "form": "posthoc"}
    assert hyperparameters(methods.METHODS["cross_entropy"]) == {}


def test_counts_are_no_weights(make):
    assert "counts" not in make("balanced_softmax").state_dict()
