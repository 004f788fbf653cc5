"""Trained networks that travel with the project, and the one call that opens them.

``data/reference_runs/<study>/networks/<name>.safetensors`` is, byte for byte, the ``weights.safetensors`` of a run
whose record is in the study: the SHA-256 of the weights leads from the one to the other. ``<name>.md`` beside it is
the model card, written from the record. ``<name>.json`` says how accurate the network is in float16. The wheel carries
a float16 copy where that differs by at most 0.05 points; :func:`load` opens both and computes in float32.

    >>> import ltlib
    >>> method = ltlib.load("cifar10_lt_paper/mislas")
    >>> logits = method.logits(images)  # images: float in [0, 1], (N, 3, 32, 32)
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as from_safetensors

from ltlib.data.augment import to_float
from ltlib.errors import InputError, check_choice
from ltlib.experiments import execute
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.prepare import prepare
from ltlib.experiments.recipe import resolve
from ltlib.experiments.runs import Run
from ltlib.files import write_atomic
from ltlib.methods import Method
from ltlib.paths import make_folder
from ltlib.results import float16, records
from ltlib.results.record import Record

FOLDER = "networks"


def names() -> list[str]:
    """The stored networks, as ``<study>/<name>``."""
    return sorted(
        f"{file.parent.parent.name}/{file.stem}" for file in records.studies().glob(f"*/{FOLDER}/*.safetensors")
    )


def load(name: str) -> Method:
    """A stored network with everything its method adds to it, on the CPU, in evaluation mode.

    Args:
        name: one of :func:`names`, such as ``cifar10_lt_paper/mislas``.

    Raises:
        InputError: no network is called so, or its file is not the one that the study's record describes.
    """
    return opened(name)[0]


def opened(name: str) -> tuple[Method, Record]:
    """A stored network as :func:`load` gives it, and the record of its training."""
    check_choice("network", name, names())
    study, _, stem = name.partition("/")
    content = (records.studies() / study / FOLDER / f"{stem}.safetensors").read_bytes()
    record = record_of(study, content)
    return filled(record, content), record


def filled(record: Record, content: bytes) -> Method:
    """The method that a record describes with the weights of a safetensors file, float32 or float16."""
    method = execute.untrained(record.method, record.recipe, record.hyperparameters, record.data)
    method.load_state_dict(from_safetensors(content))  # copies into the float32 parameters
    return method.eval()


def record_of(study: str, content: bytes) -> Record:
    """The record of the run that these weights, or the float32 weights that they were copied from, are of.

    Raises:
        InputError: the study has no record of such weights.
    """
    try:
        sha256 = float16.original(content) or hashlib.sha256(content).hexdigest()
    except ValueError as error:
        raise InputError(
            f"A network of study {study} is damaged ({error}): restore it with 'git checkout "
            f"data/reference_runs/{study}', or install the wheel again."
        ) from error
    for record in records.read(study):
        if record.weights_sha256 == sha256:
            return record
    raise InputError(
        f"Study {study} has no record of weights with SHA-256 {sha256}: the file is damaged. "
        f"Restore it with 'git checkout data/reference_runs/{study}'."
    )


def store(run: Run, study: Path, name: str) -> Path:
    """Put the weights of an exported run among the networks of its study, with a model card; returns the weights' file.

    The accuracy of the float16 copy is measured on the run's test images.

    Raises:
        InputError: the run has not been exported into the study, or its data are not there any more.
    """
    content = (run.folder / "weights.safetensors").read_bytes()
    record = record_of(study.name, content)
    measured = json.dumps(accuracies(run, record, content), indent=1)
    file = make_folder(study / FOLDER, "--to") / f"{name}.safetensors"
    write_atomic(file, content)
    write_atomic(file.with_suffix(".json"), measured.encode())
    write_atomic(file.with_suffix(".md"), card(record, f"{study.name}/{name}").encode())
    return file


@torch.inference_mode()
def accuracies(run: Run, record: Record, content: bytes, batch: int = 500) -> dict[str, float | None]:
    """Test accuracy of weights in float32 and of their float16 copy, both computed in float32 on the CPU.

    ``float16`` is None where a weight is too large for float16.
    """
    experiment = Experiment(**run.info["experiment"])
    test = prepare(experiment, resolve(experiment)[0]).test
    pixels, labels = torch.from_numpy(np.asarray(test.pixels)), torch.from_numpy(test.labels)

    def accuracy(weights: bytes) -> float:
        method = filled(record, weights)
        predicted = torch.cat([method.logits(to_float(x)).argmax(1) for x in pixels.split(batch)])
        return (predicted == labels).double().mean().item()

    try:
        return {"float32": accuracy(content), "float16": accuracy(float16.halved(content))}
    except OverflowError:
        return {"float32": accuracy(content), "float16": None}


def _trained(record: Record) -> str:
    """How long the training took, and what it started from."""
    hours = record.seconds / 3600
    time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    stage1 = record.hyperparameters.get("stage1")
    return f"Second stage trained in {time}, from the weights of {stage1}," if stage1 else f"Trained in {time}"


def card(record: Record, name: str) -> str:
    """The model card of a stored network, in Markdown, made of nothing but its record."""
    data, recipe, metrics, e = record.data, record.recipe, record.metrics, record.experiment
    own = ", ".join(f"{key}={value}" for key, value in record.hyperparameters.items() if value != "")
    groups = metrics["groups"][record.rule]
    per_group = ", ".join(f"{g} {v['accuracy']:.1%}" for g, v in groups.items() if v["accuracy"] is not None)
    hardware = record.hardware
    return f"""# {name}

{record.label}: {recipe["backbone"]} trained on {data["name"]}, {data["train_images"]:,} images, imbalance factor
{e["imbalance_factor"]:g} ({e["imbalance_type"]}), seed {e["seed"]}.

- Test accuracy {metrics["accuracy"]:.2%}, ECE {metrics["ece"]:.2%} on {metrics["test_images"]:,} images, after the
  {record.reported}. By group: {per_group}.
- Recipe: {recipe["epochs"]} epochs, batch size {recipe["batch_size"]}, learning rate {recipe["lr"]:g}, weight decay
  {recipe["weight_decay"]:g}, schedule {recipe["schedule"]}, precision {record.precision or "float32"}.
- Settings of the method: {own or "none"}.
- {_trained(record)} on one {hardware["device"]}, {hardware.get("threads", 1)} thread(s),
  torch {record.versions["torch"]}.
- Run: `{record.id}`. Command: `{record.command}`.
- SHA-256 of the weights: `{record.weights_sha256}`.
- Classes, from the most to the least frequent: {", ".join(data["class_names"])}.

Limits: this is one seed. The training set is long-tailed, and the rare classes are recognised less often than the
average suggests. The network has seen {data["image_size"]}x{data["image_size"]} images of {len(data["class_names"])}
classes and cannot say that an image shows none of them. It is meant for teaching and for comparison, not for decisions
about people or safety.

```python
import ltlib
method = ltlib.load("{name}")
logits = method.logits(images)  # images: float in [0, 1], (N, 3, {data["image_size"]}, {data["image_size"]})
```
"""
