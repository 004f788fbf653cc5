"""Which files the paths of a listing lead to. Another spelling of a path, or a link, is not another image.

Files are compared by device and inode, which see through ``./x``, ``a/../x``, absolute paths, symbolic links, hard
links and disks that ignore upper and lower case.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable
from functools import cache

from ltlib.data.listing import Listing, shown
from ltlib.errors import InputError


def check(listing: Listing) -> None:
    """Look at every file of a listing that exists; that none is missing is checked before decoding.

    Raises:
        InputError: an image is in both splits, or twice in one; it is not a plain file or must not be looked at; it
            is outside the data folder although the user did not name the list.
    """
    root = os.path.realpath(listing.root)
    train, test = _by_file(root, listing.train, listing), _by_file(root, listing.test, listing)
    if both := train.keys() & test.keys():
        first = min(train[file] for file in both)
        other = next(test[file] for file in both if train[file] == first)
        spelling = "" if other == first else f" (the same file as {shown(other)})"
        raise InputError(
            f"{len(both):,} images are in {listing.splits[0]} and in {listing.splits[1]}, such as "
            f"{shown(first)}{spelling}: a test image must not be trained on; take them out of one."
        )
    _check_outside(root, listing)


def _by_file(root: str, paths: list[str], listing: Listing) -> dict[Hashable, str]:
    """File -> its path in the listing.

    Raises:
        InputError: two paths of the split lead to one file.
    """
    found: dict[Hashable, str] = {}
    for path in paths:
        file = _identity(os.path.join(root, path))
        if file is None:
            continue
        if file in found:
            split = listing.splits[0 if paths is listing.train else 1]
            raise InputError(
                f"{shown(found[file])} and {shown(path)} in {split} are one and the same file: an image counts once "
                f"and has one label; remove one of them."
            )
        found[file] = path
    return found


def _identity(path: str) -> Hashable | None:
    """A value that two paths share if they lead to one file; None if there is none.

    Raises:
        InputError: it must not be looked at, or is a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except PermissionError as error:
        raise InputError(f"{shown(path)} cannot be looked at ({error.strerror}): make it readable.") from error
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shown(path)} is not a file: replace it with an image, or take it out of the data set.")
    # Some network disks have no inode numbers.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _check_outside(root: str, listing: Listing) -> None:
    """Images outside the data folder: refused, or counted in one line where the user named the list."""

    @cache
    def real(folder: str) -> str:
        return os.path.realpath(folder)

    def is_outside(path: str) -> bool:
        whole = os.path.join(root, path)
        # Only the folder is resolved, once for all of its files, unless the file itself is a link.
        file = os.path.realpath(whole) if os.path.islink(whole) else os.path.join(real(os.path.dirname(whole)), "x")
        return not file.startswith(os.path.join(root, ""))

    outside = [path for path in (*listing.train, *listing.test) if is_outside(path)]
    if not outside:
        return
    what = f"{len(outside):,} images are outside {shown(root)}, by links or paths, such as {shown(outside[0])}"
    if listing.outside:
        print(f"note: {what}.", flush=True)
        return
    raise InputError(
        f"{what}: copy them into the folder, or name them in a list of your own and give that list by name "
        f"(dataset 'list', overrides train_list=FILE, test_list=FILE)."
    )
