"""The explorer: one bundle with live view and PNG, every figure drawn beforehand, errors where tests see them."""

import base64
import io
import json
import time

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from ltlib.errors import InputError
from ltlib.lesson import figures, widgets

PNG = b"\x89PNG"


def draw(factor, kind="a"):
    """One point that moves with the value."""
    return figures.long_tailed_data.class_shares({kind: np.array([factor, 1.0])}, f"factor {factor}", top=10)


def shown(explorer):
    """Alternative text and PNG of the live view."""
    before, _, rest = explorer.view.value.partition('" src="data:image/png;base64,')
    return before.removeprefix('<img style="max-width:100%" alt="'), base64.b64decode(rest.removesuffix('">'))


def test_the_bundle_holds_the_live_view_and_the_picture_of_the_start():
    explorer = widgets.explore(draw, factor=([1, 2, 3], 2))
    data, metadata = explorer._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.box.model_id
    assert base64.b64decode(data["image/png"]).startswith(PNG)
    assert data["text/plain"].startswith("factor 2.")
    assert metadata["image/png"]["alt"] == data["text/plain"]


def test_moving_a_control_changes_picture_and_text():
    explorer = widgets.explore(draw, factor=([1, 2, 3], 2), kind=(["a", "b"], "a"))
    pictures = {}
    for kind in ("a", "b"):
        for factor in (1, 2, 3):
            explorer.controls["factor"].value, explorer.controls["kind"].value = factor, kind
            text, pictures[factor, kind] = shown(explorer)
            assert text.startswith(f"factor {factor}. {kind}: first class {factor}00.0%")
    assert all(png.startswith(PNG) for png in pictures.values())
    assert len(set(pictures.values())) == 6


def test_a_move_takes_less_than_50_ms_of_the_processor():
    explorer = widgets.explore(draw, factor=(range(10), 0))
    started = time.process_time()
    for value in range(1, 10):
        explorer.controls["factor"].value = value
    assert (time.process_time() - started) / 9 < 0.05


def test_moves_draw_nothing():
    calls = []
    explorer = widgets.explore(lambda factor: calls.append(factor) or draw(factor), factor=([1, 2], 1))
    drawn = len(calls)
    explorer.controls["factor"].value = 2
    assert len(calls) == drawn


def test_a_value_that_cannot_be_drawn_stops_the_cell():
    with pytest.raises(ZeroDivisionError):
        widgets.explore(lambda factor: draw(1 / factor), factor=([2, 1, 0, 3], 1))


def test_numbers_become_a_slider_and_texts_a_menu():
    controls = widgets.explore(draw, factor=([0.5, 1.0], 1.0), kind=(["a", "b"], "b")).controls
    assert isinstance(controls["factor"], ipywidgets.SelectionSlider)
    assert isinstance(controls["kind"], ipywidgets.Dropdown)
    assert {name: control.value for name, control in controls.items()} == {"factor": 1.0, "kind": "b"}


def test_the_axes_stay_in_place():
    """The layout of the start is used for all, so a wider label does not move the axes."""

    def edge(factor):
        return figures.long_tailed_data.class_shares({"a": np.array([factor, 1.0])}, "title")

    explorer = widgets.explore(edge, factor=([1, 100], 1))
    spines = [left_spine(explorer.start.png())]
    for factor in (1, 100):
        explorer.controls["factor"].value = factor
        spines.append(left_spine(shown(explorer)[1]))
    assert len(set(spines)) == 1, spines


def left_spine(png):
    """The column of the picture with most black pixels."""
    return int((np.asarray(Image.open(io.BytesIO(png)).convert("L")) < 50).sum(axis=0).argmax())


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"factor": 3}, r"name=\(values, start\); factor is 3"),
        ({"factor": ([1, 2], 5)}, "start of control factor must be one of its values; 5 is none of"),
        ({"factor": (range(10), 0), "kind": ("abcdefgh", "a")}, "factor, kind have 80 combinations"),
    ],
)
def test_bad_controls_are_refused(controls, message):
    with pytest.raises(InputError, match=message):
        widgets.explore(draw, **controls)


def test_frames_are_stored_in_the_order_that_the_page_reads_them(tmp_path, monkeypatch):
    monkeypatch.setenv("LTLIB_FRAMES", str(tmp_path / "frames"))
    explorer = widgets.explore(draw, factor=([1, 2], 2), kind=(["a", "b", "c"], "a"))
    _, metadata = explorer._repr_mimebundle_()
    content = json.loads((tmp_path / "frames" / f"{metadata['frames']}.json").read_text())
    assert content["controls"] == {"factor": [1, 2], "kind": ["a", "b", "c"]}
    assert content["start"] == [2, "a"]
    assert len(set(content["frames"])) == 6
    # The last control varies fastest, so frame 2 is factor 1 and kind c.
    explorer.controls["factor"].value, explorer.controls["kind"].value = 1, "c"
    _, png = shown(explorer)
    assert content["frames"][2] == widgets.smaller(base64.b64encode(png).decode())


def test_a_picture_gets_as_many_colours_as_it_needs():
    def colours(array):
        buffer = io.BytesIO()
        Image.fromarray(array.astype(np.uint8)).save(buffer, "png")
        found = Image.open(io.BytesIO(base64.b64decode(widgets.smaller(base64.b64encode(buffer.getvalue()).decode()))))
        apart = np.asarray(found.convert("RGB"), dtype=float) - array
        assert np.sqrt((apart**2).mean()) <= widgets.VISIBLE
        return len(found.getcolors())

    bars = np.full((40, 40, 3), 255)
    bars[:, :10] = 0, 114, 178
    assert colours(bars) == 2
    red, green = np.meshgrid(np.arange(128), np.arange(128))
    assert 48 < colours(np.stack([red, green, np.zeros_like(red)], axis=2)) <= 256


def test_without_being_asked_no_frame_is_stored(monkeypatch):
    monkeypatch.delenv("LTLIB_FRAMES", raising=False)
    _, metadata = widgets.explore(draw, factor=([1, 2], 1))._repr_mimebundle_()
    assert "frames" not in metadata


def test_controls_of_one_figure_have_one_length_and_the_picture_fits_the_page():
    explorer = widgets.explore(draw, factor=([0.5, 1.0], 1.0), kind=(["a", "b"], "b"))
    widths = {(c.style.description_width, c.layout.width) for c in explorer.controls.values()}
    assert widths == {("4em", "420px")}
    assert explorer.view.value.startswith('<img style="max-width:100%"')
