"""A checkpoint that the authors of a paper released, or a stored network, as a finished run: read, renamed, evaluated.

The file is read as data only. Its tensors get our names (``Method.released_name`` and the ``released_name`` of each
backbone), and every one of ours must be there. A ``weights.safetensors`` of this package has our names already. The run
then has everything that a trained one has, apart from a learning curve, and ``run.json`` says ``imported``: the name of
the file, its SHA-256, and what was not in it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor

from ltlib import methods
from ltlib.data.stream import on_device
from ltlib.errors import InputError, check_choice
from ltlib.evaluation.evaluate import predict, report_card, used_parameters
from ltlib.experiments.execute import about
from ltlib.experiments.experiment import Experiment, command
from ltlib.experiments.plan import network, plan
from ltlib.experiments.prepare import Prepared
from ltlib.experiments.recipe import with_method
from ltlib.experiments.runs import Run
from ltlib.methods import METHODS, Method
from ltlib.methods.mislas import TwoStage
from ltlib.training import checkpoint
from ltlib.training.device import choose_device, generator_states, reproducible

CLASS_ORDERS = ("descending", "ascending")
STAGES = ("", "1", "2")
SCALES = ("learned_norm", "scales", "scale")  # of the classes, by MiSLAS, by Kang et al., and here
# What MiSLAS stores beside its weights, its best accuracy, is a number of NumPy, of the old or the new package.
SCALARS = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
]


def import_run(
    file: Path,
    experiment: Experiment,
    *,
    stage: str = "",
    class_order: str = "descending",
    runs_dir: Path | None = None,
) -> Run:
    """Make a finished run of a released checkpoint and evaluate it on the test set.

    Everything is checked before anything is written. Importing the same file again gives the run that is there.

    Args:
        file: a checkpoint as the authors' code writes it, or a safetensors file with their names or ours.
        experiment: method, data and imbalance factor that the file belongs to, with ``profile="paper"``. Another
            network than the paper's first one is an override, such as ``backbone=wrn34_20``.
        stage: of a method with two stages, which one the file holds: ``1``, ``2``, or empty for what is in it. A first
            stage becomes a run of ``mixup``, from which others can start (``stage1=ID``).
        class_order: how the authors numbered the classes. MiSLAS numbers them by descending count as we do, ResLT by
            ascending count on the large sets. Classes of equal count keep the order of the list files.
        runs_dir: folder of the run folders; default ``LTLIB_RUNS``.

    Raises:
        InputError: the file cannot be read without running code, does not hold this method, or the data are missing.
    """
    check_choice("class_order", class_order, CLASS_ORDERS)
    check_choice("stage", stage, STAGES)
    raw = _bytes(file)
    content, sha256 = _content(raw, file), hashlib.sha256(raw).hexdigest()
    theirs = list(_tensors(content))
    experiment = _of_stage(experiment, stage, any(name in SCALES for name, _ in theirs))
    planned, device = plan(experiment, runs_dir=runs_dir), choose_device()
    run = Run(planned.runs_dir / f"{planned.run_id()}-imported-{sha256[:8]}-{class_order}")
    if run.state == "finished":
        return run
    with reproducible(experiment.seed, device):
        # not planned.build(): every weight is replaced, so none is downloaded
        untrained = network(experiment.method, asdict(planned.recipe), planned.data.description())
        counts = torch.from_numpy(planned.data.counts)
        method = methods.make(experiment.method, untrained, counts, **planned.own)
        missing = _fill(method, theirs, class_order, file)
        method = method.to(device).to(memory_format=torch.channels_last).eval()
        source = {"file": file.name, "sha256": sha256, "class_order": class_order, "not_in_file": missing}
        with run.locked():
            told = about(planned, device) | {"id": run.id, "command": _command(file, experiment, class_order)}
            run.update(**told, imported=source)
            state = {"method": method.state_dict(), "generators": generator_states(device)}
            checkpoint.save(run.checkpoint, state, planned.identity() | {"imported": sha256})
            _evaluate(run, method, planned.data, device)
    return run


def _evaluate(run: Run, method: Method, data: Prepared, device: torch.device) -> None:
    """Store predictions, weights and report card, and call the run finished."""
    test = on_device(data.test, device)
    logits = predict(method, test[0]).numpy()
    run.store_metrics([])
    run.store_predictions(logits, data.test.labels, data.counts)
    run.store_weights(method.state_dict())
    run.update(
        state="finished",
        reason="",
        finished=run.info["started"],
        seconds=0.0,
        trained_images=0,
        precision="float32",
        parameters=used_parameters(method, torch.zeros(1, *test[0].shape[1:], device=device)),
        metrics=report_card(logits, data.test.labels, data.counts),
        best_epochs={},
    )


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"The checkpoint {file} cannot be read ({error.strerror}): give the path of a file."
        ) from error


def _content(raw: bytes, file: Path) -> dict:
    """What is in a checkpoint.

    Raises:
        InputError: it is damaged, is no dictionary, or is a pickle that needs code.
    """
    damaged = f"{file} is damaged or is not a checkpoint of PyTorch: download it again."
    try:
        if raw[8:9] == b"{":  # safetensors: the length of a header, and the header in JSON
            return from_safetensors(raw)
        with torch.serialization.safe_globals(SCALARS):
            content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" not in str(error) and "Unsupported class" not in str(error):
            raise InputError(damaged) from error
        raise InputError(
            f"{file} holds more than tensors and numbers, and reading it would run code from the file: ask its authors "
            f"for a file of the state_dict only."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, IndexError) as error:
        raise InputError(damaged) from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds a {type(content).__name__}, not a state_dict: give a checkpoint of a network.")
    return content


def _tensors(content: dict, before: str = "") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all weights in a checkpoint, whatever dictionaries they are in, without ``module.``."""
    for key, value in content.items():
        if isinstance(value, Tensor) and isinstance(key, str):
            yield before + key.removeprefix("module."), value
        elif isinstance(value, dict) and key != "optimizer":
            yield from _tensors(value, "block." if key == "state_dict_block" else before)


def _of_stage(experiment: Experiment, stage: str, has_scale: bool) -> Experiment:
    """The experiment that the file is of: the first stage of a method with two is a run of ``mixup``.

    Raises:
        InputError: the file holds another stage than the one that was named.
    """
    kind = METHODS[experiment.method]
    if not issubclass(kind, TwoStage):
        if stage:
            raise InputError(f"{experiment.method} has one stage: leave --stage {stage} out.")
        return experiment
    if stage == "1" and has_scale:
        raise InputError("The file holds a scale for each class, which belongs to stage 2: leave --stage 1 out.")
    if stage == "2" and kind.learn_scale and not has_scale:
        raise InputError(f"The file holds no scale for each class, so it is not stage 2 of {experiment.method}.")
    first = stage == "1" or (not stage and kind.learn_scale and not has_scale)
    return with_method(experiment, "mixup") if first else experiment


def _fill(method: Method, theirs: list[tuple[str, Tensor]], class_order: str, file: Path) -> list[str]:
    """Give the method the weights of the file; returns the parts that are not in it.

    Raises:
        InputError: a tensor is unknown, has another shape, is missing, or is there twice.
    """
    ours, filled = method.state_dict(), set()
    is_ours = any(name.startswith("network.") for name, _ in theirs)
    if is_ours and class_order != CLASS_ORDERS[0]:
        raise InputError(f"{file} has the names of ltlib, and so its order of the classes: leave --class-order out.")
    for theirs_name, tensor in theirs:
        name = theirs_name if is_ours else method.released_name(theirs_name, method.network.backbone)
        if name is None or (not is_ours and not theirs_name.partition(".")[2] and name not in ours):
            continue
        if name not in ours:
            raise InputError(f"{file} holds {theirs_name!r}, which {_called(method)} does not have: check --method.")
        if name in filled:
            raise InputError(
                f"{file} holds {theirs_name!r} more than once, as files do that keep a moving average of the network "
                f"as well: save the state_dict that you mean as a file of its own."
            )
        ours[name] = _fitted(name, tensor, ours[name], theirs_name, file, class_order)
        filled.add(name)
    counters = tuple(name for name in ours if name.endswith("num_batches_tracked"))
    missing = [name for name in ours if name not in filled and name not in counters]
    needed = [name for name in missing if not name.startswith((*method.optional, "network.normalize."))]
    if needed:
        raise InputError(f"{file} lacks {needed[0]!r} of {_called(method)}: check --method, --dataset and backbone.")
    method.load_state_dict(ours)
    return sorted({name.partition(".")[0] for name in missing if not name.startswith("network.")})


def _fitted(name: str, tensor: Tensor, like: Tensor, theirs: str, file: Path, class_order: str) -> Tensor:
    """The tensor in our shape, with our order of the classes."""
    if name.startswith("branches.") and tensor.ndim and len(tensor) > len(like):
        tensor = tensor[: len(like)]  # on iNaturalist the layer has a third branch that nothing uses
    if name == "scale":
        tensor = tensor.flatten()
    if tensor.shape != like.shape:
        raise InputError(
            f"{file} holds {theirs!r} of shape {tuple(tensor.shape)}, and this network needs {tuple(like.shape)}: "
            f"check --dataset and the backbone (--overrides backbone=...)."
        )
    by_class = name == "scale" or name.startswith("network.classifier.")
    return tensor.flip(0) if by_class and class_order == "ascending" else tensor


def _called(method: Method) -> str:
    return f"{type(method).__name__} on {type(method.network.backbone).__name__}"


def _command(file: Path, experiment: Experiment, class_order: str) -> str:
    """The command that imports the file again."""
    words = command(experiment, f"import {shlex.quote(file.name)}")
    return words if class_order == CLASS_ORDERS[0] else f"{words} --class-order {class_order}"
