"""Where float32 is written TF32 is off, and the user's settings come back. A CPU has the same switches."""

import subprocess
import sys
from operator import attrgetter

import pytest
import torch

from ltlib.attacks import PGD
from ltlib.evaluation.evaluate import attacked_accuracy, class_means, predict
from ltlib.evaluation.precision import OPERATIONS, full_float32
from ltlib.evaluation.robust import robust_report, withstood
from ltlib.evaluation.transfer import transfer_table
from ltlib.methods.baselines import CrossEntropy

B = torch.backends
ATTACK = PGD(0.01, steps=1, start="clean")


@pytest.fixture
def method(trained):
    """A method whose every forward pass notes which switches are on, images and labels."""
    network, x, y = trained
    seen = set()
    note = network.register_forward_pre_hook(lambda *_: seen.add((B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32)))
    part = network.backbone.register_forward_pre_hook(lambda *_: seen.add((B.cudnn.allow_tf32, False)))
    yield CrossEntropy(network, torch.tensor([150] * 4)), (x[:8] * 255).to(torch.uint8), y[:8], seen
    note.remove()
    part.remove()


@pytest.fixture
def allowed():
    """TF32 allowed for everything, as a user may have it."""
    before = B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32
    B.cudnn.allow_tf32 = B.cuda.matmul.allow_tf32 = True
    yield
    assert (B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32) == (True, True)
    B.cudnn.allow_tf32, B.cuda.matmul.allow_tf32 = before


MEASURED = {
    "prediction": lambda m, x, y: predict(m, x),
    "accuracy under attack": lambda m, x, y: attacked_accuracy(m, ATTACK, (x, y)),
    "class means": lambda m, x, y: class_means(m, (x, y)),
    "attack": lambda m, x, y: withstood(m, x, y, {"PGD": ATTACK}),
    "report with its checks": lambda m, x, y: robust_report(m, x, y, {"PGD": ATTACK}),
    "transfer": lambda m, x, y: transfer_table(m, {"itself": m}, x, y, {"PGD": ATTACK}),
}


@pytest.mark.parametrize("what", MEASURED)
def test_every_measurement_is_in_full_float32(method, allowed, what):
    made, x, y, seen = method
    MEASURED[what](made, x, y)
    assert seen == {(False, False)}


# What users write before they measure.
USERS = (
    "pass",
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "b.cudnn.allow_tf32 = b.cuda.matmul.allow_tf32 = True",
    "b.cudnn.allow_tf32 = b.cuda.matmul.allow_tf32 = False",
    "b.cuda.matmul.fp32_precision = 'tf32'",
    "b.cudnn.conv.fp32_precision, b.cudnn.rnn.fp32_precision = 'tf32', 'ieee'",
    "b.fp32_precision = 'tf32'",
    "b.fp32_precision = 'tf32'; torch.set_float32_matmul_precision('high')",
)


def state():
    """Every switch of torch, or that torch refuses to read it because a newer one says something else."""
    found = {}
    older = ("cudnn.allow_tf32", "cuda.matmul.allow_tf32")
    for name in older + tuple(f"{name}.fp32_precision" for name in OPERATIONS if hasattr(B, "fp32_precision")):
        try:
            found[name] = attrgetter(name)(B)
        except RuntimeError:
            found[name] = "refused"
    return found


def check_users():
    for text in USERS:
        if hasattr(B, "fp32_precision") or "fp32_precision" not in text:
            exec(text, {"torch": torch, "b": B})
        before = state()
        with full_float32():
            inside = state()
            with full_float32():
                assert state() == inside, text
            assert state() == inside, text
        assert set(inside.values()) <= {False, "ieee", "refused"}, (text, inside)
        assert state() == before, text


def test_whatever_the_user_has_chosen_is_off_inside_and_back_afterwards():
    """In another process, because some of these settings cannot be taken back."""
    code = "from tests.evaluation.test_precision import check_users; check_users()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
