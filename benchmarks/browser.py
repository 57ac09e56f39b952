"""What a person feels: from the pad's pointer event to the frame that shows it, and the frames while the view turns."""

from __future__ import annotations

import shutil
from statistics import median
from typing import Any

from tensorview.app import Viewer, explore

FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
STROKES = 50


def measure() -> dict[str, Any]:
    """Milliseconds as the page measures them, in software GL where there is no graphics card."""
    from playwright.sync_api import sync_playwright

    with explore("lenet5", browser=False) as viewer, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            return _on_page(browser.new_page(viewport={"width": 1280, "height": 720}), viewer)
        finally:
            browser.close()


def _on_page(page: Any, viewer: Viewer) -> dict[str, Any]:
    page.goto(viewer.url)
    page.wait_for_selector("[data-testid=stage][data-serial]")
    latencies = _draw(page)
    closed = _turn(page)
    page.get_by_test_id("open-all").click()
    page.wait_for_function("document.querySelector('[data-testid=stage]').dataset.serial > 1")
    page.wait_for_timeout(800)
    return {
        "stroke_to_frame_median_ms": round(median(latencies), 1),
        "stroke_to_frame_p95_ms": round(sorted(latencies)[int(0.95 * len(latencies))], 1),
        "strokes": len(latencies),
        "turn_frame_closed_ms": round(closed, 1),
        "turn_frame_open_ms": round(_turn(page), 1),
    }


def _draw(page: Any) -> list[float]:
    """The latency of `STROKES` short strokes, each drawn when the one before is shown."""
    pad = page.get_by_test_id("digit-pad").bounding_box()
    for k in range(STROKES):
        before = page.evaluate("tensorviewTimes.latencies.length")
        x = pad["x"] + pad["width"] * (0.3 + 0.4 * (k % 7) / 7)
        y = pad["y"] + pad["height"] * (0.25 + 0.5 * k / STROKES)
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.up()
        page.wait_for_function(f"tensorviewTimes.latencies.length > {before}")
    return list(page.evaluate("tensorviewTimes.latencies"))


def _turn(page: Any) -> float:
    """Median interval between frames while the camera is dragged."""
    stage = page.get_by_test_id("stage").bounding_box()
    x, y = stage["x"] + stage["width"] * 0.5, stage["y"] + stage["height"] * 0.8
    page.evaluate("tensorviewTimes.frames.length = 0")
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(40):
        page.mouse.move(x + 4 * k, y, steps=1)
        page.wait_for_timeout(16)
    page.mouse.up()
    return float(median(page.evaluate("tensorviewTimes.frames")))
