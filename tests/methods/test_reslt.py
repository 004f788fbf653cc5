"""ResLT: the sets, the loss and the branches of the paper and of its released code."""

import math
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.data.longtail import class_counts
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import network as untrained
from ltlib.experiments.recipe import resolve
from ltlib.methods.reslt import ConvolutionBranches, class_sets, specialisation
from ltlib.training.engine import Engine, Options

COUNTS = torch.tensor([300, 150, 60, 25, 12, 5])  # two head classes, two medium, two tail
MEDIUM_AND_TAIL, TAIL = [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]


def make(counts=COUNTS, backbone="resnet8", **own):
    torch.manual_seed(0)
    network = models.make(backbone, len(counts), (0.5,) * 3, (0.2,) * 3)
    return methods.make("reslt", network, counts, **own)


def with_different_branches(method):
    """Branches as they may be after training: every gamma, beta and statistic its own."""
    torch.manual_seed(1)
    for module in method.branches.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data.normal_()
            module.running_var.uniform_(0.5, 2)
    return method


def batch_of(*labels):
    torch.manual_seed(2)
    return Batch(torch.rand(len(labels), 3, 8, 8), torch.tensor(labels))


# ---- the sets of classes


@pytest.mark.parametrize("factor", [10, 20, 50, 100, 200])
@pytest.mark.parametrize(("k", "n_max", "medium", "tail"), [(10, 5000, 2, 4), (100, 500, 35, 70)])
def test_fixed_sets_are_the_same_at_every_imbalance_factor(factor, k, n_max, medium, tail):
    sets = class_sets(torch.from_numpy(class_counts(k, n_max, factor)), "paper")
    expected = [list(range(first, k)) for first in (0, medium, tail)]
    assert [torch.nonzero(row).flatten().tolist() for row in sets] == expected


@pytest.mark.parametrize(("k", "sizes"), [(1000, [1000, 825, 220]), (8142, [8142, 6600])])
def test_fixed_sets_of_the_large_data_sets(k, sizes):
    sets = class_sets(torch.arange(k), "paper")  # ascending, as ResLT's own lists are
    assert sets.sum(1).tolist() == sizes
    assert all(row[: int(n)].all() for row, n in zip(sets, sizes, strict=True))  # the rarest come first here


@pytest.mark.parametrize(("factor", "sizes"), [(100, [100, 65, 30]), (50, [100, 59, 18]), (10, [100, 31])])
def test_sets_from_counts_follow_the_imbalance(factor, sizes):
    assert class_sets(torch.from_numpy(class_counts(100, 500, factor))).sum(1).tolist() == sizes


def test_sets_follow_counts_and_not_positions():
    order = torch.tensor([4, 0, 3, 5, 1, 2])
    assert torch.equal(class_sets(COUNTS[order]), class_sets(COUNTS)[:, order])


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("residual", [[1] * 6, MEDIUM_AND_TAIL, TAIL]),
        ("trivial", [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], TAIL]),
        ("ensemble", [[1] * 6] * 3),
    ],
)
def test_designs(design, expected):
    assert class_sets(COUNTS, design=design).int().tolist() == expected


def test_trivial_sets_are_disjoint_and_complete_even_without_a_head():
    sets = class_sets(torch.tensor([80, 40, 10]), design="trivial")
    assert sets.int().tolist() == [[1, 1, 0], [0, 0, 1]]


# ---- the loss


def test_joint_normaliser_against_a_mean_for_each_branch():
    """Three images: head (learnt by H), medium (H, M), tail (H, M, T): six pairs in one denominator."""
    z = torch.zeros(3, 3, 6)
    z[0, :, 0] = 1.0
    terms = specialisation(z, torch.tensor([0, 2, 5]), class_sets(COUNTS), clip=0)
    a, b, c = math.log(5 + math.e) - 1, math.log(5 + math.e), math.log(6)
    assert terms.tolist() == pytest.approx([(a + 2 * b) / 6, 2 * c / 6, c / 6], abs=1e-6)
    mean_of_each = (a + 2 * b) / 3 + c + c
    assert terms.sum().item() == pytest.approx((a + 2 * b + 3 * c) / 6, abs=1e-6) != pytest.approx(mean_of_each)


def test_loss_is_beta_own_plus_fused():
    z = torch.randn(3, 4, 6)
    y, sets = torch.tensor([0, 3, 4, 1]), class_sets(COUNTS)
    method = make(beta=0.7)
    method.branch_logits = lambda x: z
    learnt = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 2)]  # (branch, image)
    assert [(j, b) for j in range(3) for b in range(4) if sets[j, y[b]]] == learnt
    own = sum(-(z[j, b].softmax(0)[y[b]] + 1e-7).log() for j, b in learnt) / 7
    fused = F.cross_entropy(z[0] + z[1] + z[2], y)
    torch.testing.assert_close(method.loss(Batch(torch.rand(4, 3, 8, 8), y)), 0.7 * own + 0.3 * fused)


def test_clip_bounds_the_loss_of_an_image_and_none_is_torchs_cross_entropy():
    z, y = torch.tensor([[[40.0, 0.0]]]), torch.tensor([1])
    sets = torch.ones(1, 2, dtype=torch.bool)
    assert specialisation(z, y, sets).item() == pytest.approx(-math.log(1e-7), abs=1e-3)
    assert specialisation(z, y, sets, clip=0).item() == pytest.approx(40, abs=1e-4)
    torch.manual_seed(0)
    z, y = torch.randn(1, 9, 5), torch.arange(9) % 5
    plain = specialisation(z, y, torch.ones(1, 5, dtype=torch.bool), clip=0)
    torch.testing.assert_close(plain[0], F.cross_entropy(z[0], y))


@pytest.mark.parametrize("clip", [0.0, 1e-7])
def test_gradient_by_finite_differences(clip):
    torch.manual_seed(0)
    z = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    y, sets = torch.tensor([0, 3, 5, 1]), class_sets(COUNTS)
    assert torch.autograd.gradcheck(lambda z: specialisation(z, y, sets, clip), z)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("clip", [0.0, 1e-7])
def test_batch_without_tail_images(clip, balanced):
    method = make(beta=1.0, clip=clip, balanced=balanced)
    batch = batch_of(0, 1, 0, 2, 3, 0)
    terms = specialisation(method.branch_logits(batch.x), batch.y, method.sets)
    assert terms[2] == 0
    assert (terms[:2] > 0).all()
    method.loss(batch).backward()
    gradients = [p.grad for p in method.parameters()]
    assert all(torch.isfinite(g).all() for g in gradients)
    tail = method.branches.norms[2]
    assert not tail.weight.grad.any()
    assert not tail.bias.grad.any()
    # the shared classifier still learns, from H and M
    assert method.network.classifier.weight.grad.any()


def test_balanced_is_balanced_softmax_over_the_classes_of_each_branch():
    method = make(beta=1.0, balanced=True, clip=0.0)
    batch = batch_of(0, 2, 3, 5)
    z, n = method.branch_logits(batch.x), COUNTS.log()
    h = F.cross_entropy(z[0] + n, batch.y, reduction="sum")
    m = F.cross_entropy((z[1] + n)[1:, 2:], batch.y[1:] - 2, reduction="sum")
    t = F.cross_entropy((z[2] + n)[3:, 4:], batch.y[3:] - 4, reduction="sum")
    torch.testing.assert_close(method.loss(batch), (h + m + t) / 8)
    method.beta = 0.0
    torch.testing.assert_close(method.loss(batch), F.cross_entropy(z.sum(0) + n, batch.y))


# ---- the branches


@pytest.mark.parametrize(("k", "parameters"), [(10, 464_538), (100, 470_388)])
def test_parameter_counts_of_resnet_32(k, parameters):
    counts = torch.from_numpy(class_counts(k, 500, 100))
    assert sum(p.numel() for p in make(counts, "resnet32").parameters()) == parameters
    plain = models.make("resnet32", k, (0.5,) * 3, (0.2,) * 3)
    assert parameters - sum(p.numel() for p in plain.parameters()) == 3 * 2 * 64


def test_logits_are_the_sum_and_the_bias_enters_three_times():
    method = with_different_branches(make()).eval()
    x = batch_of(0, 1, 2, 3).x
    h = method.network.backbone.maps(method.network.normalize(x))
    w, b = method.network.classifier.weight, method.network.classifier.bias
    b.data.normal_()
    by_hand = sum(F.linear(norm(h).mean((2, 3)), w) for norm in method.branches.norms) + 3 * b
    torch.testing.assert_close(method.logits(x), by_hand)
    for norm in method.branches.norms:
        norm.weight.data.zero_()
        norm.bias.data.zero_()
    torch.testing.assert_close(method.logits(x), (3 * b).expand(4, -1))


def test_batch_norm_branches_see_the_same_statistics(tmp_path):
    method = make()
    for _ in range(3):
        method.loss(batch_of(0, 1, 2, 3, 4, 5))
    h, m, t = method.branches.norms
    assert h.running_mean.any()
    assert torch.equal(h.running_mean, m.running_mean)
    assert torch.equal(h.running_var, t.running_var)


def test_branches_of_an_ensemble_start_apart_and_those_of_reslt_alike():
    x = batch_of(0, 1, 2, 3).x
    for design, alike in (("ensemble", False), ("residual", True), ("trivial", True)):
        h, m, t = make(design=design).branch_logits(x)
        assert torch.equal(h, m) is torch.equal(m, t) is alike


@pytest.mark.parametrize("transform", ["batch_norm", "convolution"])
def test_resume_is_bitwise_with_the_statistics_of_the_branches(tmp_path, transform):
    torch.manual_seed(3)
    labels = torch.tensor([0] * 20 + [1] * 8 + [2] * 4)
    train = torch.randint(0, 256, (32, 3, 8, 8), dtype=torch.uint8), labels

    def fit(file, epochs):
        options = Options(epochs=3, batch_size=8, augmentation="none", precision="float32")
        engine = Engine(make(torch.bincount(labels), transform=transform), train, options, {})
        torch.manual_seed(4)
        engine.resume(file, {})
        engine.total_epochs = epochs
        engine.fit(file, {}, lambda record: None)
        return engine.method.state_dict()

    whole = fit(tmp_path / "whole.pt", 3)
    fit(tmp_path / "part.pt", 1)
    resumed = fit(tmp_path / "part.pt", 3)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    statistics = [n for n in whole if n.startswith("branches") and "running_mean" in n]
    assert statistics
    assert all(whole[name].any() for name in statistics)


def test_convolution_branches():
    method = with_different_branches(make(transform="convolution")).eval()
    block = method.branches
    assert sum(p.numel() for p in block.parameters()) == 3 * 64 * 64 + 2 * 3 * 64
    x = batch_of(0, 1, 2, 3).x
    maps = F.relu(block.norm(block.conv(method.network.maps(x))))
    features = [maps[:, 64 * j : 64 * (j + 1)].mean((2, 3)) for j in range(3)]
    by_hand = torch.stack([method.network.classifier(f) for f in features])
    torch.testing.assert_close(method.branch_logits(x), by_hand)


@pytest.mark.parametrize(
    ("pool_first", "train_early", "evaluate_early"),
    [("never", False, False), ("evaluation", False, True), ("always", True, True)],
)
def test_order_of_pooling(pool_first, train_early, evaluate_early):
    method = with_different_branches(make(transform="convolution", pool_first=pool_first))
    x = batch_of(0, 1, 2, 3).x
    for training, early in ((True, train_early), (False, evaluate_early)):
        method.network.eval()
        method.branches.train(training)
        method.training = training
        maps, g = method.network.maps(x), method.network.classifier
        expected = g(method.branches(maps.mean((2, 3), keepdim=True) if early else maps))
        other = g(method.branches(maps if early else maps.mean((2, 3), keepdim=True)))
        assert torch.equal(method.branch_logits(x), expected)
        assert not torch.allclose(other, expected, atol=1e-3)


def test_order_of_pooling_does_not_matter_behind_batch_norm_at_evaluation():
    x = batch_of(0, 1, 2, 3).x
    late, early = (with_different_branches(make(pool_first=p)).eval().logits(x) for p in ("never", "evaluation"))
    torch.testing.assert_close(late, early)


def test_tau_normalised_evaluation_drops_the_bias_and_training_keeps_it():
    method = with_different_branches(make(evaluation="tau_normalized", gamma=0.7))
    plain = with_different_branches(make())
    for m in (method, plain):
        m.network.classifier.bias.data.fill_(3.0)
    x = batch_of(0, 1, 2, 3).x
    torch.testing.assert_close(method.branch_logits(x), plain.branch_logits(x))
    method.eval(), plain.eval()
    w = plain.network.classifier.weight
    expected = (plain.branch_logits(x) - 3.0) / w.norm(dim=1) ** 0.7
    torch.testing.assert_close(method.branch_logits(x), expected)
    method.gamma = 0.0
    torch.testing.assert_close(method.branch_logits(x), plain.branch_logits(x) - 3.0)


def test_two_branches_where_the_tail_is_empty():
    method = make(torch.arange(8142, 0, -1), groups="paper")
    batch = batch_of(0, 2000)
    assert method.branch_logits(batch.x).shape == (2, 2, 8142)
    assert len(method.branches.norms) == 2
    z = method.branch_logits(batch.x)
    torch.testing.assert_close(method.logits(batch.x), z[0] + z[1])
    assert torch.isfinite(method.loss(batch))


def test_folded_into_one_linear_classifier():
    method = with_different_branches(make()).eval()
    method.network.classifier.bias.data.normal_()
    network = models.make("resnet8", 6, (0.5,) * 3, (0.2,) * 3).eval()
    network.load_state_dict(method.plain_weights(method.state_dict()))
    x = batch_of(0, 1, 2, 3).x
    torch.testing.assert_close(network(x), method.logits(x))


# ---- settings


@pytest.mark.parametrize(
    ("dataset", "factor", "beta"),
    [
        ("cifar10", 100, 0.998),
        ("cifar10", 50, 0.998),
        ("cifar10", 10, 0.96),
        ("cifar100", 100, 0.995),
        ("cifar100", 50, 0.99),
        ("cifar100", 10, 0.72),
        ("cifar100", 200, 0.995),
        ("cifar100", 15, 0.72),
    ],
)
def test_published_configurations(dataset, factor, beta):
    published = methods.METHODS["reslt"].published(dataset, factor)
    assert published == {
        "beta": beta,
        "groups": "paper",
        "weight_decay": 5e-4,
        "nesterov": True,
        "schedule": "step_reslt",
    }
    assert methods.METHODS["reslt"].published("folder", factor) == {}


def test_an_epoch_drops_the_last_batch():
    (stage,) = make().stages(200, "step_reslt")
    assert (stage.epochs, stage.schedule, stage.length, stage.sampler) == (
        200,
        "step_reslt",
        "drop_last",
        "instance_balanced",
    )


@pytest.mark.parametrize(("channels", "branches", "std"), [(2048, 3, 0.01804), (2048, 2, 0.01804), (512, 3, 0.0361)])
def test_the_convolution_of_the_branches_starts_by_fan_out(channels, branches, std):
    """ResNet-50 and ResNet-10 of the released code; its layer has three branches even where it uses two."""
    torch.manual_seed(0)
    assert ConvolutionBranches(channels, branches).conv.weight.std().item() == pytest.approx(std, rel=0.005)


def test_the_classifier_of_a_cifar_run_starts_as_pytorch_starts_it():
    """ResLTResNet32 of the released code, ten classes: std .0722 and a bias. Kaiming, as in MiSLAS, gives .1768."""
    for name, std, bias in (("reslt", 0.0722, True), ("mislas", 0.1768, True)):
        recipe, own = resolve(Experiment(name, "cifar10", profile="paper"))
        torch.manual_seed(0)
        network = untrained(name, asdict(recipe), {"class_names": "0123456789", "mean": (0.5,) * 3, "std": (0.2,) * 3})
        method = methods.make(name, network, torch.arange(10, 0, -1), **own)
        assert method.network.classifier.weight.std().item() == pytest.approx(std, rel=0.08)
        assert method.network.backbone.stage3[2].conv1.weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
        assert bool(method.network.classifier.bias.any()) is bias


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"beta": 1.1}, r"beta must lie in \[0, 1\]; got 1.1"),
        ({"gamma": -0.1}, "gamma and clip must be at least 0; got -0.1"),
        ({"clip": -1.0}, "gamma and clip must be at least 0"),
        ({"groups": "papers"}, "Did you mean 'paper'"),
        ({"groups": "paper"}, "defined for 10, 100, 1000, 8142 classes, not for 6: use groups='counts'"),
        ({"design": "nested"}, "design 'nested' is not known"),
        ({"transform": "conv"}, "transform 'conv' is not known"),
        ({"pool_first": "yes"}, "pool_first 'yes' is not known"),
        ({"evaluation": "tau"}, "evaluation 'tau' is not known"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make(**own)
