"""What "float32" means: 24 bits of precision, on every GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Switch TF32 off for the block, and give the user's settings back afterwards.

    GPUs since Ampere compute float32 convolutions in TF32 unless told otherwise. TF32 keeps 11 of the 24 bits of
    precision, while the results of the papers were computed with all of them.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
