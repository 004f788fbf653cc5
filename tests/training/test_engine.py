import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from ltlib import methods, models
from ltlib.data.datasets import load
from ltlib.errors import InputError, TrainingStopped
from ltlib.methods.adversarial import AdversarialTraining
from ltlib.methods.baselines import CrossEntropy
from ltlib.methods.method import Stage, hyperparameters
from ltlib.training import checkpoint
from ltlib.training.device import reproducible
from ltlib.training.engine import Engine, Options

CPU = torch.device("cpu")
OPTIONS = Options(epochs=3, batch_size=16, augmentation="crop", precision="float32")


class TwoStages(CrossEntropy):
    """The smallest method with two stages: the second re-trains the classifier on a frozen backbone."""

    def stages(self, epochs, schedule):
        return (
            Stage("features", epochs, "instance_balanced", schedule),
            Stage("classifier", 2, "class_balanced_cyclic", "cosine"),
        )

    def begin(self, stage):
        self.network.backbone.requires_grad_(stage.name == "features")

    def param_groups(self, stage):
        if stage.name == "features":
            return super().param_groups(stage)
        classifier = self.network.classifier
        return [{"params": [classifier.weight], "lr_factor": 0.5}, {"params": [classifier.bias]}]

    def loss(self, batch):
        return F.cross_entropy(self.network(batch.x).float(), batch.y)


def tensors(images):
    return torch.from_numpy(images.pixels), torch.from_numpy(images.labels)


def engine(kind=TwoStages, options=OPTIONS, seed=0, n_max=20, test_per_class=5, image_size=8):
    data = load("glyphs", num_classes=3, n_max=n_max, test_per_class=test_per_class, image_size=image_size)
    torch.manual_seed(seed)
    network = models.make("resnet8", 3, (0.5,) * 3, (0.2,) * 3)
    method = kind(network, torch.tensor([n_max] * 3))
    return Engine(method, tensors(data.train), options, {"test": tensors(data.test)})


def fit(e, file, on_epoch=lambda record: None, seed=5):
    with reproducible(seed, CPU):
        e.resume(file, {})
        e.fit(file, {}, on_epoch)
    return e


def same(a, b) -> bool:
    """Bitwise equality of nested states, times apart."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        timing = {"seconds", "images_per_second"}
        return a.keys() == b.keys() and all(k in timing or same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


class Stop(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, stop_after, precision):
    options = replace(OPTIONS, precision=precision)
    whole = fit(engine(options=options), tmp_path / "whole.pt")

    def stop(record):
        if record["epoch"] == stop_after:
            raise Stop

    with pytest.raises(Stop):
        fit(engine(options=options), tmp_path / "part.pt", stop)
    # The second process starts from other weights and generators: all must come from the file.
    torch.manual_seed(99)
    resumed = fit(engine(options=options, seed=99), tmp_path / "part.pt")
    assert same(resumed.state_dict(), whole.state_dict())


def test_same_seed_same_run_another_seed_another(tmp_path):
    first, again = fit(engine(), tmp_path / "a.pt"), fit(engine(), tmp_path / "b.pt")
    assert same(first.state_dict(), again.state_dict())
    other = fit(engine(), tmp_path / "c.pt", seed=6)
    assert not same(first.state_dict()["method"], other.state_dict()["method"])


def test_stages_freeze_schedule_and_sample_as_they_say(tmp_path):
    rates, features = [], []
    e = engine()

    def watch(record):
        rates.append([group["lr"] for group in e.optimizer.param_groups])
        features.append(e.method.network.backbone.stage3[0].conv1.weight.clone())

    fit(e, tmp_path / "c.pt", watch)
    assert [r["stage"] for r in e.history] == ["features"] * 3 + ["classifier"] * 2
    assert rates[3:] == [[0.05, 0.1], [0.025, 0.05]]
    assert not torch.equal(features[1], features[2])
    assert torch.equal(features[2], features[4])


def test_one_step_equals_plain_pytorch():
    """The engine's step against the textbook: same batch, torch's own loop."""
    e = engine(CrossEntropy)
    torch.manual_seed(3)
    batch = next(e.loader.epoch(0))
    twin = engine(CrossEntropy).method
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(twin.network(batch.x), batch.y).backward()
        optimizer.step()
        e._step(batch)
    for ours, theirs in zip(e.method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_records_say_what_was_measured(tmp_path):
    options = Options(epochs=5, batch_size=16, augmentation="crop", precision="float32", evaluate_every=2)
    e = fit(engine(CrossEntropy, options), tmp_path / "c.pt")
    assert [r["epoch"] for r in e.history if "test_accuracy" in r] == [2, 4, 5]
    assert all(math.isfinite(r["loss"]) for r in e.history)
    assert e.history[0]["lr"] == pytest.approx(0.1)


def spoil_images(e):
    loader = e.loader.epoch

    def bad(epoch):
        for step, batch in enumerate(loader(epoch)):
            batch.x[0, 0, 0, 0] = float("nan") if step == 1 else batch.x[0, 0, 0, 0]
            yield batch

    e.loader.epoch = bad
    return "step 2: the batch of images is not finite"


def spoil_parameter(e):
    with torch.no_grad():
        e.method.network.classifier.bias[1] = float("inf")
    return "step 1: parameter 'network.classifier.bias' is not finite"


def spoil_buffer(e):
    e.method.network.normalize.std[0] = float("nan")
    return "step 1: buffer 'network.normalize.std' is not finite"


def spoil_loss(e):
    plain = e.method.loss
    e.method.loss = lambda batch: plain(batch) / 0
    return "step 1: the loss is not finite"


def spoil_gradient(e):
    """As a KL target that underflows: the loss is finite, its gradient is not."""
    plain = e.method.loss

    def loss(batch):
        bias = e.method.network.classifier.bias
        return plain(batch) + (bias * 0).abs().sqrt().sum()

    e.method.loss = loss
    return "step 1: the gradient of 'network.classifier.bias' is not finite"


@pytest.mark.parametrize("spoil", [spoil_images, spoil_parameter, spoil_buffer, spoil_loss, spoil_gradient])
def test_a_value_that_is_not_finite_stops_training_and_is_named(tmp_path, spoil):
    file = tmp_path / "c.pt"

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        fit(engine(CrossEntropy), file, stop)
    good = file.read_bytes()
    e = engine(CrossEntropy)
    e.resume(file, {})
    message = spoil(e)
    with pytest.raises(TrainingStopped, match=f"stage 'train', epoch 2, {message}"):
        e.fit(file, {}, lambda record: None)
    assert file.read_bytes() == good


def test_too_high_a_learning_rate_is_reported(tmp_path):
    options = Options(epochs=20, batch_size=16, lr=1e12, augmentation="crop", precision="float32")
    with pytest.raises(TrainingStopped, match="try a lower lr"):
        fit(engine(CrossEntropy, options), tmp_path / "c.pt")


def test_a_running_statistic_that_overflows_is_seen_before_the_checkpoint(tmp_path):
    """The loss of a batch stays finite, since BatchNorm trains with the statistics of the batch."""

    def stop(record):
        raise Stop

    file = tmp_path / "c.pt"
    with pytest.raises(Stop):
        fit(engine(CrossEntropy), file, stop)
    good = file.read_bytes()
    e = engine(CrossEntropy)
    e.resume(file, {})
    e.method.network.backbone.stage1[0].bn1.running_var[2] = float("inf")
    name = r"method\.network\.backbone\.stage1\.0\.bn1\.running_var is not finite"
    with pytest.raises(TrainingStopped, match=f"epoch 2: {name}.*checkpoint of the epoch before is kept"):
        e.fit(file, {}, lambda record: None)
    assert file.read_bytes() == good


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("optimizer"),
        lambda state: state.update(stage_index=7),
        lambda state: state.update(epoch=None, history=3),
        lambda state: state["method"].update({"network.classifier.bias": torch.zeros(9)}),
        lambda state: state["optimizer"].update(param_groups=[]),
        lambda state: state.update(generators={"cpu": torch.zeros(3)}),
        lambda state: state.clear(),
    ],
)
def test_a_checkpoint_of_a_foreign_shape_is_a_sentence(tmp_path, change):
    e = engine(CrossEntropy)
    state = e.state_dict()
    change(state)
    checkpoint.save(tmp_path / "c.pt", state, {})
    with pytest.raises(InputError, match=r"c\.pt does not fit this training .* Delete it to train from the beginning"):
        e.resume(tmp_path / "c.pt", {})


def test_a_checkpoint_is_on_disk_when_training_is_interrupted(tmp_path):
    def stop(record):
        if record["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(engine(CrossEntropy), tmp_path / "c.pt", stop)
    assert checkpoint.load(tmp_path / "c.pt", {})["epoch"] == 2


def test_users_random_state_and_flags_are_given_back(tmp_path):
    e = engine()
    before = torch.get_rng_state()
    fit(e, tmp_path / "c.pt")
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def attacks(name: str) -> bool:
    return issubclass(methods.METHODS[name], AdversarialTraining)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if attacks(name) else [])  # half a minute each
        for name, kind in methods.METHODS.items()
        if "natural_run" not in kind.sources
    ],
)
def test_every_method_learns(tmp_path, name):
    """Three letters, 200 images each: well above chance (1/3) on 300 images it was not trained on.

    The standard error of the accuracy is below 3 points, so 60 % is nine of them above chance.
    """
    # LBGAT learns from another network that learns itself: at the usual rate it collapses, and it takes longer.
    lr, epochs = (0.05, 20) if name == "lbgat" else (0.1, 10)
    lr = 0.03 if name in ("ride", "ride_reslt") else lr  # its loss is a sum over three experts
    options = Options(epochs, batch_size=32, lr=lr, augmentation="none", schedule="cosine", precision="float32")
    # A weak attack, because ten short epochs are too few for a robust network; and a small natural network.
    weak = {"epsilon": 0.004, "step_size": 0.002, "attack_steps": 2, "natural": "resnet8"}
    weak |= {"alpha": 1.0} if name == "lbgat" else {}
    weak["scale"] = 10.0  # LDAM's 30 needs a long run
    # The logits of a short training with a weak decay are large, and over-smoothed labels would lead far from them.
    weak |= {"lr_factor": 0.002} if name == "label_over_smooth" else {}
    known = hyperparameters(methods.METHODS[name])
    kind = partial(methods.METHODS[name], **{n: v for n, v in weak.items() if n in known})
    e = fit(engine(kind, options, n_max=200, test_per_class=100, image_size=16), tmp_path / "c.pt")
    # a second stage has another loss
    losses = [record["loss"] for record in e.history if record["stage"] == e.history[0]["stage"]]
    assert losses[-1] < losses[0]
    assert e.history[-1]["test_accuracy"] > 0.6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_resume_on_the_gpu_is_bitwise_too(tmp_path):
    device = torch.device("cuda", 0)

    def on_gpu(seed=0):
        e = engine(seed=seed)
        split = {name: tuple(t.to(device) for t in pair) for name, pair in (("train", e.train), *e.evaluate.items())}
        return Engine(e.method.to(device), split["train"], OPTIONS, {"test": split["test"]})

    def run(e, file, on_epoch=lambda record: None):
        with reproducible(5, device):
            e.resume(file, {})
            e.fit(file, {}, on_epoch)
        return e

    def stop(record):
        if record["epoch"] == 2:
            raise Stop

    whole = run(on_gpu(), tmp_path / "whole.pt")
    with pytest.raises(Stop):
        run(on_gpu(), tmp_path / "part.pt", stop)
    assert same(run(on_gpu(seed=9), tmp_path / "part.pt").state_dict(), whole.state_dict())
