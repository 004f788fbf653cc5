"""What one student's notebook must not do to the next: change the course, leave a process, or leave a file it reads.

This is containment against accidents and pranks, not a sandbox. A notebook runs with the rights of the teacher, so it
can still read and delete the teacher's other files. `notebooks/guide/teaching.md` says what is promised.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from ltlib import paths

BECOME_SUBREAPER = 36  # of Linux's prctl: orphaned grandchildren become children of this process


def fingerprint() -> dict[str, str]:
    """File -> what tells it from a changed one: package, tests and lessons by content, the environment by date."""
    package, project = Path(paths.__file__).parent, paths.project()
    found = {}
    for root in (package, project / "tests", paths.resources() / "notebooks"):
        for file in _files(root):
            if not (root == project / "tests" and _compiled(file.path)):  # which no notebook reads
                found[file.path] = _digest(file)
    for root in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for file in _files(Path(root)):
            # The time of the last change of a file's content or owner, which only the administrator can set back.
            status = file.stat(follow_symlinks=False)
            found.setdefault(file.path, f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
    return found


def spoilt(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Files that were changed, made or removed.

    Compiled modules that were made in between, by a notebook or by another process, are deleted and not reported:
    Python makes them again from the source.
    """
    found = {file for file in before.keys() | after.keys() if before.get(file) != after.get(file)}
    made = {file for file in found if file not in before and _compiled(file)}
    for file in made:
        Path(file).unlink(missing_ok=True)
    return sorted(found - made)


def _compiled(file: str) -> bool:
    return file.endswith(".pyc") and Path(file).parent.name == "__pycache__"


def _files(root: Path) -> Iterator[os.DirEntry]:
    """Everything below a folder that is no folder; links are not followed."""
    with contextlib.suppress(FileNotFoundError), os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != ".ipynb_checkpoints":
                    yield from _files(Path(entry.path))
            else:
                yield entry


def _digest(file: os.DirEntry) -> str:
    if file.is_symlink() or not file.is_file():
        return f"not a plain file: {os.readlink(file.path) if file.is_symlink() else ''}"
    return hashlib.sha256(Path(file.path).read_bytes()).hexdigest()


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a notebook whose settings, caches and runs are below ``home``, which is deleted afterwards.

    Start-up files of IPython, settings of Jupyter and matplotlib, and decoded images that one notebook writes are then
    not read by the next.
    """
    import matplotlib

    fonts = home / "matplotlib"
    fonts.mkdir()
    for file in Path(matplotlib.get_cachedir()).glob("fontlist*.json"):  # takes seconds to make
        shutil.copy(file, fonts)
    own = {
        "HOME": "home",
        "TMPDIR": "tmp",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "jupyter",
        "JUPYTER_DATA_DIR": "jupyter",
        "MPLCONFIGDIR": "matplotlib",
        "LTLIB_CACHE": "cache",
        "LTLIB_RUNS": "runs",
    }
    for folder in own.values():
        (home / folder).mkdir(exist_ok=True)
    folders = {name: str(home / folder) for name, folder in own.items()}
    return os.environ | folders | {"PYTHONDONTWRITEBYTECODE": "1"} | variables


@contextlib.contextmanager
def no_process_left() -> Iterator[None]:
    """End every process that was started inside, also one that left its parent, its session or its environment behind.

    On Linux orphans become children of this process, which finds them so. Elsewhere only descendants are found.
    """
    me = psutil.Process()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(BECOME_SUBREAPER, 1, 0, 0, 0)
    before = set(me.children(recursive=True))
    try:
        yield
    finally:
        for _ in range(100):  # while one is killed another may be born
            left = [process for process in me.children(recursive=True) if process not in before]
            if not left:
                break
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
            time.sleep(0.01)
