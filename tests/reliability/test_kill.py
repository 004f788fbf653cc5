"""The short version of ``python -m tests.reliability``."""

import pytest

from tests.reliability.kill import kill_preparing, kill_saving, kill_training
from tests.reliability.ranks import kill_ranks

pytestmark = pytest.mark.slow


def test_training_survives_sigkill_bit_for_bit(tmp_path):
    assert kill_training(kills=6, folder=tmp_path) >= 1


def test_newest_checkpoint_survives_sigkill_while_saving(tmp_path):
    assert kill_saving(kills=15, folder=tmp_path) >= 15


def test_a_run_of_two_ranks_survives_sigkill_of_either_bit_for_bit(tmp_path):
    kill_ranks(kills=2, folder=tmp_path)  # which asserts that the other rank ends, and that results are equal


def test_preparing_survives_sigkill_and_goes_on(tmp_path):
    assert kill_preparing(kills=6, folder=tmp_path) >= 1
