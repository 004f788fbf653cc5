"""Odd surroundings: one sentence, or it works."""

import os
import subprocess
import sys

import pytest

from ltlib import doctor, paths
from ltlib.__main__ import main
from ltlib.errors import InputError, from_system
from ltlib.experiments.execute import execute
from ltlib.experiments.experiment import Experiment


def command(*arguments, **environment):
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, env=os.environ | environment, timeout=600, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_shows_a_substitute(encoding):
    code = "import ltlib.__main__ as m\nm.COMMANDS['doctor'] = lambda: print('74 ± 1 → λ')\nm.main(['doctor'])"
    found = command("-c", code, PYTHONIOENCODING=f"{encoding}:strict")
    assert found.returncode == 0, found.stderr
    assert found.stdout.decode(encoding).strip() == {"ascii": "74 ? 1 ? ?", "latin-1": "74 ± 1 ? ?"}[encoding]


@pytest.mark.parametrize("variable", ["LTLIB_DATA", "LTLIB_CACHE", "LTLIB_RUNS"])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("~nosuchuser/x", "is the folder of a user who does not exist"),
        ("x" * 300, "is not a path (File name too long)"),
    ],
)
def test_impossible_folders_are_one_sentence(variable, value, sentence, monkeypatch, capsys):
    monkeypatch.setenv(variable, value)
    roots = {"LTLIB_DATA": paths.data_root, "LTLIB_CACHE": paths.cache_root, "LTLIB_RUNS": paths.runs_root}
    with pytest.raises(InputError) as caught:
        roots[variable]()
    assert sentence in str(caught.value)
    assert f"{variable}=" in str(caught.value)
    assert any(line.startswith(f"!! {variable}: InputError") for line in doctor.examine())
    if variable == "LTLIB_RUNS":
        assert main(["runs", "list"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_null_character_is_no_path():
    with pytest.raises(InputError, match=r"is not a path \(.*null"):
        paths.user_path("a\0b", "data_dir")


def test_what_does_not_exist_yet_is_a_path(tmp_path):
    assert paths.user_path(tmp_path / "new" / "er", "data_dir") == tmp_path / "new" / "er"
    assert paths.user_path("~/x", "data_dir") == paths.Path.home() / "x"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/a"), "refused to use '/a' (Permission denied): change its perm"),
        (OSError(30, "Read-only file system", "/a"), "(Read-only file system): name a folder on a disk"),
        (OSError(28, "No space left on device"), "refused to use a file (No space left on device): free some space."),
        (FileNotFoundError(2, "No such file", "a\nb"), "'a b' (No such file): check the file or folder"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(error, sentence, monkeypatch, capsys):
    assert sentence in from_system(error)

    def refused():
        raise error

    monkeypatch.setattr("ltlib.doctor.examine", refused)
    assert main(["doctor"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: The system refused")
    assert printed.count("\n") == 1


def test_the_doctor_never_raises(monkeypatch):
    def broken():
        raise RuntimeError("CUDA is \x1b[31mbroken")

    for name in ("_torch", "_data"):
        monkeypatch.setattr(doctor, name, broken)
    lines = doctor.examine()
    assert "!! torch: RuntimeError: CUDA is \\x1b[31mbroken" in lines
    assert any(line.startswith("!! data: RuntimeError") for line in lines)


ONE_AFTER_THE_OTHER = """
import sys
from ltlib.__main__ import main
if main.__doc__:
    sys.exit("docstrings are still there")
for line in sys.argv[1:]:
    try:
        status = main(line.split())
    except SystemExit as end:  # of argparse, after --help
        status = end.code
    print("status", status, "= end of", line)
"""


def test_without_docstrings_what_is_made_of_docstrings_still_works():
    commands = {
        "runs list": "no run yet",
        "train --help": "--overrides",
        "train --profile smoke --dry-run": "cross_entropy-glyphs",
        "explain mislas": "MiSLAS",
        "doctor": "data found",
    }
    found = command("-OO", "-c", ONE_AFTER_THE_OTHER, *commands)
    assert found.returncode == 0, found.stderr
    printed = found.stdout.decode()
    for line, expected in commands.items():
        output, mark, printed = printed.partition(f"status 0 = end of {line}\n")
        assert mark, printed
        assert expected in output


@pytest.fixture
def finished_on_a_read_only_disk(small_disk, monkeypatch):
    """A run store with one finished run, on a disk that can no longer be written."""
    disk = small_disk("size=20m")
    monkeypatch.setenv("LTLIB_RUNS", str(disk))
    run = execute(Experiment(profile="smoke", imbalance_factor=1, overrides="n_max=4, epochs=1"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=True)
    before = {file: file.stat().st_mtime_ns for file in disk.rglob("*")}
    yield run
    assert {file: file.stat().st_mtime_ns for file in disk.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["runs", "list"], "cross_entropy-glyphs-if1-smoke-s0"),
        (["runs", "show", "cross"], "accuracy"),
        (["results", "--study", "runs"], "n_max=4"),
        (["evaluate", "cross", "--prior", "forward:50"], "forward:50"),
        (
            ["train", "--profile", "smoke", "--imbalance-factor", "1", "--overrides", "n_max=4,epochs=1"],
            "everything is",
        ),
    ],
)
def test_a_run_on_a_read_only_disk_can_be_looked_at(finished_on_a_read_only_disk, arguments, expected, capsys):
    assert main(arguments) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--profile", "smoke", "--seed", "1"],
        ["results", "--study", "runs", "--to", "DISK/table.csv"],
        ["runs", "export", "cross", "--to", "DISK/exported"],
        ["robust", "cross", "--attack", "pgd20", "--images", "4"],
    ],
)
def test_what_must_be_written_to_a_read_only_disk_is_one_sentence(finished_on_a_read_only_disk, arguments, capsys):
    disk = str(finished_on_a_read_only_disk.folder.parent)
    assert main([word.replace("DISK", disk) for word in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "(Read-only file system)" in said
    assert disk in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", [b"caf\xe9", "\u732b".encode(), b"a\nb", b"-x", b"$(id)", b"a,b=c", b"sp ace", b"'\""])
def test_a_folder_with_an_odd_name_holds_runs(tmp_path, name, monkeypatch, capsys):
    folder = os.path.join(os.fsencode(tmp_path), name)
    monkeypatch.setenv("LTLIB_RUNS", os.fsdecode(folder))
    assert main(["train", "--profile", "smoke", "--imbalance-factor", "1", "--overrides", "n_max=4,epochs=1"]) == 0
    assert main(["runs", "list"]) == 0
    assert len(os.listdir(folder)) == 1
    assert "cross_entropy-glyphs-if1-smoke-s0" in capsys.readouterr().out
