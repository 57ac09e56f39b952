"""The stage as pixels, and moving the camera: mouse, wheel, keys and fingers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tensorview.scene.palette import LEVELS, lookup_table

from .visit import Visit

pytestmark = pytest.mark.browser


@contextmanager
def bare(visit: Visit) -> Iterator[None]:
    """Nothing over the stage."""
    style = visit.page.add_style_tag(content=".tv-stage-area > :not(:first-child) { opacity: 0 }")
    yield
    style.evaluate("(element) => element.remove()")


def seen_and_expected(visit: Visit, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """`(N, 3)` pixels in the middle of the cells of a layer that nothing hides, and the colours that they stand for."""
    values, at = visit.cells(layer)
    camera, (left, top, width, height) = visit.camera(), visit.area()
    picture = visit.picture().astype(int)
    table = lookup_table("sequential", "input", visit.scene.theme).astype(float)
    levels = np.rint((values - values.min()) / (values.max() - values.min()) * (LEVELS - 1)).astype(int)
    background = np.array(visit.scene.theme.background)
    seen, expected = [], []
    for cell in np.ndindex(values.shape):
        x, y = at[cell]
        hit = visit.scene.pick(camera.ray(x - left, y - top, width, height))
        if hit is not None and hit.layer == layer:
            colour = table[levels[cell]]
            share = colour[3] / 255
            seen.append(picture[int(y), int(x)])
            expected.append(colour[:3] * share + background * (1 - share))
    return np.array(seen), np.array(expected)


def check_colours(visit: Visit, *layers: str) -> None:
    """Every cell has the colour of its value, where it stands: neither mirrored, nor turned, nor shifted."""
    visit.choose(encoding="sequential")
    visit.press("open-all")
    with bare(visit):
        for layer in layers:
            seen, expected = seen_and_expected(visit, layer)
            assert len(seen) > 100
            off = np.abs(seen - expected).max(axis=1)
            assert np.quantile(off, 0.95) < 30, f"the cells of {layer} (lines to the next layer cross a few)"
            turned = np.abs(seen - expected[::-1]).max(axis=1)
            assert off.mean() * 3 < turned.mean(), "a picture the other way round would be told apart"


def test_every_cell_has_the_colour_of_its_value(digits: Visit) -> None:
    check_colours(digits, "input", "conv1")


def test_a_convolution_that_changes_nothing_shows_the_input_as_it_is(animals: Visit) -> None:
    np.testing.assert_array_equal(animals.scene.trace["same"].values, animals.scene.trace["input"].values)
    check_colours(animals, "input", "same")


@pytest.mark.parametrize("opened", ["close-all", "open-all"])
def test_first_view_has_everything_in_frame_and_faces_the_person(digits: Visit, opened: str) -> None:
    digits.press(opened)
    digits.press("reset-view")
    left, top, width, height = (round(v) for v in digits.area())
    with bare(digits):
        picture = digits.picture()[top : top + height, left : left + width].astype(int)
    drawn = np.abs(picture - digits.scene.theme.background).max(axis=2) > 8
    assert drawn.mean() > 0.08
    assert not drawn[:2].any(), "nothing is cut off at the top"
    assert not drawn[-2:].any(), "nor at the bottom"
    assert not drawn[:, :2].any(), "nor at the left"
    assert not drawn[:, -2:].any(), "nor at the right"
    across = np.flatnonzero(drawn.any(axis=0))
    assert np.ptp(across) > 0.85 * width, "and it fills the view"
    position, focus = (np.array(v) for v in (digits.camera().position, digits.camera().focal_point))
    away = (position - focus) / np.linalg.norm(position - focus)
    assert away[2] > 0.5, "maps are less than 60 degrees off"


def distance(camera: Any) -> float:
    return float(np.linalg.norm(np.subtract(camera.position, camera.focal_point)))


def drag(visit: Visit, button: str = "left", to: tuple[float, float] = (120, 40)) -> None:
    left, top, width, height = visit.area()
    visit.page.mouse.move(left + width / 2, top + height / 2)
    visit.settle()
    visit.page.mouse.down(button=button)
    # A busy vtk.js may leave out one movement at either end, so each is small.
    visit.page.mouse.move(left + width / 2 + to[0], top + height / 2 + to[1], steps=24)
    visit.settle()
    visit.page.mouse.up(button=button)
    visit.settle()


def test_the_canvas_is_opaque(digits: Visit) -> None:
    """A transparent one costs a browser that draws in software a third of every frame."""
    assert digits.page.evaluate("stage.view.openglRenderWindow.get3DContext().getContextAttributes().alpha") is False
    assert digits.picture()[300, 3].tolist() == list(digits.scene.theme.background)


def test_drag_turns_and_reset_restores(digits: Visit) -> None:
    first = digits.camera()
    drag(digits)
    turned = digits.camera()
    assert turned.focal_point == pytest.approx(first.focal_point, abs=1e-3)
    assert distance(turned) == pytest.approx(distance(first), rel=1e-3)
    moved = np.linalg.norm(np.subtract(turned.position, first.position))
    assert moved > 0.2 * distance(first)
    assert len(digits.page.evaluate("tensorviewTimes.frames")) > 0
    digits.press("reset-view")
    assert digits.camera() == first


def test_right_drag_and_shift_move(digits: Visit) -> None:
    first = digits.camera()
    for button, key in (("right", None), ("left", "Shift")):
        if key:
            digits.page.keyboard.down(key)
        drag(digits, button)
        if key:
            digits.page.keyboard.up(key)
        moved = digits.camera()
        shift = np.subtract(moved.focal_point, first.focal_point)
        assert np.linalg.norm(shift) > 1
        np.testing.assert_allclose(np.subtract(moved.position, first.position), shift, rtol=1e-3, atol=1e-3)
        *_, width, height = digits.area()
        was = first.project(np.array([first.focal_point]), width / height)
        now = moved.project(np.array([first.focal_point]), width / height)
        assert (now - was)[0, 0] * width / 2 == pytest.approx(120, abs=12), "what is held follows the pointer"
        assert -(now - was)[0, 1] * height / 2 == pytest.approx(40, abs=12)
        digits.find("stage").focus()
        digits.page.keyboard.press("r")
        digits.settle()
        assert digits.camera() == first


def test_the_wheel_zooms_to_the_pointer(digits: Visit) -> None:
    first = digits.camera()
    left, top, width, height = digits.area()
    digits.page.mouse.move(left + 0.3 * width, top + 0.6 * height)
    digits.page.mouse.wheel(0, -300)
    digits.wait_until("(d) => Math.hypot(...stage.camera().position.map((x, i) => x - d[i])) > 1", first.position)
    digits.settle()
    near = digits.camera()
    assert distance(near) < 0.97 * distance(first)
    digits.page.mouse.wheel(0, 900)
    digits.settle()
    assert distance(digits.camera()) > distance(near)
    digits.press("reset-view")
    assert digits.camera() == first


def test_keys_turn_and_zoom(digits: Visit) -> None:
    first = digits.camera()
    digits.find("stage").focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        digits.page.keyboard.press(key)
    digits.settle()
    now = digits.camera()
    assert distance(now) == pytest.approx(distance(first) / 1.1, rel=1e-6)
    assert np.linalg.norm(np.subtract(now.position, first.position)) > 1
    for key in ("-", "ArrowDown", "ArrowRight"):
        digits.page.keyboard.press(key)
    digits.settle()
    assert distance(digits.camera()) == pytest.approx(distance(first), rel=1e-6)


def test_fingers_turn_and_pinch(phone: Visit) -> None:
    session = phone.context.new_cdp_session(phone.page)
    left, top, width, height = phone.area()
    middle = np.array([left + width / 2, top + height / 2])

    def touch(kind: str, *points: Any) -> None:
        at = [{"x": float(x), "y": float(y), "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    first = phone.camera()
    touch("touchStart", middle)
    for step in range(1, 6):
        touch("touchMove", middle + np.array([20 * step, 5 * step]))
    touch("touchEnd")
    phone.settle()
    turned = phone.camera()
    assert np.linalg.norm(np.subtract(turned.position, first.position)) > 1
    assert distance(turned) == pytest.approx(distance(first), rel=1e-3)
    apart = np.array([40, 0])
    touch("touchStart", middle - apart, middle + apart)
    for step in range(1, 6):
        touch("touchMove", middle - apart * (1 + 0.3 * step), middle + apart * (1 + 0.3 * step))
    touch("touchEnd")
    phone.settle()
    assert distance(phone.camera()) < 0.9 * distance(turned)
    phone.find("reset-view").tap()
    phone.settle()
    assert phone.camera() == first
    assert phone.page.evaluate("[scrollX, scrollY, visualViewport.scale]") == [0, 0, 1]
