"""The fixed classifier: its frame, its loss, and the numbers of the released code."""

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.loader import Batch
from ltlib.errors import InputError
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import resolve
from ltlib.methods import etf
from ltlib.methods.etf import FixedClassifier, dot_regression, equiangular_tight_frame

COUNTS = torch.tensor([100, 30, 5])


def make(**own):
    torch.manual_seed(0)
    return methods.make("etf", models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3), COUNTS, **own)


@pytest.mark.parametrize(("classes", "features"), [(2, 1), (3, 2), (10, 9), (10, 64), (40, 64)])
def test_the_frame_has_equal_lengths_and_equal_angles(classes, features):
    frame = equiangular_tight_frame(classes, features).double()
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.double).fill_diagonal_(1)
    torch.testing.assert_close(frame @ frame.T, expected, rtol=0, atol=1e-6)
    assert frame.sum(0).abs().max() < 1e-6


def test_each_seed_has_a_frame_of_its_own():
    torch.manual_seed(0)
    first, second = equiangular_tight_frame(5, 8), equiangular_tight_frame(5, 8)
    assert not torch.allclose(first, second)


def test_too_few_features_are_refused():
    with pytest.raises(InputError, match="100 classes need at least 99 features .*this backbone has 64.*resnet18"):
        methods.make("etf", models.make("resnet8", 100, (0.5,) * 3, (0.2,) * 3), torch.ones(100))


def test_dot_regression_gives_the_numbers_of_the_released_code(monkeypatch):
    """Loss and gradient by ``dot_loss`` of commit e89f292, behind its BatchNorm, on numbers by formula."""
    classifier = FixedClassifier(torch.nn.Linear(6, 4), 1.0).double()
    classifier.weight.copy_(frame_by_formula())
    features = (2 * torch.sin(torch.arange(30, dtype=torch.double) * 0.9)).view(5, 6).requires_grad_()
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)  # the numbers in float64
    loss = dot_regression(classifier(features), torch.tensor([0, 2, 2, 1, 3]))
    loss.backward()
    assert loss.item() == pytest.approx(0.6137520726039393, rel=1e-13)
    assert features.grad.abs().sum().item() == pytest.approx(0.4869889512463308, rel=1e-10)


def frame_by_formula():
    """(4, 6): a frame in six dimensions, along the first four axes."""
    centre = torch.eye(4, dtype=torch.double) - 0.25
    return (4 / 3) ** 0.5 * F.pad(centre, (0, 2))


def test_the_gradient_at_a_feature_has_no_push_from_other_classes():
    """It is -(1 - cos) m_y: along the direction of the own class and nothing else."""
    frame = equiangular_tight_frame(4, 6).double()
    h = F.normalize(torch.randn(5, 6, dtype=torch.double)).requires_grad_()
    y = torch.tensor([0, 1, 2, 3, 3])
    (dot_regression(h @ frame.T, y) * 5).backward()
    cosine = (h * frame[y]).sum(1, keepdim=True)
    torch.testing.assert_close(h.grad, (-(1 - cosine) * frame[y]).detach())


@pytest.mark.parametrize("loss_form", ["dot_regression", "cross_entropy"])
@pytest.mark.parametrize("mixup_alpha", [0.0, 1.0])
def test_loss_by_hand(loss_form, mixup_alpha):
    method = make(loss_form=loss_form, mixup_alpha=mixup_alpha, scale=7.0).eval()
    torch.manual_seed(1)
    batch = Batch(torch.rand(9, 3, 8, 8), torch.arange(9) % 3)
    torch.manual_seed(3)
    x, y_a, y_b, lam = etf.mixup(batch.x, batch.y, 1.0) if mixup_alpha else (batch.x, batch.y, batch.y, 1.0)
    h = F.normalize(method.network.classifier.norm(method.network.features(x)))
    cosines = h @ method.network.classifier.weight.T
    losses = []
    for y in (y_a, y_b):
        true = cosines[torch.arange(9), y]
        log_p = (7 * cosines).log_softmax(1)[torch.arange(9), y]
        losses.append(((true - 1) ** 2 / 2).mean() if loss_form == "dot_regression" else -log_p.mean())
    torch.manual_seed(3)
    torch.testing.assert_close(method.loss(batch), lam * losses[0] + (1 - lam) * losses[1])
    torch.testing.assert_close(method.network(x), 7 * cosines)


def test_the_frame_is_not_trained_and_travels_with_the_weights():
    method = make()
    assert "network.classifier.weight" in method.state_dict()
    assert not any("classifier.weight" in name for name, _ in method.named_parameters())


def test_its_classifier_is_not_taken_over():
    run = execute(Experiment("etf", profile="smoke", overrides="epochs=1"))
    with pytest.raises(InputError, match="cannot be taken over"):
        execute(Experiment("crt", profile="smoke", overrides=f"stage1={run.id}"))


def test_published_recipes():
    recipe, own = resolve(Experiment("etf", "cifar10", profile="paper"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size, recipe.lr) == ("resnet32", 200, 128, 0.1)
    assert (recipe.weight_decay, recipe.schedule, own["mixup_alpha"]) == (2e-4, "step", 1.0)
    recipe, own = resolve(Experiment("etf", "imagenet_lt", profile="paper"))
    assert (recipe.backbone, recipe.epochs, recipe.batch_size) == ("resnet50", 90, 1024)
    assert (recipe.weight_decay, recipe.schedule, own["mixup_alpha"]) == (5e-4, "cosine", 0.2)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"scale": 0.0}, "scale must be above 0; got 0.0"),
        ({"mixup_alpha": -1.0}, "mixup_alpha must be at least 0; got -1.0"),
        ({"loss_form": "dot"}, "Allowed: cross_entropy, dot_regression"),
    ],
)
def test_hyperparameters_are_checked(own, message):
    with pytest.raises(InputError, match=message):
        make(**own)
