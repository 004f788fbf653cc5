"""`data fetch`: what is here is listed, and what is missing is said in one sentence with what to do."""

import shutil

from ltlib import paths
from ltlib.__main__ import main
from ltlib.data import fetch


def test_a_checkout_has_everything(capsys):
    assert main(["data", "fetch"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(fetch.PARTS)
    assert f"in {paths.project() / 'data/features'}" in told[0]


def test_what_is_missing_is_named_with_what_to_do(tmp_path, monkeypatch, capsys):
    (tmp_path / "data" / "features").mkdir(parents=True)
    shutil.copy(paths.project() / "data/features/cifar10_lt.npz", tmp_path / "data/features")
    monkeypatch.setattr(paths, "resources", lambda: tmp_path)
    assert main(["data", "fetch"]) == 2
    told = capsys.readouterr().err
    assert "photographs of CIFAR-10, trajectories of trainings. The project has no public address" in told
    assert "features" not in told
    assert "make wheel" in told


def test_trajectories_are_listed_where_they_are(tmp_path, monkeypatch):
    for name in ("data/features/a.npz", "data/excerpts/b.png", "data/reference_runs/s/trajectories/c.npz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x" * 200_000)
    monkeypatch.setattr(paths, "resources", lambda: tmp_path)
    assert (
        fetch.lines()[2]
        .split("  ")[-1]
        .strip()
        .endswith(f"1 file, 0.2 MB, in {tmp_path / 'data/reference_runs/s/trajectories'}")
    )
