"""What RIDE and RIDE + ResLT share: how all experts start, and what a training step of them costs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ltlib import methods, models
from ltlib.models.cost import cost

NAMES = ("ride", "ride_reslt")


def make(name, backbone, **own):
    torch.manual_seed(0)
    return methods.make(name, models.make(backbone, 10, (0.5,) * 3, (0.2,) * 3), torch.arange(10, 0, -1), **own)


@pytest.mark.parametrize("name", NAMES)
def test_later_layers_of_every_expert_start_as_the_backbone_does(name):
    """Convolutions from N(0, 2 / fan_in); PyTorch's own start has a sixth of this variance."""
    method = make(name, "resnet8")
    last = [method.network.backbone.stage3, *(expert.later for expert in method.others)]
    for layers in last:
        weight = [m.weight for m in layers.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)][-1]
        assert weight.shape == (48, 48, 3, 3)
        assert weight.std().item() == pytest.approx((2 / (9 * 48)) ** 0.5, rel=0.03)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("experts", "narrow"), [(2, True), (3, True), (3, False)])
def test_the_planned_passes_are_the_operations_of_the_experts(name, experts, narrow):
    """Within 5 %: that each stage costs a third of the network is rounded."""
    method, forward = make(name, "resnet32", experts=experts, narrow=narrow), cost("resnet32", 10, 32).forward
    with FlopCounterMode(display=False) as counted:
        method.eval().logits(torch.rand(2, 3, 32, 32))
    (stage,) = method.stages(1, "step")
    planned = method.passes(stage)["network"]
    # training counts a forward pass and two backward passes
    assert (planned.forward + 3 * planned.training) / 3 == pytest.approx(
        counted.get_total_flops() / 2 / forward, rel=0.05
    )
