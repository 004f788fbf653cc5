"""What CUDA does with the operators of PyTorch: for which the host waits, which it refuses, which cost nothing."""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_leaves

# The size of the result, or a number on the host, depends on values: the device must have finished all before.
WAITS = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "histc",
    "is_nonzero",
    "masked_select",
    "multinomial",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
}

# Raise under torch.use_deterministic_algorithms(True) on CUDA, by the documentation of that function. cumsum and
# bincount raise for floating numbers only.
NOT_DETERMINISTIC = {
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "_ctc_loss_backward",
    "_embedding_bag",
    "adaptive_max_pool2d_backward",
    "avg_pool3d_backward",
    "cumsum",
    "fractional_max_pool2d_backward",
    "grid_sampler_2d_backward",
    "histc",
    "kthvalue",
    "max_pool3d_with_indices_backward",
    "max_unpool2d",
    "nll_loss2d_backward",
    "nll_loss2d_forward",
    "put_",
    "reflection_pad1d_backward",
    "reflection_pad3d_backward",
    "replication_pad1d_backward",
    "replication_pad3d_backward",
    "upsample_bicubic2d_backward",
    "upsample_linear1d_backward",
}

# Another look at the same memory, or memory without values: no kernel is started.
FREE = {
    "_local_scalar_dense",
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "diagonal",
    "empty",
    "empty_like",
    "empty_strided",
    "expand",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
    "permute",
    "select",
    "set_",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unfold",
    "unsqueeze",
    "view",
}

DRAWS = {
    "bernoulli",
    "bernoulli_",
    "multinomial",
    "normal",
    "normal_",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "random_",
    "uniform_",
    "_sample_dirichlet",
    "_standard_gamma",
}

CONVOLUTIONS = {"conv2d", "convolution", "convolution_backward"}  # in inference mode the first is not taken apart

# Without a kernel for Apple GPUs in some version of torch that the course allows.
NOT_ON_MPS = {"_sample_dirichlet", "_standard_gamma"}


def refuse_on_mps(name: str, out: object, kwargs: dict) -> None:
    """Raise what torch raises on an Apple GPU, after an operator that a CUDA device computes."""
    if any(t.dtype == torch.float64 for t in tree_leaves(out) if isinstance(t, torch.Tensor)):
        raise TypeError(
            f"{name}: Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
        )
    if name in NOT_ON_MPS:
        raise NotImplementedError(f"The operator 'aten::{name}' is not currently implemented for the MPS device.")
    if name == "_fused_sgd_" and kwargs.get("found_inf") is not None:
        raise RuntimeError("grad_scale and found_inf are not supported on MPS")
