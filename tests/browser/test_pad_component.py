"""The pad and the drop alone: a bare trame page with the two components, driven in Chromium.

What arrives in Python is compared with rasters computed here from the geometry of the strokes.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from .visit import awaited

pytestmark = pytest.mark.browser

WEB = Path(__file__).parents[2] / "tensorview" / "app" / "web"
PAGE = """
    <div class="host"><tv-pad :ref="(el) => trame.refs.pad = el"></tv-pad></div>
    <div class="host"><tv-pad :ref="(el) => trame.refs.plain = el" test-id="plain" trigger="plain_drawn"
        :width="20" :height="12" :fit="false" :live="false"></tv-pad></div>
    <tv-drop :max-bytes="12000000"></tv-drop>
"""
SHOWN = """() => {  // opacity in the middle of each of the 28 x 28 cells of the first pad, 10 pixels each
    const { data } = document.querySelector("canvas").getContext("2d").getImageData(0, 0, 280, 280);
    const middle = i => (10 * Math.floor(i / 28) + 5) * 280 + 10 * (i % 28) + 5;
    return Array.from({ length: 784 }, (_, i) => data[4 * middle(i) + 3]);
}"""
TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
PING = "() => trame.trigger('ping').then(() => trame.trigger('ping'))"
COLOUR = """document.querySelector("canvas").getContext("2d").getImageData(140, 140, 1, 1).data.join()"""
MODULE = {
    "serve": {"pad_web": str(WEB)},
    "scripts": [f"pad_web/{name}.js" for name in ("ink", "pad", "drop")],
    "styles": ["pad_web/pad.css"],
    "vue_use": ["tensorviewPad", "tensorviewDrop"],
}


@dataclass
class Site:
    """A running trame server and what its triggers were called with, oldest first."""

    server: Any
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    calls: list[tuple[str, Any, Any]] = field(default_factory=list)
    held: bool = False  # triggers answer when it is false
    fail: bool = False
    under_way: int = 0

    async def record(self, name: str, *args: Any) -> None:
        self.calls.append((name, *args))
        self.under_way += 1
        while self.held:
            await asyncio.sleep(0.01)
        self.under_way -= 1
        if self.fail:
            raise RuntimeError("the server fails on purpose")


def build_site() -> Site:
    from trame.app import get_server
    from trame.ui.html import DivLayout

    site = Site(get_server("pad-component-test", client_type="vue3"))
    site.server.enable_module(MODULE)
    for name in ("pad_drawn", "plain_drawn", "image_dropped", "image_refused"):
        site.server.trigger(name)(lambda *args, name=name: site.record(name, *args))
    site.server.trigger("ping")(lambda: None)
    with DivLayout(site.server) as layout:
        layout.root.add_child(PAGE)
    return site


@contextmanager
def running(site: Site) -> Iterator[None]:
    ready = threading.Event()
    site.server.controller.on_server_ready.add(lambda **_: ready.set())
    server, loop = site.server, site.loop
    options = {
        "host": "127.0.0.1",
        "port": 0,
        "timeout": 0,
        "open_browser": False,
        "show_connection_info": False,
    }

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.start(exec_mode="coroutine", thread=True, disable_logging=True, **options))
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(20), "the server did not start"
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        thread.join(10)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAME_ARGS", "")
        patch.setattr("sys.argv", ["test"])
        site = build_site()
        with running(site):
            yield site


def open_page(browser: Browser, site: Site, **options: Any) -> Page:
    page = browser.new_page(viewport={"width": 600, "height": 800}, **options)
    page.goto(f"http://127.0.0.1:{site.server.port}/")
    page.add_style_tag(content=".host { width: 280px; margin: 10px }")
    page.get_by_test_id("digit-pad").wait_for()
    page.wait_for_function("document.querySelector('canvas').width === Math.round(280 * devicePixelRatio)")
    return page


@pytest.fixture(scope="module")
def shared_page(browser: Browser, site: Site) -> Iterator[Page]:
    page = open_page(browser, site)
    yield page
    page.close()


@pytest.fixture
def page(shared_page: Page, site: Site) -> Page:
    """The page with empty pads and nothing recorded; errors on the page fail the test that follows."""
    shared_page.evaluate("trame.refs.pad.load(null); trame.refs.plain.load(null)")
    site.held = site.fail = False
    settle(shared_page, site)
    site.calls.clear()
    return shared_page


def settle(page: Page, site: Site) -> None:
    """Waits until the pads are painted, everything is answered, and no answer has led to another message."""
    seen = -1
    while site.under_way or seen != len(site.calls):
        seen = len(site.calls)
        awaited(page, TWO_FRAMES)
        awaited(page, PING)  # behind what was sent before


def wait_for(page: Page, condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        page.wait_for_timeout(20)


def draw(page: Page, pad: Locator, *points: tuple[float, float], steps: int = 12, button: Any = "left") -> None:
    """One stroke through points given as fractions of the pad, (0, 0) its top left corner."""
    box = pad.bounding_box()
    assert box
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down(button=button)
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=steps)
    page.mouse.up(button=button)


def raster_of(call: tuple[str, Any, Any], width: int = 28, height: int = 28) -> np.ndarray:
    assert isinstance(call[1], bytes)
    assert len(call[1]) == width * height
    return np.frombuffer(call[1], np.uint8).reshape(height, width)


def exact_raster(segments: Any, pen: float, width: int, height: int, samples: int = 10) -> np.ndarray:
    """255 x the share of each cell that lies within pen / 2 of a segment ((x, y), (x, y)), in cells."""
    ys, xs = (np.mgrid[: height * samples, : width * samples] + 0.5) / samples
    nearest = np.full(xs.shape, np.inf)
    for (x0, y0), (x1, y1) in segments:
        along = ((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
        along = np.clip(along, 0, 1)
        nearest = np.minimum(nearest, np.hypot(xs - x0 - along * (x1 - x0), ys - y0 - along * (y1 - y0)))
    covered = (nearest <= pen / 2).reshape(height, samples, width, samples)
    return 255 * covered.mean(axis=(1, 3))


L_MARK = (((0.1, 0.1), (0.1, 0.5)), ((0.1, 0.5), (0.25, 0.5)))  # a small L in the top left corner


def test_fitted_raster_is_the_ink_scaled_to_twenty_cells_and_centred(page: Page, site: Site) -> None:
    for stroke in L_MARK:
        draw(page, page.get_by_test_id("digit-pad"), *stroke)
    settle(page, site)
    zoom = (20 - 2.2) / (0.4 * 28)  # the ink is 20 cells high, pen included
    left, top = 14 - zoom * 0.15 * 28 / 2, 14 - 17.8 / 2
    right, bottom = left + zoom * 0.15 * 28, top + 17.8
    expected = exact_raster([((left, top), (left, bottom)), ((left, bottom), (right, bottom))], 2.2, 28, 28)
    raster = raster_of(site.calls[-1])
    assert np.abs(raster - expected).max() < 24
    assert np.abs(raster - expected).mean() < 1
    assert len(np.unique(raster)) > 8, "the edges are anti-aliased"


def test_unfitted_raster_of_another_shape_lies_where_it_was_drawn(page: Page, site: Site) -> None:
    pad = page.get_by_test_id("plain")
    draw(page, pad, (0.2, 0.25), (0.8, 0.5))
    settle(page, site)
    assert site.calls == [], "not live: nothing is sent before send()"
    page.evaluate("trame.refs.plain.send()")
    wait_for(page, lambda: bool(site.calls))
    box = pad.bounding_box()
    assert box
    assert box["width"] / box["height"] == pytest.approx(20 / 12, rel=0.02)
    expected = exact_raster([((4, 3), (16, 6))], 2.2 / 28 * 12, 20, 12)
    assert site.calls[0][0] == "plain_drawn"
    assert np.abs(raster_of(site.calls[0], 20, 12) - expected).max() < 24


def test_ink_outside_the_pad_is_not_sent(page: Page, site: Site) -> None:
    draw(page, page.get_by_test_id("digit-pad"), (0.5, 0.5), (1.5, 0.5))
    settle(page, site)
    raster = raster_of(site.calls[-1])
    columns = np.flatnonzero(raster.max(axis=0))
    assert columns[0] == 4
    assert 22 <= columns[-1] <= 23, "the stroke ends, cut, where the pad ended"


def test_one_message_at_a_time_and_the_last_stroke_arrives(page: Page, site: Site) -> None:
    site.held = True
    started = page.evaluate("performance.now()")
    draw(page, page.get_by_test_id("digit-pad"), (0.2, 0.2), (0.8, 0.3), (0.3, 0.8))
    awaited(page, TWO_FRAMES)
    wait_for(page, lambda: bool(site.calls))
    assert len(site.calls) == 1, "the second waits for the first one's answer"
    site.held = False
    settle(page, site)
    assert len(site.calls) == 2, "all that was drawn meanwhile is one message"
    first, last = (call[2] for call in site.calls)
    assert first["seq"] < last["seq"]
    assert started < first["t"] < last["t"] < page.evaluate("performance.now()")
    page.evaluate("trame.refs.pad.send()")
    settle(page, site)
    assert site.calls[2][1] == site.calls[1][1], "what was sent last is what the pad holds"


def test_a_failing_server_gets_the_next_stroke_all_the_same(page: Page, site: Site) -> None:
    pad = page.get_by_test_id("digit-pad")
    site.fail = True
    draw(page, pad, (0.3, 0.2), (0.3, 0.8))
    settle(page, site)
    site.fail = False
    before = len(site.calls)
    draw(page, pad, (0.3, 0.8), (0.7, 0.8))
    settle(page, site)
    assert len(site.calls) > before
    raster = raster_of(site.calls[-1])
    assert raster[:20].any(), "the stroke that failed is part of the next"
    assert raster[20:, 14:].any()


def test_a_tap_makes_a_dot_and_other_buttons_nothing(page: Page, site: Site) -> None:
    pad = page.get_by_test_id("digit-pad")
    draw(page, pad, (0.2, 0.2), (0.8, 0.8), button="right")
    settle(page, site)
    assert site.calls == []
    draw(page, pad, (0.9, 0.1))
    settle(page, site)
    expected = exact_raster([((14, 14), (14, 14))], 2.2, 28, 28)
    assert np.abs(raster_of(site.calls[-1]) - expected).max() < 24


def test_keys_take_back_and_clear(page: Page, site: Site) -> None:
    pad = page.get_by_test_id("digit-pad")
    draw(page, pad, (0.3, 0.2), (0.3, 0.8))
    settle(page, site)
    first = site.calls[-1][1]
    draw(page, pad, (0.3, 0.8), (0.7, 0.8))
    pad.press("Control+z")
    settle(page, site)
    assert site.calls[-1][1] == first
    pad.press("Delete")
    settle(page, site)
    assert site.calls[-1][1] == bytes(784)
    shown = np.asarray(Image.open(BytesIO(pad.screenshot())).convert("L"))
    assert shown[60:220, 60:220].max() < 128, "no ink is left on the screen"
    sent = len(site.calls)
    pad.press("Escape")
    settle(page, site)
    assert len(site.calls) == sent, "there is nothing left to clear"


def test_loaded_image_is_shown_upright_sent_back_and_replaced_by_a_stroke(page: Page, site: Site) -> None:
    pad = page.get_by_test_id("digit-pad")
    image = np.zeros((28, 28), np.uint8)
    image[2:6, 20:25] = 255  # top right
    image[20, 3] = 100
    for data in (bytes(100), image.tobytes()):  # the first is of a wrong size: not shown
        site.loop.call_soon_threadsafe(site.server.js_call, "pad", "load", data)
    page.wait_for_function(f"Math.max(...({SHOWN})()) > 0")
    np.testing.assert_array_equal(np.reshape(page.evaluate(SHOWN), (28, 28)), image)
    assert site.calls == [], "what the server shows is not sent back by itself"
    page.evaluate("trame.refs.pad.send()")
    settle(page, site)
    assert site.calls[-1][1] == image.tobytes()
    draw(page, pad, (0.1, 0.5), (0.4, 0.5))
    settle(page, site)
    assert raster_of(site.calls[-1])[2:6].max() == 0
    assert np.reshape(page.evaluate(SHOWN), (28, 28))[2:6].max() == 0


def test_ink_follows_a_change_of_theme(page: Page, site: Site) -> None:
    draw(page, page.get_by_test_id("digit-pad"), (0.2, 0.5), (0.8, 0.5))
    page.evaluate("document.body.style.setProperty('--tv-pad-ink', 'rgb(200, 30, 40)')")
    page.wait_for_function(f"{COLOUR} === '200,30,40,255'")
    page.evaluate("document.body.style.removeProperty('--tv-pad-ink')")


def test_finger_draws_without_scrolling_and_a_second_finger_is_ignored(
    browser: Browser, site: Site, page: Page
) -> None:
    phone = open_page(browser, site, has_touch=True, is_mobile=True, device_scale_factor=2)
    session = phone.context.new_cdp_session(phone)
    box = phone.get_by_test_id("digit-pad").bounding_box()
    assert box

    def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": i}
            for i, (x, y) in enumerate(points)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    touch("touchStart", (0.3, 0.8))
    for step in range(8):
        touch("touchMove", (0.3, 0.8 - 0.05 * step))
    touch("touchStart", (0.3, 0.45), (0.9, 0.9))
    touch("touchMove", (0.3, 0.4), (0.9, 0.1))
    touch("touchEnd")
    settle(phone, site)
    columns = np.flatnonzero(raster_of(site.calls[-1]).max(axis=0) >= 128)
    assert columns.tolist() == [13, 14], "one vertical stroke, in the middle"
    assert phone.evaluate("scrollY") == 0
    phone.close()


def test_upload_of_ten_megabytes_arrives_whole(page: Page, site: Site, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(os.urandom(10 * 1024 * 1024 + 7))
    page.get_by_test_id("upload").set_input_files(photo)
    wait_for(page, lambda: bool(site.calls))
    assert site.calls == [("image_dropped", photo.read_bytes(), "photo.png")]


def test_refusals_are_one_sentence(page: Page, site: Site, tmp_path: Path) -> None:
    upload = page.get_by_test_id("upload")
    for count, (name, size) in enumerate([("moving.gif", 6), ("huge.png", 12_000_001)], start=1):
        (tmp_path / name).write_bytes(bytes(size))
        upload.set_input_files(tmp_path / name)
        wait_for(page, lambda count=count: len(site.calls) == count)
    assert site.calls == [
        ("image_refused", "moving.gif is image/gif, and only PNG, JPEG or WEBP can be read."),
        ("image_refused", "huge.png has 12.1 MB, and at most 12.0 MB can be sent."),
    ]


def test_paste_and_drag_anywhere_on_the_page(page: Page, site: Site) -> None:
    fire = """([type, kind]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array([1, 2, 255])], "held.png", { type: "image/png" }));
        const options = { clipboardData: files, dataTransfer: files, bubbles: true, cancelable: true };
        return document.body.dispatchEvent(new window[type](kind, options));
    }"""
    message = page.get_by_text("Drop the picture here")
    page.evaluate(fire, ["ClipboardEvent", "paste"])
    wait_for(page, lambda: len(site.calls) == 1)
    assert page.evaluate(fire, ["DragEvent", "dragover"]) is False, "the browser would leave the page"
    message.wait_for()
    page.evaluate(fire, ["DragEvent", "drop"])
    wait_for(page, lambda: len(site.calls) == 2)
    assert site.calls == [("image_dropped", b"\x01\x02\xff", "held.png")] * 2
    assert message.count() == 0
