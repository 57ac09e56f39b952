"""Titles, legends and colour bars."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from tensorview.capture import Layer, Trace
from tensorview.scene import THEMES, Scene, Theme
from tensorview.stage.overlay import MARGIN, PADDING, Overlay, number
from tensorview.stage.pieces import below, beside, gradient, rounded, spread, table

SIZE = (1280, 720)


def colours(piece: Image.Image) -> set[tuple[int, ...]]:
    """The opaque colours of a piece."""
    pixels = np.asarray(piece).reshape(-1, 4)
    return set(map(tuple, pixels[pixels[:, 3] == 255, :3].tolist()))


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what differs."""
    differs = (np.asarray(before) != np.asarray(after)).any(axis=2)
    columns, rows = np.flatnonzero(differs.any(axis=0)), np.flatnonzero(differs.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def blank(scene: Scene, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGBA", size, (*scene.theme.background, 255))


def test_the_title_is_at_the_top_left_and_the_legend_at_the_bottom_right(scene: Scene) -> None:
    before = blank(scene, SIZE)
    titled, explained = before.copy(), before.copy()
    Overlay(scene, SIZE).draw(titled, "Three layers", False, False)
    Overlay(scene, SIZE).draw(explained, None, True, True)
    left, top, right, bottom = changed(before, titled)
    assert left < 60
    assert top < 60
    assert right < 300
    assert bottom < 80
    left, top, right, bottom = changed(before, explained)
    assert left > 960
    assert top > 360
    assert 1240 < right < SIZE[0]
    assert 680 < bottom < SIZE[1]


@pytest.mark.parametrize("taken", ["bottom", "right"])
def test_the_legend_makes_way_for_the_network(scene: Scene, taken: str) -> None:
    picture = blank(scene, SIZE)
    picture.paste((9, 99, 9, 255), (300, 300, *SIZE) if taken == "bottom" else (700, 0, *SIZE))
    before = picture.copy()
    Overlay(scene, SIZE).draw(picture, None, True, True)
    kept = (np.asarray(before) == (9, 99, 9, 255)).all(axis=2)
    assert (np.asarray(picture)[kept] == (9, 99, 9, 255)).all()
    assert picture.tobytes() != before.tobytes()


def test_where_room_is_short_the_numbers_of_single_layers_are_left_out(scene: Scene) -> None:
    overlay = Overlay(scene, SIZE)
    whole, short = (overlay.panel(True, True, ranges) for ranges in (True, False))
    assert short.height < whole.height
    picture = Image.new("RGBA", SIZE, (9, 99, 9, 255))
    free = (SIZE[0] - whole.width - 60, SIZE[1] - short.height - MARGIN - 2)
    picture.paste((*scene.theme.background, 255), (*free, *SIZE))
    before = picture.copy()
    overlay.draw(picture, None, True, True)
    assert changed(before, picture)[1] == SIZE[1] - MARGIN - short.height - PADDING


def test_nothing_is_drawn_where_nothing_is_asked_for(scene: Scene) -> None:
    picture = blank(scene, SIZE)
    Overlay(scene, SIZE).draw(picture, None, False, False)
    assert picture.tobytes() == blank(scene, SIZE).tobytes()


def test_all_of_it_grows_with_the_picture(scene: Scene) -> None:
    boxes = []
    for factor in (1, 3):
        size = (SIZE[0] * factor, SIZE[1] * factor)
        picture = blank(scene, size)
        Overlay(scene, size).draw(picture, "Title", True, True)
        boxes.append(np.array(changed(blank(scene, size), picture)))
    np.testing.assert_allclose(boxes[1], boxes[0] * 3, atol=40)


@pytest.mark.parametrize("size", [(16, 16), (40, 300), (320, 180), (300, 40)])
@pytest.mark.parametrize("alpha", [0, 255])
def test_a_small_picture_stays_a_picture(scene: Scene, size: tuple[int, int], alpha: int) -> None:
    picture = Image.new("RGBA", size, (*scene.theme.background, alpha))
    Overlay(scene, size).draw(picture, "A title that is longer than the picture is wide", True, True)
    assert picture.size == size
    assert len(picture.getcolors(10**6)) > 2


@pytest.mark.parametrize("theme", list(THEMES))
def test_the_legend_has_every_kind_in_its_hue(trace: Trace, theme: str) -> None:
    scene = Scene(trace, theme=theme)
    legend = colours(Overlay(scene, SIZE).legend())
    assert {THEMES[theme].hue(kind) for kind in ("input", "convolution", "activation", "reshape", "linear")} <= legend
    assert THEMES[theme].hue("pooling") not in legend
    assert THEMES[theme].text in legend


def test_one_palette_entry_changes_its_kind_only(trace: Trace) -> None:
    dark = THEMES["dark"]
    hues = MappingProxyType({**dark.hues, "linear": (1, 2, 250)})
    own = Theme("own", dark.background, dark.text, dark.muted, dark.link, dark.highlight, True, hues)
    before, after = (colours(Overlay(Scene(trace, theme=theme), SIZE).legend()) for theme in (dark, own))
    assert (1, 2, 250) in after - before
    assert dark.hue("linear") in before - after
    assert {dark.hue(kind) for kind in ("input", "convolution", "activation", "reshape")} <= before & after


@pytest.mark.parametrize(
    ("look", "ends"),
    [
        ({}, ["low", "high"]),
        ({"encoding": "signed", "scaling": "map"}, ["−max", "0", "+max"]),
        ({"scaling": "fixed", "value_range": (-0.25, 3)}, ["−0.25", "3"]),
        ({"encoding": "signed", "scaling": "fixed", "value_range": (-0.25, 3)}, ["−3", "0", "3"]),
    ],
)
def test_the_colour_bar_says_the_numbers_at_its_ends(trace: Trace, look: dict[str, object], ends: list[str]) -> None:
    assert Overlay(Scene(trace, **look), SIZE)._ends() == ends


def test_the_signed_bar_is_neutral_in_the_middle_and_zero_is_there(trace: Trace) -> None:
    scene = Scene(trace, encoding="signed", theme="light")
    bar = Overlay(scene, SIZE)._bar_colours().astype(int)
    assert np.ptp(bar[128]) < 12
    assert bar[0, 2] > bar[0, 0] + 80  # blue
    assert bar[-1, 0] > bar[-1, 2] + 80  # orange


def test_scaled_per_layer_the_open_layers_say_their_ends(trace: Trace) -> None:
    opened = Overlay(Scene(trace, open=["0", "1"]), SIZE).ranges()
    assert [name for name, _, _ in opened] == ["0", "1"]
    for name, low, high in opened:
        values = trace[name].values
        assert (low, high) == pytest.approx((values.min(), values.max()))
    closed = Overlay(Scene(trace, class_names="abc"), SIZE).ranges()
    assert [name for name, _, _ in closed] == ["input", "0", "1", "2", "3"]
    mean = trace["0"].values.mean(axis=0)
    assert closed[1][1:] == pytest.approx((mean.min(), mean.max()), abs=1e-6)
    assert Overlay(Scene(trace, scaling="map"), SIZE).ranges() == []


def test_nan_and_infinity_have_a_swatch_where_there_are_any() -> None:
    def bar(values: list[float]) -> set[tuple[int, ...]]:
        array = np.array(values, dtype=np.float32).reshape(1, 2, 2)
        layer = Layer("input", "input", "Input", "", 1, (1, 2, 2), "float32", (), array)
        return colours(Overlay(Scene(Trace((layer,), (), ("input",))), SIZE).colour_bar())

    nan, positive, negative = (255, 0, 220), (255, 60, 60), (70, 90, 255)
    assert not {nan, positive, negative} & bar([0, 1, 2, 3])
    assert {nan, positive, negative} & bar([0, np.nan, 2, 3]) == {nan}
    assert {nan, positive, negative} <= bar([0, np.nan, np.inf, -np.inf])


def test_a_long_title_fits(scene: Scene) -> None:
    overlay = Overlay(scene, (640, 360))
    short, long = overlay.title("A title"), overlay.title("A very long title " * 20)
    assert long.width <= 640
    assert short.height > long.height


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (-0.0, "0"), (-0.51234, "−0.512"), (1234567.0, "1.23e+06")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_pieces_stand_where_they_should() -> None:
    red, blue = Image.new("RGBA", (4, 2), "red"), Image.new("RGBA", (3, 6), "blue")
    row, column = beside([red, blue], 5), below([red, blue], 5)
    assert (row.size, column.size) == ((12, 6), (4, 13))
    assert [row.getpixel(at) for at in ((0, 1), (0, 2), (9, 0), (6, 3))] == [
        (0, 0, 0, 0), (255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0),
    ]  # fmt: skip
    assert [column.getpixel(at)[2] for at in ((0, 6), (0, 7), (2, 12), (3, 12))] == [0, 255, 255, 0]
    ends = spread([red, red], 20)
    assert np.flatnonzero(np.asarray(ends)[0, :, 3]).tolist() == [0, 1, 2, 3, 16, 17, 18, 19]
    grid = np.asarray(table([[blue, red], [red, blue]], 2, ["left", "right"]))
    assert grid.shape == (12, 10, 4)
    assert np.flatnonzero(grid[6, :, 3]).tolist() == [0, 1, 2, 3, 7, 8, 9]


def test_rounded_corners_have_the_area_of_their_geometry() -> None:
    mask = np.asarray(rounded(40, 20, 8)).astype(float) / 255
    assert mask.sum() == pytest.approx(40 * 20 - (4 - np.pi) * 8**2, rel=0.01)
    assert mask[0, 0] == 0
    assert mask[10, 20] == 1


def test_a_gradient_runs_from_left_to_right() -> None:
    ramp = np.stack([np.arange(256)] * 3, axis=1).astype(np.uint8)
    bar = np.asarray(gradient(ramp, 100, 9, 3))
    assert (np.diff(bar[4, :, 0].astype(int)) > 0).all()
    assert (bar[4, 0, 0], bar[4, -1, 0]) == (0, 255)
