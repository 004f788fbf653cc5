"""Live figures: a control moves and the figure follows at once. Nothing trains here.

Every figure that the controls can select is drawn when the cell runs. So a move costs no drawing at all, and a
value for which drawing fails stops the cell (and its test) instead of the reader. What the cell stores is one
bundle with both the live control and a PNG of its start: JupyterLab shows the control; GitHub, exports and diffs
show the picture.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox
from PIL import Image

from ltlib.errors import InputError
from ltlib.files import write_atomic
from ltlib.lesson.figures.figure import STYLE, Picture
from ltlib.paths import make_folder

Control = ipywidgets.SelectionSlider | ipywidgets.Dropdown
VISIBLE = 3.0  # grey levels of 255, root mean square: bars and lines stay below it, photographs do not
PALETTES = (48, 128, 256)  # numbers of colours to try; 48 suffice for bars and lines, 32 tint the grid
MOST = 64  # figures an explorer may hold; each costs about 50 ms when the cell runs


class Explorer:
    """A figure under controls; as the last value of a cell it shows itself. See `explore`.

    Attributes:
        controls: name -> the widget that holds its value.
        view: the widget that shows the figure.
        start: the picture of the start values, which the notebook stores.
    """

    def __init__(self, draw: Callable[..., Picture], controls: dict[str, Control]):
        self.controls = controls
        self.start = draw(**{name: control.value for name, control in controls.items()})
        # All frames use the layout of the start, so the axes stay in place when the figure changes.
        self.start.figure.draw_without_rendering()
        places = [axes.get_position() for axes in self.start.figure.axes]
        self.frames = {
            values: _as_html(draw(**dict(zip(controls, values, strict=True))), places)
            for values in itertools.product(*(control.options for control in controls.values()))
        }
        self.view = ipywidgets.HTML()
        self._show()
        for control in controls.values():
            control.observe(self._show, names="value")
        self.box = ipywidgets.VBox([*controls.values(), self.view])

    def _show(self, change: object = None) -> None:
        self.view.value = self.frames[tuple(control.value for control in self.controls.values())]

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data, metadata = self.start._repr_mimebundle_()
        if os.environ.get("LTLIB_FRAMES"):
            metadata = metadata | {"frames": self.store(Path(os.environ["LTLIB_FRAMES"]))}
        view = {"model_id": self.box.model_id, "version_major": 2, "version_minor": 0}
        return {"application/vnd.jupyter.widget-view+json": view} | data, metadata

    def store(self, folder: Path) -> str:
        """Write all frames to one file, for pages where no kernel runs; returns the name of the file.

        ``lesson/build.py`` asks for it, and the web book makes a slider of the file.
        """
        values = {name: list(control.options) for name, control in self.controls.items()}
        start = [control.value for control in self.controls.values()]
        name = hashlib.sha256(json.dumps([values, start, self.start.text]).encode()).hexdigest()[:12]
        frames = [smaller(frame.split("base64,")[1].removesuffix('">')) for frame in self.frames.values()]
        content = {"controls": values, "start": start, "alt": self.start.text, "frames": frames}
        write_atomic(make_folder(folder, "LTLIB_FRAMES") / f"{name}.json", json.dumps(content).encode())
        return name


def smaller(image: str) -> str:
    """A PNG in base64 with as few colours as look the same: a fourth of the size.

    The palette covers all colours of the picture. One made by median cut follows their areas, so the small marks of
    single seeds took the colour of another method.
    """
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(image))) as full:
        picture = full.convert("RGB")
    for colours in PALETTES:
        few = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        apart = np.asarray(few.convert("RGB"), dtype=float) - np.asarray(picture)
        if np.sqrt(np.mean(apart**2)) <= VISIBLE:
            break
    few.save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def explore(draw: Callable[..., Picture], **controls: tuple[Sequence, object]) -> Explorer:
    """Show ``draw`` with a control for each of its arguments.

    Args:
        draw: takes the values of the controls by name and returns a `Picture`, from arrays that were computed
            before; it is called once for every combination of values.
        controls: ``name=(values, start)``. Numbers become a slider, texts a menu.

    Raises:
        InputError: a control is not such a pair, or there are more than 64 combinations.

    >>> explore(lambda bins: figures.reliability(predictions, bins), bins=(range(5, 31), 15))
    """
    widgets = {name: _control(name, given) for name, given in controls.items()}
    wide = f"{max(map(len, widgets)) / 2 + 1:g}em"  # of the longest name: all sliders have one length
    for widget in widgets.values():
        widget.style.description_width = wide
    combinations = math.prod(len(widget.options) for widget in widgets.values())
    if combinations > MOST:
        raise InputError(
            f"The controls {', '.join(widgets)} have {combinations} combinations, and each is drawn beforehand: "
            f"give them fewer values, at most {MOST} combinations."
        )
    return Explorer(draw, widgets)


def _control(name: str, given: tuple[Sequence, object]) -> Control:
    try:
        values, start = given
        values = list(values)
    except (TypeError, ValueError):
        raise InputError(f"A control is given as name=(values, start); {name} is {given!r}.") from None
    if start not in values:
        raise InputError(f"The start of control {name} must be one of its values; {start!r} is none of {values}.")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    kind = ipywidgets.SelectionSlider if numbers else ipywidgets.Dropdown
    look = {"width": "420px", "max_width": "100%"}
    return kind(options=values, value=start, description=name.replace("_", " "), layout=look)


def _as_html(picture: Picture, places: list[Bbox]) -> str:
    image = base64.b64encode(_quick_png(picture, places)).decode()
    return f'<img style="max-width:100%" alt="{html.escape(picture.text)}" src="data:image/png;base64,{image}">'


def _quick_png(picture: Picture, places: list[Bbox]) -> bytes:
    """The figure as PNG with its axes at ``places``: one drawing instead of the three of a fresh layout."""
    figure = picture.figure
    figure.set_layout_engine("none")
    for axes, place in zip(figure.axes, places, strict=True):
        axes.set_position(place)
    with mpl.rc_context(STYLE):
        figure.set_dpi(mpl.rcParams["savefig.dpi"])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "png", compress_level=1)
    return buffer.getvalue()
