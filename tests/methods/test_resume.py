"""A training that was stopped and resumed equals one that was not, for every method with state or stages of its own."""

from dataclasses import replace

import pytest
import torch

from tests.training.small import small
from tests.training.test_engine import OPTIONS, Stop, engine, fit, same

METHODS = ["label_over_smooth", "dkl", "dkl_distillation", "weight_balancing", "etf", "ride", "ride_reslt", "cmo"]


@pytest.mark.parametrize("name", METHODS)
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, name):
    options = replace(OPTIONS, epochs=2)
    kind = small(name, stage2_epochs=2, natural_run="any", plain_first=0, plain_last=0)
    whole = fit(engine(kind, options), tmp_path / "whole.pt")
    for stop_after in range(1, whole.total_epochs):
        file = tmp_path / f"{stop_after}.pt"

        def stop(record, last=stop_after):
            if record["epoch"] == last:
                raise Stop

        with pytest.raises(Stop):
            fit(engine(kind, options), file, stop)
        torch.manual_seed(99)
        resumed = fit(engine(kind, options, seed=99), file)
        assert same(resumed.state_dict(), whole.state_dict()), stop_after
