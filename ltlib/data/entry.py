"""What the rest of the package knows of a data set: one `Entry` for each name in ``datasets.DATASETS``.

A new data set is one file that makes an `Entry`, and one line in that table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ltlib.data.images import Dataset


@dataclass(frozen=True)
class Request:
    """What is asked of a loader. Each loader uses the fields that concern it.

    Attributes:
        data_dir: where the files are; empty means ``LTLIB_DATA`` (``folder`` and ``list`` always need it).
        image_size: side in pixels of drawn images, or the side that images from files are resized to; 0 keeps them.
        whole: side of the squares that whole training images are squeezed to, for training that cuts parts out of
            them; 0 stores them as the test images.
        num_classes, n_max, test_per_class: size of a set that is drawn; the other sets come whole.
        train_list, test_list: list files, see :func:`ltlib.data.lists.load_lists`.
    """

    data_dir: str = ""
    image_size: int = 0
    whole: int = 0
    num_classes: int = 10
    n_max: int = 500
    test_per_class: int = 100
    train_list: str = ""
    test_list: str = ""


@dataclass(frozen=True)
class Entry:
    """One data set by its name.

    Attributes:
        description: what it is, in half a line.
        load: gives the data set.
        needs: what you must download or install first; empty if nothing.
        mirror: a mirrored image is still an image of its class, so training may flip it.
        natural: it is long-tailed as it comes, and no subset of it is selected.
        folders: names below ``LTLIB_DATA``, any of which shows that the files are there.
        features: it holds features of a frozen network and no images.
    """

    description: str
    load: Callable[[Request], Dataset]
    needs: str = ""
    mirror: bool = True
    natural: bool = False
    folders: tuple[str, ...] = ()
    features: bool = False
