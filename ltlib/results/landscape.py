"""How the loss of each class bends around the trained weights of a run, kept beside its predictions."""

from __future__ import annotations

import numpy as np
import torch

from ltlib.errors import InputError
from ltlib.evaluation.sharpness import class_curvature, class_sharpness
from ltlib.experiments.execute import load
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.experiments.runs import Run
from ltlib.results.predictions import Arrays


def sharpness(run: Run) -> Arrays:
    """Measured on the training images of a finished run.

    Returns:
        Each (K,), float32: ``rise``, see :func:`ltlib.evaluation.sharpness.class_sharpness`, and ``lowest`` and
        ``highest``, the ends of the spectrum of the Hessian, see
        :func:`ltlib.evaluation.sharpness.class_curvature`.

    Raises:
        InputError: the run is not finished, its data have changed, or its training images are not in memory.
    """
    method = load(run)
    experiment = Experiment(**run.info["experiment"])
    data = prepare(experiment, resolve(experiment)[0])
    if data.fingerprint != run.info["data"]["fingerprint"]:
        raise InputError(f"The data of run {run.id} have changed: export it without --sharpness.")
    if not isinstance(data.train.pixels, np.ndarray):
        raise InputError(f"The training images of run {run.id} are read from disk: export it without --sharpness.")
    images, labels = torch.from_numpy(data.train.pixels), torch.from_numpy(data.train.labels)
    lowest, highest = class_curvature(method, images, labels)
    found = {"rise": class_sharpness(method, images, labels), "lowest": lowest, "highest": highest}
    return {name: values.astype(np.float32) for name, values in found.items()}
