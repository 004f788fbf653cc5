"""What the training runs on: device, precision, and one seed for everything random."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator

import joblib
import torch

from ltlib.distributed import local_rank
from ltlib.errors import InputError, check_choice

PRECISIONS = ("auto", "bfloat16", "float32")

# cuBLAS is deterministic only with a fixed workspace, and reads this when CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def choose_device() -> torch.device:
    """The first CUDA device if there is one, else the CPU. CUDA_VISIBLE_DEVICES chooses among several; of the processes
    that torchrun starts, each takes its own."""
    return torch.device("cuda", local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def use_available_cores() -> None:
    """Let torch use as many threads as this process may use cores, which ``OMP_NUM_THREADS`` overrules.

    torch counts the cores of the machine; in a container that may use two of sixty-four, all its threads would
    wait for each other.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count(only_physical_cores=True)))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware itself computes in bfloat16, so that it is faster and not only smaller."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve_precision(precision: str, device: torch.device) -> str:
    """``"bfloat16"`` or ``"float32"`` for a requested precision; ``auto`` takes bfloat16 where it is native."""
    check_choice("precision", precision, PRECISIONS)
    if precision == "auto":
        return "bfloat16" if has_bfloat16(device) else "float32"
    return precision


def why_precision(device: torch.device) -> str:
    """Why ``auto`` chooses what it chooses, for people."""
    if device.type == "cuda":
        return "the GPU computes in bfloat16" if has_bfloat16(device) else "the GPU has no bfloat16 of its own"
    if torch.cpu._is_amx_tile_supported():
        return "the processor multiplies bfloat16 matrices (AMX)"
    if torch.cpu._is_avx512_bf16_supported():
        return "the processor multiplies in bfloat16 (AVX512-BF16)"
    return "the processor has neither AMX nor AVX512-BF16, and bfloat16 would only be slower"


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Run convolutions and matrix products in ``precision``; weights and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextlib.contextmanager
def reproducible(seed: int, device: torch.device, deterministic: bool = True) -> Iterator[None]:
    """Seed torch's generators for the block, choose deterministic kernels, and give all back afterwards.

    Everything random in training (weights, order, augmentation, mixup) uses these generators, so that their
    states in a checkpoint are enough to resume bit for bit.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_filling = torch.utils.deterministic.fill_uninitialized_memory
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(deterministic)
        # A debugging aid that writes NaN into every new tensor; it costs time and changes no result of ours.
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic)
            torch.utils.deterministic.fill_uninitialized_memory = was_filling


def generator_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of all generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generator_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Restore what :func:`generator_states` returned.

    Raises:
        InputError: the states come from another kind of device.
    """
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        if "cuda" not in states:
            raise InputError(
                "This run was begun on a CPU; resume it on a CPU (CUDA_VISIBLE_DEVICES='') or start it anew."
            )
        torch.cuda.set_rng_state(states["cuda"], device)


def hardware(device: torch.device) -> dict[str, object]:
    """What a result must say about the machine it comes from."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"device": "cpu", "processor": platform.machine(), "threads": torch.get_num_threads()}
