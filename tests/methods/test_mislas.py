"""MiSLAS, cRT and LWS: the numbers of the paper, and what each stage may change."""

import math

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.augment import mixup
from ltlib.data.loader import Batch, Loader
from ltlib.data.longtail import class_counts
from ltlib.errors import InputError
from ltlib.methods.method import Stage
from ltlib.methods.mislas import label_aware_smoothing, optimal_gap, smoothing
from ltlib.training.engine import Engine, Options

CIFAR10 = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
CIFAR100 = torch.from_numpy(class_counts(100, 500, 100.0, "exponential"))
AT = [0, 10, 20, 35, 50, 70, 99]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("concave", [0.3, 0.2414, 0.1578, 0.0960, 0.0563, 0.0320, 0.0173, 0.0085, 0.0031, 0]),
        ("linear", [0.3, 0.1786, 0.1058, 0.0622, 0.0361, 0.0204, 0.0110, 0.0054, 0.0020, 0]),
        ("convex", [0.3, 0.1219, 0.0449, 0.0158, 0.0053, 0.0017, 0.0005, 0.0001, 0, 0]),
    ],
)
def test_smoothing_of_cifar_10(shape, expected):
    torch.testing.assert_close(smoothing(CIFAR10, 0.3, 0.0, shape), torch.tensor(expected), atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("concave", [0.4, 0.3492, 0.2717, 0.1873, 0.1408, 0.1133, 0.1]),
        ("linear", [0.4, 0.2873, 0.2164, 0.1564, 0.1261, 0.1085, 0.1]),
        ("convex", [0.4, 0.2330, 0.1540, 0.1130, 0.1028, 0.1003, 0.1]),
    ],
)
def test_smoothing_of_cifar_100(shape, expected):
    torch.testing.assert_close(smoothing(CIFAR100, 0.4, 0.1, shape)[AT], torch.tensor(expected), atol=5e-5, rtol=0)


def test_smoothing_by_a_power():
    eps = smoothing(torch.tensor([110, 60, 10]), 0.4, 0.2, "power", power=3.0)
    torch.testing.assert_close(eps, torch.tensor([0.4, 0.2 + 0.2 * 0.125, 0.2]))


def test_equal_counts_have_no_head():
    assert smoothing(torch.tensor([7, 7, 7]), 0.3, 0.1).tolist() == pytest.approx([0.1] * 3)


@pytest.mark.parametrize(
    ("eps", "form", "expected"), [(0.2, "code", 0.60761), (0.2, "paper", 0.70761), (0.0, "code", 0.40761)]
)
def test_loss_vector(eps, form, expected):
    loss = label_aware_smoothing(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]), torch.full((3,), eps), form)
    assert loss.item() == pytest.approx(expected, abs=5e-6)


def test_code_form_with_one_eps_is_torchs_label_smoothing():
    torch.manual_seed(0)
    z, y = torch.randn(20, 5), torch.arange(20) % 5
    ours = label_aware_smoothing(z, y, torch.full((5,), 0.3))
    torch.testing.assert_close(ours, F.cross_entropy(z, y, label_smoothing=0.3))


@pytest.mark.parametrize("form", ["code", "paper"])
def test_gradient_by_finite_differences(form):
    torch.manual_seed(0)
    z, y = torch.randn(6, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 3, 0, 0])
    eps = torch.tensor([0.4, 0.2, 0.1, 0.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: label_aware_smoothing(z, y, eps, form), z)


@pytest.mark.parametrize("form", ["code", "paper"])
def test_optimal_gap_is_where_the_loss_is_smallest(form):
    z = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    eps = torch.full((4,), 0.3, dtype=torch.float64)
    optimizer = torch.optim.LBFGS([z], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        loss = label_aware_smoothing(z, torch.tensor([2]), eps, form)
        loss.backward()
        return loss

    optimizer.step(closure)
    gap = (z[0, 2] - z[0, [0, 1, 3]]).detach()
    assert gap.tolist() == pytest.approx([optimal_gap(0.3, 4, form)] * 3, abs=1e-5)
    assert optimal_gap(0.0, 4, form) == math.inf


@pytest.fixture
def train():
    """24 images of three classes, 16 + 6 + 2."""
    torch.manual_seed(1)
    labels = torch.tensor([0] * 16 + [1] * 6 + [2] * 2)
    return torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8), labels


def make(name, **own):
    torch.manual_seed(0)
    network = models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3)
    return methods.make(name, network, torch.tensor([16, 6, 2]), **own)


def two_epochs(method, train, schedule="constant"):
    """An engine that has finished stage 1, and the method's state at that moment."""
    options = Options(epochs=1, batch_size=8, schedule=schedule, augmentation="none", precision="float32")
    engine = Engine(method, train, options, {})
    engine._epoch()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    engine._begin(1)
    return engine, before


CLASSIFIER = {"network.classifier.weight", "network.classifier.bias"}


@pytest.mark.parametrize("shift_bn", [False, True])
@pytest.mark.parametrize(
    ("name", "learnt"), [("crt", CLASSIFIER), ("lws", {"scale"}), ("mislas", CLASSIFIER | {"scale"})]
)
def test_stage_2_changes_what_it_says_and_nothing_else(train, name, learnt, shift_bn):
    method = make(name, shift_bn=shift_bn)
    engine, before = two_epochs(method, train)
    engine._epoch()
    changed = {n for n, t in method.state_dict().items() if not torch.equal(t, before[n])}
    statistics = {n for n in before if "running_" in n or "num_batches" in n}
    assert changed == learnt | (statistics if shift_bn else set())


@pytest.mark.parametrize("shift_bn", [False, True])
def test_stage_2_normalises_with_the_batch_only_if_batchnorm_is_shifted(train, shift_bn):
    method = make("lws", shift_bn=shift_bn)
    two_epochs(method, train)
    x = train[0][:8] / 255
    fixed = method.eval().network.features(x)
    assert torch.equal(method.train().network.features(x), fixed) is not shift_bn


def test_only_crt_forgets_the_classifier(train):
    for name in ("crt", "lws", "mislas"):
        method = make(name)
        _, before = two_epochs(method, train)
        kept = torch.equal(method.network.classifier.weight, before["network.classifier.weight"])
        assert kept is (name != "crt")


def test_the_scale_multiplies_the_bias_too():
    method = make("lws").eval()
    with torch.no_grad():
        method.scale.copy_(torch.tensor([2.0, 1.0, 0.0]))
        method.network.classifier.bias.fill_(5.0)
    x = torch.rand(4, 3, 8, 8)
    plain = method.network(x)
    torch.testing.assert_close(method.logits(x), plain * torch.tensor([2.0, 1.0, 0.0]))


def test_learning_rates_of_stage_2_per_group_and_epoch(train):
    engine, _ = two_epochs(make("mislas", lr_factor=0.2), train)
    seen = []
    for _ in range(10):
        engine._epoch()
        seen.append([group["lr"] for group in engine.optimizer.param_groups])
    cosine = [0.1, 0.09755, 0.09045, 0.07939, 0.06545, 0.05, 0.03455, 0.02061, 0.00955, 0.00245]
    assert [rates[0] for rates in seen] == pytest.approx([0.2 * lr for lr in cosine], abs=5e-6)
    assert [rates[1] for rates in seen] == pytest.approx(cosine, abs=5e-6)
    assert all(g["weight_decay"] == 2e-4 and g["momentum"] == 0.9 for g in engine.optimizer.param_groups)
    assert [len(g["params"]) for g in engine.optimizer.param_groups] == [2, 1]


@pytest.mark.parametrize(("counts", "first", "second"), [(CIFAR10, 97, 98), (CIFAR100, 85, 86)])
def test_batches_an_epoch(counts, first, second):
    labels = torch.arange(len(counts)).repeat_interleave(counts)
    images = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    stages = methods.METHODS["mislas"](models.make("resnet8", len(counts), (0.5,) * 3, (0.2,) * 3), counts).stages(
        200, "step"
    )
    for stage, batches in zip(stages, (first, second), strict=True):
        loader = Loader(
            images,
            labels,
            sampler=stage.sampler,
            epochs=stage.epochs,
            batch_size=128,
            augmentation="none",
            length=stage.length,
        )
        seen = list(loader.epoch(0))
        assert len(seen) == len(loader) == batches
        sizes = [len(batch.y) for batch in seen]
        if stage.name == "classifier":
            assert set(sizes) == {128}
            drawn = torch.bincount(torch.cat([batch.y for batch in seen]))
            assert drawn.max() - drawn.min() <= 4  # one draw of the cyclic sampler
        else:
            assert sum(sizes) == len(labels)


def test_stage_1_is_mixup_or_plain():
    batch = Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)
    for alpha, like, own in ((0.0, "cross_entropy", {}), (0.7, "mixup", {"alpha": 0.7})):
        losses, states = [], []
        for method in (make("crt", mixup_alpha=alpha), make(like, **own)):
            torch.manual_seed(5)
            losses.append(method.loss(batch))
            states.append(torch.get_rng_state())
        assert torch.equal(*losses)
        assert torch.equal(*states)


def test_mixup_in_stage_2_mixes_the_smoothed_loss_of_frozen_features():
    """As the released code with MIXUP: True in a configuration of stage 2."""
    method = make("mislas", stage2_mixup_alpha=0.7)
    method.begin(Stage("classifier", 1, "class_balanced_cyclic", "cosine"))
    method.eval()
    batch = Batch(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)
    torch.manual_seed(5)
    loss = method.loss(batch)
    torch.manual_seed(5)
    x, y_a, y_b, lam = mixup(batch.x, batch.y, 0.7)
    assert not torch.equal(y_a, y_b)
    z = method.logits(x)
    expected = lam * label_aware_smoothing(z, y_a, method.eps) + (1 - lam) * label_aware_smoothing(z, y_b, method.eps)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert method.scale.grad is not None
    assert all(p.grad is None for p in method.network.backbone.parameters())


def test_without_mixup_stage_2_draws_no_random_number():
    method = make("mislas")
    method.begin(Stage("classifier", 1, "class_balanced_cyclic", "cosine"))
    before = torch.get_rng_state()
    method.loss(Batch(torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_weight_norms_have_the_scale_of_stage_2_in_them():
    method = make("mislas")
    with torch.no_grad():
        method.scale.copy_(torch.tensor([1.0, 2.0, -3.0]))
        method.network.classifier.weight.copy_(torch.eye(64)[:3] * torch.tensor([[5.0], [6.0], [7.0]]))
    torch.testing.assert_close(method.weight_norms(), torch.tensor([5.0, 12.0, 21.0]))
    assert make("cross_entropy").weight_norms().shape == (3,)


@pytest.mark.parametrize(
    ("dataset", "factor", "expected"),
    [
        ("cifar10", 100, (0.3, 0.0, False, 0.5)),
        ("cifar10", 50, (0.2, 0.0, False, 0.2)),
        ("cifar10", 10, (0.1, 0.0, False, 0.2)),
        ("cifar100", 100, (0.4, 0.1, True, 0.2)),
        ("cifar100", 50, (0.3, 0.0, True, 0.1)),
        ("cifar100", 10, (0.2, 0.0, True, 0.1)),
        ("cifar100", 200, (0.4, 0.1, True, 0.2)),
        ("cifar100", 20, (0.2, 0.0, True, 0.1)),
    ],
)
def test_published_configurations(dataset, factor, expected):
    own = methods.METHODS["mislas"].published(dataset, factor)
    assert tuple(own[n] for n in ("smooth_head", "smooth_tail", "shift_bn", "lr_factor")) == expected


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"smooth_head": 1.0}, r"must lie in \[0, 1\); got 1.0"),
        ({"smooth_tail": -0.1}, r"must lie in \[0, 1\)"),
        ({"smooth_head": 0.1, "smooth_tail": 0.2}, "smooth_head must be at least smooth_tail"),
        ({"smooth_shape": "concav"}, "Did you mean 'concave'"),
        ({"smooth_form": "slides"}, "smooth_form 'slides' is not known"),
        ({"smooth_power": 0.0}, "smooth_power must be above 0; got 0.0"),
        ({"mixup_alpha": -1.0}, "mixup_alpha must be at least 0"),
        ({"stage2_mixup_alpha": -1.0}, "stage2_mixup_alpha must be at least 0"),
        ({"stage2_epochs": 0}, "stage2_epochs must be above 0; got 0"),
        ({"lr_factor": 0.0}, "lr_factor must be above 0; got 0.0"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make("mislas", **own)
