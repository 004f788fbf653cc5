"""What the training runs on: device, precision, memory, and one seed for everything random."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
from collections.abc import Iterator
from typing import Any

import torch

from ltlib.distributed import local_rank
from ltlib.errors import InputError, check_choice
from ltlib.evaluation.precision import full_float32

PRECISIONS = ("auto", "bfloat16", "float16", "float32")
REDUCED = {"bfloat16": torch.bfloat16, "float16": torch.float16}
DEVICES = ("cuda", "mps", "cpu")

# cuBLAS is deterministic only with a fixed workspace, and reads this when CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def choose_device() -> torch.device:
    """The first CUDA device if there is one, else an Apple GPU, else the CPU.

    CUDA_VISIBLE_DEVICES chooses among several GPUs, and LTLIB_DEVICE (``cuda``, ``mps`` or ``cpu``) among the kinds.
    Of the processes that torchrun starts, each takes its own CUDA device, or the CPU.

    Raises:
        InputError: LTLIB_DEVICE names no kind of device, or one that this machine does not have.
    """
    # The backend of several processes, gloo, has no Apple GPUs.
    apple = torch.backends.mps.is_available() and "WORLD_SIZE" not in os.environ
    has = {"cuda": torch.cuda.is_available(), "mps": apple, "cpu": True}
    asked = os.environ.get("LTLIB_DEVICE", "")
    if asked:
        check_choice("LTLIB_DEVICE", asked, DEVICES)
        if not has[asked]:
            raise InputError(f"LTLIB_DEVICE={asked} asks for a device that this machine does not have: unset it.")
    kind = asked or next(kind for kind in DEVICES if has[kind])
    return torch.device("cuda", local_rank()) if kind == "cuda" else torch.device(kind)


def use_available_cores() -> None:
    """Let torch use as many threads as this process may use cores, which ``OMP_NUM_THREADS`` overrules.

    torch counts the cores of the machine; in a container that may use two of sixty-four, all its threads would
    wait for each other.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        import joblib  # here, because the battery of a new GPU runs where only torch and NumPy are

        torch.set_num_threads(min(torch.get_num_threads(), joblib.cpu_count(only_physical_cores=True)))


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where malloc is GNU's; variables of the user overrule it.

    malloc gives the memory of each large tensor back to the system. The next step asks for it again, and the system
    fills every page of it with zeros, which took a tenth of a step of ResNet-18 (``data/benchmarks/tried``). The price:
    the process keeps its peak memory until it ends. Source: the manual page of mallopt.
    """
    users = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
    if any(name in os.environ for name in users) or platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_max, 0)  # no block is a mapping of its own, which would end when it is freed
    libc.mallopt(trim_threshold, 2**31 - 1)  # bytes free at the end of the heap before they are given back


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware itself computes in bfloat16, so that it is faster and not only smaller."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve_precision(precision: str, device: torch.device) -> str:
    """``"bfloat16"``, ``"float16"`` or ``"float32"`` for a requested precision.

    ``auto`` takes bfloat16 where the hardware has it. A GPU without it (T4, V100, all of Turing) gets float16 with a
    dynamic loss scale, and everything else float32.

    Raises:
        InputError: the precision is unknown, or the device does not have it.
    """
    check_choice("precision", precision, PRECISIONS)
    gpu = device.type == "cuda"
    if precision == "auto":
        return "bfloat16" if has_bfloat16(device) else "float16" if gpu else "float32"
    if precision == "bfloat16" and device.type != "cpu" and not has_bfloat16(device):
        other = "float16 (which auto chooses)" if gpu else "float32"
        raise InputError(f"precision=bfloat16 is not in the hardware of this {device.type} device: take {other}.")
    if precision == "float16" and not gpu:
        raise InputError(f"precision=float16 is for CUDA GPUs; this is a {device.type} device: take auto or float32.")
    return precision


def why_precision(device: torch.device) -> str:
    """Why ``auto`` chooses what it chooses, for people."""
    if device.type == "cuda":
        if has_bfloat16(device):
            return "the GPU computes in bfloat16"
        return "the GPU has no bfloat16, so it computes in float16 with a loss scale that adapts"
    if device.type == "mps":
        return "on Apple GPUs this course trains in float32 only"
    if torch.cpu._is_amx_tile_supported():
        return "the processor multiplies bfloat16 matrices (AMX)"
    if torch.cpu._is_avx512_bf16_supported():
        return "the processor multiplies in bfloat16 (AVX512-BF16)"
    return "the processor has neither AMX nor AVX512-BF16, and bfloat16 would only be slower"


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Run convolutions and matrix products in ``precision``; weights and losses stay float32."""
    return torch.autocast(device.type, REDUCED.get(precision, torch.bfloat16), enabled=precision in REDUCED)


@contextlib.contextmanager
def reproducible(seed: int, device: torch.device, deterministic: bool = True) -> Iterator[None]:
    """Seed torch's generators for the block, choose deterministic kernels and full float32, and give all back.

    Everything random in training (weights, order, augmentation, mixup) uses these generators, so that their
    states in a checkpoint are enough to resume bit for bit.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    flags: Any = torch.utils.deterministic
    was_filling = flags.fill_uninitialized_memory
    with _forked(device), full_float32():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(deterministic)
        # A debugging aid that writes NaN into every new tensor; it costs time and changes no result of ours.
        flags.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic)
            flags.fill_uninitialized_memory = was_filling


@contextlib.contextmanager
def _forked(device: torch.device) -> Iterator[None]:
    """Give the states of all generators back after the block."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        before = torch.mps.get_rng_state() if device.type == "mps" else None
        try:
            yield
        finally:
            if before is not None:
                torch.mps.set_rng_state(before)


def generator_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of all generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_generator_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Restore what :func:`generator_states` returned.

    Raises:
        InputError: the states come from another kind of device.
    """
    names = {"cuda": "a CUDA GPU", "mps": "an Apple GPU", "cpu": "a CPU"}
    began = next((kind for kind in ("cuda", "mps") if kind in states), "cpu")
    if began != device.type:
        hide = "" if device.type == "cpu" else " with LTLIB_DEVICE=cpu"
        remedy = f"on a CPU{hide}" if began == "cpu" else f"on {names[began]}"
        raise InputError(
            f"This run was started on {names[began]} and cannot be resumed on {names[device.type]}, whose random "
            f"numbers are others: resume it {remedy}, or start a new run."
        )
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])


@contextlib.contextmanager
def memory_explained(batch_size: int) -> Iterator[None]:
    """Turn an error of a device that is out of memory into a sentence that names the batch size.

    Raises:
        InputError: memory ran out inside the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        out = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text
        if not out:
            raise
        wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
        needed = f" while it asked for {wanted[1]} more" if wanted else ""
        raise InputError(
            f"Memory ran out in training with batch_size={batch_size}{needed}: choose a smaller batch_size or "
            f"backbone, or free memory that other programs hold."
        ) from error


def hardware(device: torch.device) -> dict[str, object]:
    """What a result must say about the machine it comes from."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    if device.type == "mps":
        return {"device": "mps", "processor": platform.machine(), "macos": platform.mac_ver()[0]}
    return {"device": "cpu", "processor": platform.machine(), "threads": torch.get_num_threads()}
