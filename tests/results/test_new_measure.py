"""A new measure is one function and one line: tried in a copy of the package."""

import csv
import os
import shutil
import subprocess
import sys

import numpy as np

from ltlib import paths

FUNCTION = '''

def over_half(p: np.ndarray, y: np.ndarray) -> float:
    """Share of the images with a confidence above one half."""
    return float((p.max(axis=1) > 0.5).mean())
'''
LINE = '    "over_half": Measure("over half", lambda z, p, y: calibration.over_half(p, y)),\n'


def test_a_new_measure_is_one_function_and_one_line(tmp_path):
    copy = tmp_path / "ltlib"
    shutil.copytree(paths.project() / "ltlib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "evaluation" / "calibration.py").open("a") as file:
        file.write(FUNCTION)
    evaluate = copy / "evaluation" / "evaluate.py"
    text = evaluate.read_text()
    head = "MEASURES = {\n"
    assert text.count(head) == 1
    evaluate.write_text(text.replace(head, head + LINE))

    environment = os.environ | {"PYTHONPATH": str(tmp_path), "LTLIB_RUNS": str(tmp_path / "runs")}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "ltlib", *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("train", "--profile", "smoke")
    (predictions,) = (tmp_path / "runs").glob("*/predictions.npz")
    with np.load(predictions) as stored:
        z, counts, labels = stored["logits"].astype(float), stored["counts"], stored["labels"]
    p = np.exp(z - z.max(1, keepdims=True))
    above = (p / p.sum(1, keepdims=True)).max(1) > 0.5
    rare = np.isin(labels, np.argsort(-counts, kind="stable")[7:])  # of ten classes the papers call three "few"

    names = ["over half", "over half few"]
    run("results", "--study", "runs", "--metric", *names, "--to", "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        found = {row["metric"]: float(row["mean"]) for row in csv.DictReader(file)}
    assert found == {"over half": above.mean(), "over half few": above[rare].mean()}
    shown = run("runs", "show", predictions.parent.name)
    (line, *_) = (line.split() for line in shown.splitlines() if line.startswith("over half"))
    assert line[2] == f"{above.mean():.1%}"
