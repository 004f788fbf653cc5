"""One table of speed: ltlib, the plain recipe of published repositories, and what the machine could do at best.

    python -m tests.benchmarks [--rounds 5] [--batches 10] [--name NAME]

``--name`` keeps the results in ``data/benchmarks/NAME.json``, with hardware and versions. On a small shared CPU only
the ratios and shares mean something; the contestants take turns in one process, so that noise disturbs them alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import torch

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments.execute import revision, versions
from ltlib.files import write_atomic
from ltlib.results.formats import as_text
from ltlib.training.device import choose_device, hardware, resolve_precision, use_available_cores
from tests.benchmarks import growth, limit, operators
from tests.benchmarks.race import peak_memory, race
from tests.benchmarks.rows import Row, table

CONTESTANTS = ("ltlib", "plain")


def measure_row(row: Row, machines: dict[bool, limit.Machine], device: torch.device, options) -> dict:
    """Images a second of both, their ratio, the share of the limit, and the peak memory of each on its own."""
    times = race({name: row.make(name, device) for name in CONTESTANTS}, options.rounds)
    machine = machines[row.reduced]
    least = sum(n * limit.seconds_per_image(backbone, 32, machine) for backbone, n in row.passes)
    return {
        "what": row.name,
        "ltlib": row.images / times["ltlib"],
        "plain": row.images / times["plain"],
        "ratio": times["plain"] / times["ltlib"],
        "limit": 1 / least,
        "share_of_limit": least * row.images / times["ltlib"],
        "peak_memory_mb": {name: _peak_of(row.name, name, options) for name in CONTESTANTS},
    }


def _peak_of(row: str, contestant: str, options) -> float:
    """Peak memory of one contestant in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks",
        "--batches",
        str(options.batches),
        "--peak-of",
        row,
        contestant,
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_start() -> float:
    """Seconds from starting Python to the end of the first training step."""
    code = (
        "from tests.benchmarks.rows import make_batch, make_engine, make_method\n"
        "from ltlib.training.device import choose_device\n"
        "device = choose_device()\n"
        "engine = make_engine(make_method('cross_entropy', 'resnet32', device), 128, 128, device)\n"
        "engine._step(make_batch(128, device)).tolist()"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def as_rows(measured: list[dict]) -> list[dict[str, object]]:
    """The table for people."""
    return [
        {
            "images a second": row["what"],
            "ltlib": f"{row['ltlib']:,.3g}",
            "plain": f"{row['plain']:,.3g}",
            "ltlib / plain": f"{row['ratio']:.2f}",
            "limit": f"{row['limit']:,.3g}",
            "ltlib / limit": f"{row['share_of_limit']:.1%}",
            "peak MB, ltlib": f"{row['peak_memory_mb']['ltlib']:,.0f}",
            "peak MB, plain": f"{row['peak_memory_mb']['plain']:,.0f}",
        }
        for row in measured
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=10, help="in an epoch of the training rows")
    parser.add_argument("--name", help="keep the results in data/benchmarks/NAME.json")
    parser.add_argument("--peak-of", nargs=2, metavar=("ROW", "CONTESTANT"), help="only print a peak memory in MB")
    options = parser.parse_args()
    device = choose_device()
    use_available_cores()
    rows = table(device.type == "cuda", options.batches)
    if options.peak_of:
        wanted, contestant = options.peak_of
        next(row for row in rows if row.name == wanted).make(contestant, device)()
        print(peak_memory())
        return

    file = paths.project() / "data" / "benchmarks" / f"{options.name}.json"
    if options.name and file.exists():
        raise InputError(f"{file} exists: choose another --name, or delete it first.")
    precision = resolve_precision("auto", device)
    reduced = torch.bfloat16 if precision == "bfloat16" else torch.float32
    machines = {True: limit.measure(reduced, device), False: limit.measure(torch.float32, device)}
    print(f"{hardware(device)}, ltlib trains in {precision}", flush=True)
    measured = []
    for row in rows:
        measured.append(measure_row(row, machines, device, options))
        print(f"  {row.name}: ltlib / plain = {measured[-1]['ratio']:.2f}", flush=True)
    found = {
        "command": f"python -m tests.benchmarks --rounds {options.rounds} --batches {options.batches}",
        "date": time.strftime("%Y-%m-%d"),
        "revision": revision(),
        "hardware": hardware(device),
        "versions": versions(),
        "precision": precision,
        "matrix_product": {str(m.dtype): m.operations for m in machines.values()},
        "copy_bytes": machines[True].bytes,
        "rows": measured,
        "operators_per_step": operators.all_counts(),
        "seconds_to_first_step": measure_start(),
        "growth": growth.measure(device, options.rounds),
    }
    print(as_text(as_rows(measured)))
    print(f"from starting Python to the end of the first step: {found['seconds_to_first_step']:.1f} s")
    for what, number in found["operators_per_step"].items():
        print(f"{what}: {number} operators per step, counted on the pretended device")
    for line in found["growth"]:
        points = ", ".join(f"{v:,}: {t:.2f}" for v, t in zip(line["values"], line["relative"], strict=True))
        print(f"{line['of']} by {line['quantity']}: {points}; fixed {line['fixed']:.2f}, slope {line['slope']:.3f}")
    if options.name:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, (json.dumps(found, indent=1) + "\n").encode())
        print(f"kept in {file}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
