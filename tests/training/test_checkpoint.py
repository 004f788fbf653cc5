import errno
import io
import os
import pickle

import pytest
import torch

from ltlib.errors import InputError
from ltlib.training import checkpoint

IDENTITY = {"method": "mixup", "backbone": "resnet8"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"weight": torch.arange(2000.0), "epoch": 3}, IDENTITY)
    return path


def test_what_is_saved_comes_back(file):
    state = checkpoint.load(file, IDENTITY)
    assert torch.equal(state["weight"], torch.arange(2000.0))
    assert state["epoch"] == 3
    assert os.listdir(file.parent) == ["checkpoint.pt"]


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_truncated(file, kept):
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"truncated, damaged or not a checkpoint of ltlib\. Delete .*checkpoint\.pt"):
        checkpoint.load(file, IDENTITY)


def test_every_flipped_bit_of_the_weights_is_found(file):
    content = file.read_bytes()
    start = content.index(torch.arange(2000.0).numpy().tobytes())
    for offset in range(0, 8000, 997):
        damaged = bytearray(content)
        damaged[start + offset] ^= 1 << offset % 8
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            checkpoint.load(file, IDENTITY)


def test_of_another_experiment(file):
    with pytest.raises(InputError, match="another experiment .backbone is 'resnet8', not 'resnet32'"):
        checkpoint.load(file, IDENTITY | {"backbone": "resnet32"})


@pytest.mark.parametrize("foreign", [{"state_dict": {}}, [1, 2], torch.zeros(3)])
def test_foreign_torch_file(tmp_path, foreign):
    path = tmp_path / "model.pt"
    torch.save(foreign, path)
    with pytest.raises(InputError, match="is not a checkpoint of this ltlib"):
        checkpoint.load(path, IDENTITY)


class Gadget:
    """Runs a command when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("wrapped", [True, False])
def test_hostile_file_runs_nothing(tmp_path, wrapped):
    witness = tmp_path / "executed"
    path = tmp_path / "checkpoint.pt"
    if wrapped:
        hostile = {"format": checkpoint.FORMAT, "identity": IDENTITY, "state": Gadget(witness)}
        buffer = io.BytesIO()
        torch.save(hostile, buffer)
        path.write_bytes(buffer.getvalue())
    else:
        path.write_bytes(pickle.dumps(Gadget(witness)))
    with pytest.raises(InputError, match="not a checkpoint of ltlib"):
        checkpoint.load(path, IDENTITY)
    assert not witness.exists()


def test_full_disk_leaves_the_old_file(file, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"could not be written \(No space left on device\); what was there"):
        checkpoint.save(file, {"epoch": 4}, IDENTITY)
    monkeypatch.undo()
    assert checkpoint.load(file, IDENTITY)["epoch"] == 3
    assert os.listdir(file.parent) == ["checkpoint.pt"]


def test_really_full_disk(small_disk):
    path = small_disk("size=64k") / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 3}, IDENTITY)
    with pytest.raises(InputError, match="No space left on device"):
        checkpoint.save(path, {"weight": torch.zeros(30_000)}, IDENTITY)
    assert checkpoint.load(path, IDENTITY) == {"epoch": 3}
    assert os.listdir(path.parent) == ["checkpoint.pt"]


def write(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize("identity", [None, [1], "mine"])
@pytest.mark.parametrize("state", [{}, None, [1]])
def test_foreign_identity_or_state(tmp_path, identity, state):
    path = write(tmp_path / "c.pt", {"format": checkpoint.FORMAT, "identity": identity, "state": state})
    with pytest.raises(InputError, match="does not hold a training"):
        checkpoint.load(path, IDENTITY)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, make):
    make(tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"is not a regular file\. Delete"):
        checkpoint.load(tmp_path / "c.pt")


def test_a_copy_on_the_host_does_not_follow_the_training():
    state = {"weight": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), "list": [torch.arange(3)], "n": 1}
    copy = checkpoint.on_host(state)
    state["weight"].zero_()
    state["list"][0].zero_()
    assert copy["weight"].sum() == 120
    assert copy["weight"].stride() == state["weight"].stride()
    assert copy["list"][0].tolist() == [0, 1, 2]
    assert copy["n"] == 1


def test_tensors_of_all_kinds_come_over_in_one_block():
    """The transfer from a GPU, which a CPU can do as well."""
    tensors = [
        torch.tensor(True),
        torch.arange(5, dtype=torch.int64),
        torch.randn(3, 4, 5).permute(2, 0, 1),
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.randn(7).to(torch.bfloat16),
        torch.tensor(2.5, dtype=torch.float64),
        torch.zeros(0, 3),
    ]
    copies = checkpoint._transfer(tensors)
    for copy, t in zip(copies, tensors, strict=True):
        assert copy.dtype == t.dtype
        assert copy.stride() == t.stride()
        assert torch.equal(copy, t)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named(bad):
    state = {"method": {"a": torch.ones(2), "mean": torch.tensor([0.0, bad]), "n": torch.tensor(1)}, "list": [bad]}
    assert checkpoint.not_finite(state) == "method.mean"
    assert checkpoint.not_finite({"list": [torch.ones(1), torch.tensor(bad)]}) == "list.1"
    assert checkpoint.not_finite({"n": torch.tensor(1), "x": 3}) == ""


def written(path, states, error=None):
    """Write all states, then raise the error."""
    with checkpoint.Writer(path, IDENTITY) as writer:
        for state in states:
            writer.write(state)
        if error:
            raise error


def test_the_writer_waits_for_the_disk_before_the_block_ends(tmp_path):
    with pytest.raises(KeyError):
        written(tmp_path / "c.pt", [{"n": n} for n in range(3)], KeyError())
    assert checkpoint.load(tmp_path / "c.pt", IDENTITY) == {"n": 2}


@pytest.mark.parametrize("number", [1, 2])
def test_what_the_writer_could_not_write_is_told(tmp_path, number):
    """At the next epoch, or else at the end."""
    with pytest.raises(InputError, match="could not be written"):
        written(tmp_path / "no folder" / "c.pt", [{"n": n} for n in range(number)])
