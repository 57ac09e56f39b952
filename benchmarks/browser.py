"""What a person feels: from the pad's pointer event to the frame that shows it, and the frames while the view turns."""

from __future__ import annotations

import shutil
from statistics import median
from typing import Any

from tensorview.app import Viewer, explore
from tensorview.opening import open_model

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
WATCH_FRAMES = """
window.watchedFrames = [];
const watch = (now) => { window.watchedFrames.push(now); requestAnimationFrame(watch); };
requestAnimationFrame(watch);
"""


def measure() -> dict[str, Any]:
    """Milliseconds as the page measures them, in software GL where there is no graphics card."""
    from playwright.sync_api import sync_playwright

    with explore("lenet5", browser=False) as viewer, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            return _on_page(browser.new_page(viewport={"width": 1280, "height": 720}), viewer)
        finally:
            browser.close()


def large() -> dict[str, Any]:
    """Frames while the view turns and the pointer hovers, every map open, over LeNet-5's in the same browser."""
    from playwright.sync_api import sync_playwright

    figures: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            for name in ("lenet5", "torchvision:vgg16", "torchvision:resnet50"):
                subject = open_model(name, random_weights=name != "lenet5")
                with explore(subject, open="*", browser=False) as viewer:
                    figures[subject.title or name] = _open(
                        browser.new_page(viewport={"width": 1280, "height": 720}), viewer
                    )
        finally:
            browser.close()
    least, *others = figures
    for name in others:
        for way in ("turn", "hover"):
            times = [figures[each][f"{way}_frame_ms"] for each in (name, least)]
            figures[name][f"{way}_over_lenet"] = round(times[0] / times[1], 2)
    return {"all_maps_open": figures}


def _open(page: Any, viewer: Viewer) -> dict[str, Any]:
    """What a page with every map open holds, and how long its frames are apart."""
    from tensorview.stage.stage import Stage

    page.set_default_timeout(120_000)
    page.goto(viewer.url)
    page.wait_for_selector("[data-testid=stage][data-serial]")
    page.wait_for_timeout(1000)
    scene = viewer.session.scene
    found = {
        "maps": sum(placement.maps.count for placement in scene.placements if placement.kind != "input"),
        "actors": Stage(scene).actor_count,
        "texels": scene.page("cells").pixels[..., 0].size,
        "turn_frame_ms": round(_turn(page), 1),
        "hover_frame_ms": round(_hover(page), 1),
    }
    page.close()
    return found


def _hover(page: Any) -> float:
    """Median interval between the browser's frames while the pointer moves over the maps."""
    stage = page.get_by_test_id("stage").bounding_box()
    page.evaluate(WATCH_FRAMES)
    for k in range(40):
        x = stage["x"] + stage["width"] * (0.3 + 0.4 * k / 40)
        page.mouse.move(x, stage["y"] + stage["height"] * (0.45 + 0.05 * (k % 3)), steps=1)
        page.wait_for_timeout(16)
    return float(median(page.evaluate("watchedFrames.map((t, i) => t - watchedFrames[i - 1]).slice(1)")))


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
