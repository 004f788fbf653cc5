"""What happens to bad input: one sentence that says what is wrong, what is allowed, what to do.

The command line prints the sentence and exits with status 2; a notebook shows it without a traceback.
"""

from __future__ import annotations

import difflib
import errno
import re
import unicodedata
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one complete sentence for the user, in one line."""

    def __str__(self) -> str:
        return one_line(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """IPython calls this: a reader needs the sentence, not the path our code took to it."""
        return [f"{type(self).__name__}: {self}"]


class TrainingStopped(InputError):
    """Training met a value that is not finite and stopped; the last good checkpoint is kept."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The tail of an error message: what the user probably meant, and everything that is allowed."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(str(name).lower(), allowed, n=2, cutoff=0.5)
    meant = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return f"{meant} Allowed: {', '.join(allowed) or 'nothing'}."


def check_choice(what: str, value: object, allowed: Iterable[str]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``allowed``."""
    allowed = list(allowed)
    if value not in allowed:
        raise InputError(f"{what} {value!r} is not known.{nearest(str(value), allowed)}")


def from_system(error: OSError) -> str:
    """One sentence on what the operating system refused, and what helps."""
    where = f" {one_line(error.filename)!r}" if error.filename is not None else ""
    help_for = {
        errno.EACCES: "change its permissions, or name another folder",
        errno.EPERM: "change its owner, or name another folder",
        errno.EROFS: "name a folder on a disk that can be written",
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.ENAMETOOLONG: "give a shorter name",
        errno.EMFILE: "allow more open files (ulimit -n)",
        errno.ENOMEM: "free some memory",
    }
    advice = help_for.get(error.errno or 0, "check the file or folder, and start again")
    return f"The system refused to use{where or ' a file'} ({error.strerror or type(error).__name__}): {advice}."


LINE_BREAKS = re.compile("[\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029]+")
CHANGES_DIRECTION = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(value: object) -> str:
    """A text that a terminal shows as it is, in one line.

    Line breaks become spaces. Control characters, marks that change the direction of writing, and bytes of a file name
    that are no text become visible as ``\\x1b``, ``\\u202e`` or ``\\udce9``.
    """
    return "".join(
        c.encode("unicode_escape").decode() if c in CHANGES_DIRECTION or unicodedata.category(c) in ("Cc", "Cs") else c
        for c in LINE_BREAKS.sub(" ", str(value))
    )
