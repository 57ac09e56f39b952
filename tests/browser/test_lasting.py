"""What outlasts a reload, what two tabs share, and what happens when the server goes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from tensorview.app import Viewer, explore

from .visit import Visit, awaited

pytestmark = pytest.mark.browser


def texels(visit: Visit) -> np.ndarray:
    """The page of cells as the browser has it."""
    shape = visit.scene.page("cells").pixels.shape
    flat = visit.page.evaluate("Array.from(stage.surfaces.cells.texels)")
    return np.array(flat, dtype=np.uint8).reshape(shape)


def check_same(visit: Visit) -> None:
    """The browser holds what the session shows."""
    np.testing.assert_array_equal(texels(visit), visit.scene.page("cells").pixels)
    np.testing.assert_allclose(visit.points(), visit.scene.cells.points, rtol=1e-6)


def wait_for(visit: Visit, condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait for something that the server, not the page, shows."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        visit.page.wait_for_timeout(20)


def test_a_reload_brings_the_view_back(lenet: Viewer, digits: Visit) -> None:
    digits.choose(theme="light", encoding="signed")
    digits.press("sample-3")
    digits.press("tab-layers")
    digits.press("toggle-conv2")
    digits.press("layer-pool1")
    digits.find("stage").focus()
    digits.page.keyboard.press("ArrowRight")
    digits.page.keyboard.press("-")
    own = digits.camera()
    wait_for(digits, lambda: lenet._explorer.camera == own)
    digits.page.reload()
    digits.wait_for_scene()
    assert digits.camera() == own
    assert digits.find("toggle-conv2").get_attribute("aria-expanded") == "true"
    assert digits.find("card-name").inner_text() == "pool1"
    assert digits.page.locator(".tv-app.v-theme--light").count() == 1
    check_same(digits)
    digits.press("tab-input")
    assert digits.find("truth").inner_text().endswith("3")
    held = digits.page.evaluate("Array.from(pad.ink.raster(pad.fit))")
    np.testing.assert_array_equal(np.reshape(held, (28, 28)), digits.preview())
    digits.press("reset-view")
    wait_for(digits, lambda: lenet._explorer.camera is None)
    home = digits.camera()
    digits.page.set_viewport_size({"width": 1000, "height": 800})
    digits.page.reload()
    digits.wait_for_scene()
    assert digits.camera() != home, "at home, it is the first view of the window as it is now"
    _, _, width, height = digits.area()
    assert np.abs(digits.camera().project(digits.scene.corners(), width / height)).max() <= 1
    digits.page.set_viewport_size({"width": 1280, "height": 720})


def test_two_tabs_show_the_same(visit: Callable[..., Visit], lenet: Viewer, digits: Visit) -> None:
    other = visit(lenet)
    digits.press("sample-5")
    other.wait_until("document.querySelector('[data-testid=truth]')?.textContent.endsWith('5')")
    other.press("open-all")
    for each in (digits, other):
        each.wait_until("(serial) => stage.serial === serial", lenet._explorer.serial)
        each.settle()
        check_same(each)
        assert each.find("prediction-text").inner_text() == digits.find("prediction-text").inner_text()
    box = other.find("digit-pad").bounding_box()
    other.press("pad-clear")
    other.page.mouse.move(box["x"] + 60, box["y"] + 30)
    other.page.mouse.down()
    other.page.mouse.move(box["x"] + 60, box["y"] + 120, steps=4)
    other.page.mouse.up()
    other.settle()
    digits.wait_until(
        "(said) => document.querySelector('[data-testid=prediction-text]').textContent === said",
        other.find("prediction-text").inner_text(),
    )
    digits.settle()
    check_same(digits)


def test_the_page_says_when_the_server_has_gone(visit: Callable[..., Visit]) -> None:
    with explore("lenet5", port=0, browser=False) as viewer:
        mine = visit(viewer)
        viewer.close()
        lost = mine.page.get_by_role("alert")
        lost.wait_for()
        assert "server" in lost.inner_text()
        mine.faults.clear()  # the socket that was cut


LEFT_BEHIND = """async () => {
    const camera = stage.view.renderer.getActiveCamera();
    const done = [];
    stage.turn(5, 0); // which the server is told of a while later
    stage.view.vueCtx.ready.value = false;
    stage.waitForActors(); // which now waits for ever
    for (const name of ["rememberCamera", "waitForActors", "sortLayers", "countFrame"]) {
        stage[name] = () => done.push(name);
    }
    stage.$.appContext.app.unmount();
    camera.azimuth(5);
    await new Promise((passed) => setTimeout(passed, 600));
    return done;
}"""


def test_a_stage_that_is_taken_away_does_nothing_more(visit: Callable[..., Visit], lenet: Viewer) -> None:
    mine = visit(lenet)
    assert awaited(mine.page, LEFT_BEHIND) == []
