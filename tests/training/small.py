"""Small trainings of every method, on the CPU or on a CUDA device, real or pretended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from ltlib import methods
from ltlib.methods.method import hyperparameters
from ltlib.training.device import reproducible
from ltlib.training.engine import Engine
from tests.pretended_cuda import CUDA, Gpu
from tests.training.test_engine import OPTIONS, engine


def small(name: str, **settings: object) -> Callable:
    """The method called ``name``, with what makes its step cheap."""
    cheap = {"natural": "resnet8", "attack_steps": 1} | settings
    known = hyperparameters(methods.METHODS[name])
    return partial(methods.METHODS[name], **{n: v for n, v in cheap.items() if n in known})


def on_pretended(gpu: Gpu, kind: Callable | str, seed: int = 0, **options: object) -> Engine:
    """An engine on the pretended device: 60 images in batches of 13, the last of 8."""
    kind = small(kind, natural_run="any") if isinstance(kind, str) else kind
    precision = "bfloat16" if gpu.device.type == "cuda" else "float32"
    options = replace(OPTIONS, **{"batch_size": 13, "epochs": 2, "precision": precision} | options)
    host = engine(kind, replace(OPTIONS, precision="float32"), seed=seed)
    train, test = (tuple(gpu.tensor(t) for t in pair) for pair in (host.train, host.evaluate["test"]))
    return Engine(gpu.move(host.method), train, options, {"test": test})


def fit_on(e: Engine, file, on_epoch=lambda record: None, device: torch.device = CUDA) -> Engine:
    """The engine after its whole training, resumed from ``file`` if that exists."""
    with reproducible(5, device):
        e.resume(file, {})
        e.fit(file, {}, on_epoch)
    return e


def values(e: Engine) -> dict[str, torch.Tensor]:
    """The state of the method, on the host."""
    return {name: t.value.clone() for name, t in e.method.state_dict().items()}
