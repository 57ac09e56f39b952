"""For everybody and everywhere: keyboard, screen reader, help, other window sizes, inside a frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tensorview.app import Viewer

from .visit import Visit

pytestmark = pytest.mark.browser

NAME = """() => {
    const e = document.activeElement;
    if (e === document.body) return null;
    const label = e.getAttribute("aria-label") || [...(e.labels || [])].map((l) => l.textContent).join(" ");
    const id = e.dataset.testid || e.closest("[data-testid]")?.dataset.testid || e.textContent.trim();
    return [id, (label || e.textContent || e.title || "").trim()];
}"""

IN_DIALOG = "document.activeElement.closest('[role=dialog]') !== null"


def check_reading(visit: Visit, layer: str = "conv1", count: int = 3) -> None:
    """The pointer reads just the cell that is seen under it."""
    for index, x, y in visit.open_to_pointer(layer, count):
        said = visit.point_at(x, y)
        assert said["layer"] == layer
        assert tuple(int(said[key]) for key in ("channel", "row", "column")) == index
        assert np.float32(said["value"]) == pytest.approx(visit.scene.trace[layer].values[index], rel=1e-6)


def serious(visit: Visit) -> list[str]:
    """What axe-core finds that keeps somebody out."""
    visit.page.wait_for_timeout(350)  # it measures colours, and dialogs and buttons fade in
    found = Axe().run(visit.page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_serious(digits: Visit, theme: str) -> None:
    digits.choose(theme=theme)
    assert serious(digits) == []
    digits.press("tab-layers")
    digits.press("layer-conv1")
    digits.choose(show_stats=True)
    assert serious(digits) == []
    digits.find("help").click()
    digits.find("help-dialog").wait_for()
    assert serious(digits) == []
    digits.find("help-close").click()
    digits.find("help-dialog").wait_for(state="hidden")
    digits.find("save-picture").click()
    digits.find("picture-dialog").wait_for()
    assert serious(digits) == []
    digits.page.keyboard.press("Escape")
    digits.find("picture-dialog").wait_for(state="hidden")


def test_axe_finds_nothing_serious_without_a_pad(animals: Visit) -> None:
    assert serious(animals) == []


def test_tab_reaches_every_control_and_each_has_a_name(digits: Visit) -> None:
    reached = {}
    for tab in ("input", "layers"):
        digits.press(f"tab-{tab}")
        for _ in range(70):
            digits.page.keyboard.press("Tab")
            focused = digits.page.evaluate(NAME)
            if focused:
                reached[focused[0]] = focused[1]
    assert [key for key, name in reached.items() if not name] == []
    wanted = "stage reset-view open-all close-all toggle-legend toggle-bar toggle-field toggle-stats toggle-theme"
    wanted += " save-picture save-scene help digit-pad pad-clear predict reset random upload live prepare"
    wanted += " find-layer encoding scaling aggregate arrangement sort most_maps"
    wanted += " layer-conv1 toggle-conv1 layer-output toggle-output"
    assert {*wanted.split(), *(f"sample-{i}" for i in range(10))} <= set(reached)


def test_help_opens_by_button_and_key_and_closes(digits: Visit) -> None:
    dialog = digits.find("help-dialog")
    assert dialog.count() == 0
    digits.find("help").click()
    dialog.wait_for()
    for word in ("drag", "wheel", "pinch", "Shift", "arrow keys", "click", "Delete"):
        assert word in dialog.inner_text()
    digits.find("help-close").click()
    dialog.wait_for(state="hidden")
    digits.find("stage").focus()
    digits.page.keyboard.press("?")
    digits.wait_until(IN_DIALOG)
    digits.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    digits.press("tab-layers")
    digits.find("find-layer").locator("input").fill("")
    digits.page.keyboard.type("o?c")
    digits.settle()
    assert dialog.count() == 0 or not dialog.is_visible(), "typing is typing"
    assert not digits.scene.look.open


def test_keys_open_and_close_everything(digits: Visit) -> None:
    digits.find("stage").focus()
    digits.page.keyboard.press("o")
    digits.settle()
    assert len(digits.scene.look.open) == len(digits.scene.placements)
    digits.page.keyboard.press("c")
    digits.settle()
    assert not digits.scene.look.open
    digits.press("tab-layers")
    digits.find("toggle-pool1").focus()
    digits.page.keyboard.press("Enter")
    digits.settle()
    assert digits.scene.look.open == {"pool1"}


def test_reading_is_exact_after_the_window_changes(digits: Visit) -> None:
    digits.press("open-all")
    for width, height in ((900, 640), (1500, 600), (1280, 720)):
        digits.page.set_viewport_size({"width": width, "height": height})
        digits.wait_until(
            "() => { const c = document.querySelector('[data-testid=stage] canvas').getBoundingClientRect();"
            " const s = document.querySelector('[data-testid=stage]').getBoundingClientRect();"
            " return Math.abs(c.width - s.width) < 2 && Math.abs(c.height - s.height) < 2; }"
        )
        digits.settle()
        check_reading(digits)
        _, _, w, h = digits.area()
        seen = digits.camera().project(digits.scene.corners(), w / h)
        assert np.abs(seen).max() <= 1.0, "still at home, the view keeps everything in frame"


def test_reading_is_exact_inside_a_frame(visit: Callable[..., Visit], lenet: Viewer, digits: Visit) -> None:
    digits.press("open-all")
    inside = visit(lenet, frame=(130, 70, 1000, 560))
    check_reading(inside)
    inside.page.mouse.move(5, 5)
    inside.settle()
    assert len(inside.mesh("lines", "hover")[1]) == 0, "nothing is left when the pointer leaves the frame"
