"""A finished run as small files that can be kept, compared and sent: its record and its predictions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments.runs import Run
from ltlib.files import write_atomic
from ltlib.results import landscape, predictions, records
from ltlib.results.formats import refuse_other_content


def export(run: Run, folder: Path, label: str, logits: bool = False, sharpness: bool = False) -> Path:
    """Write ``<folder>/<run id>.json`` and, beside it, the predictions; returns the path of the first.

    Args:
        run: finished.
        folder: of the study; made if there is none.
        label: the row of a table that the run belongs to.
        logits: whether the logits of the test images are kept as well, as float16 (N, K).
        sharpness: whether the sharpness of each class's loss is measured and kept, see ``ltlib.results.landscape``.

    Raises:
        InputError: the run is not finished, one of its files is damaged, or a file exists with other content.
    """
    told: dict = records.kept(run, label) | {"weights_sha256": weights_sha256(run)}
    arrays = predictions.of_run(run, told.get("robust", []), logits=logits)
    if sharpness:
        arrays["sharpness"] = landscape.sharpness(run)
    file = folder / f"{told['id']}.json"
    content = (json.dumps(told, indent=1) + "\n").encode()
    beside = file.with_name(f"{told['id']}.npz")
    refuse_other_content(file, content.__eq__)
    refuse_other_content(beside, lambda _: predictions.equal(predictions.unpack(beside), arrays))
    paths.make_folder(folder, "--to")
    write_atomic(beside, predictions.pack(arrays))
    write_atomic(file, content)
    return file


def weights_sha256(run: Run) -> str:
    """Checksum of the final weights.

    Raises:
        InputError: they cannot be read.
    """
    file = run.folder / "weights.safetensors"
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): train the run again.") from error
