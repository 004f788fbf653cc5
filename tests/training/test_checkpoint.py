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
