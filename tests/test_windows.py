"""What a Linux machine can check of Windows: encodings, file names, and modules that only POSIX systems have."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from ltlib import paths
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.plan import plan
from ltlib.experiments.runs import Run

TEXT_METHODS = {"read_text", "write_text"}
# Names whose `open` opens no text file.
NO_TEXT = {"os", "Image", "self", "webbrowser"}
ONLY_POSIX = ("fcntl", "grp", "posix", "pwd", "pty", "resource", "termios", "tty")
SOURCES = [*paths.project().glob("ltlib/**/*.py"), *paths.project().glob("docs/*.py"), paths.project() / "setup.py"]


def without_encoding(source: str) -> list[int]:
    """The lines that open a text file, or read a process as text, in the encoding that the machine happens to have."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in named:
            continue
        if isinstance(call.func, ast.Attribute):
            name, owner = call.func.attr, getattr(call.func.value, "id", "")
            text = name in TEXT_METHODS or (name == "open" and owner not in NO_TEXT and not _binary(call, owner))
        else:
            name = getattr(call.func, "id", "")
            text = name == "open" and not _binary(call, "")
        if text or getattr(named.get("text"), "value", False) is True:
            found.append(call.lineno)
    return found


def _binary(call: ast.Call, owner: str) -> bool:
    """Whether a call of ``open`` names a binary mode. ``zipfile`` and ``gzip`` are binary unless they say "t"."""
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    texts += [k.value.value for k in call.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
    modes = [text for text in texts if re.fullmatch(r"[rwaxbt+]{1,3}", text)]
    return any("b" in mode for mode in modes) or (owner == "gzip" and not any("t" in mode for mode in modes))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(paths.project())))
def test_every_text_file_is_opened_as_utf8(file):
    assert without_encoding(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("open('a')", [1]),
        ("open('a', 'rb')", []),
        ("x = 1\nopen('a', mode='w')", [2]),
        ("open('a', encoding='utf-8')", []),
        ("path.open()", [1]),
        ("path.open('rb')", []),
        ("path.read_text()", [1]),
        ("path.write_text(text, encoding='utf-8')", []),
        ("gzip.open(file, 'rt')", [1]),
        ("gzip.open(file)", []),
        ("subprocess.run(command, text=True)", [1]),
        ("Image.open(file)", []),
    ],
)
def test_the_check_above_sees_what_it_should(source, lines):
    assert without_encoding(source) == lines


def wrong_on_windows(name: str) -> bool:
    """Whether Windows refuses a file or folder of this name."""
    stem = name.split(".")[0].upper()
    reserved = stem in {"CON", "PRN", "AUX", "NUL"} or re.fullmatch(r"(COM|LPT)\d", stem)
    return bool(reserved or re.search(r'[<>:"/\\|?*\x00-\x1f]', name) or name.endswith((".", " ")))


def test_windows_allows_the_name_of_every_file_of_the_repository():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=paths.project(), capture_output=True, encoding="utf-8")
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    if not files:
        pytest.skip("not a git checkout")
    assert [file for file in files if any(map(wrong_on_windows, file.parts))] == []
    assert len({str(file).lower() for file in files}) == len(files), "names that differ only in capitals"


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment("mislas", "glyphs", 12.5, profile="smoke", overrides="epochs=2, lr=0.05"),
        Experiment("cross_entropy", "digits", 10.0, imbalance_type="step", seed=7, profile="smoke"),
    ],
)
def test_windows_allows_the_name_of_a_run_folder(experiment):
    identity = plan(experiment).run.id
    assert not wrong_on_windows(identity)
    assert len(identity) < 100, "paths of more than 260 letters need a setting there"


def test_every_module_can_be_imported_without_what_only_posix_has(tmp_path):
    """In a process where those modules are missing. What torch and the like import of them was imported before."""
    modules = sorted(
        ".".join(file.relative_to(paths.project()).with_suffix("").parts).removesuffix(".__init__")
        for file in paths.project().glob("ltlib/**/*.py")
        if file.name != "__main__.py"
    )
    code = f"""
import builtins, importlib
real = builtins.__import__
def refuse(name, globals=None, locals=None, fromlist=(), level=0):
    if name.split(".")[0] in {ONLY_POSIX!r} and (globals or {{}}).get("__name__", "").startswith("ltlib"):
        raise ModuleNotFoundError(name)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = refuse
for module in {modules!r}:
    importlib.import_module(module)
print("all imported")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.stdout == "all imported\n", done.stderr[-1500:]


def test_a_run_in_use_is_seen_without_a_shared_lock(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    run = Run(tmp_path)
    assert not run.in_use()
    assert list(tmp_path.iterdir()) == []
    with FileLock(tmp_path / ".lock"):
        assert run.in_use()
    assert not run.in_use()
