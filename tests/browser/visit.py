"""Somebody who opens the page in Chromium: what they do, what they see, and what the page complains about."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Frame, Locator, Page, Response

from tensorview.app import Viewer
from tensorview.app.explorer import LOOKS
from tensorview.app.rules import DEFAULTS
from tensorview.app.wire import camera_from
from tensorview.scene import Camera, Look
from tensorview.scene.picking import Window, outline, value_index

SIZE = {"width": 1280, "height": 720}
LOOK = Look()
START = {
    **DEFAULTS,
    **{name: getattr(LOOK, name) for name in LOOKS},
    "animation": 0,
    "message": "",
}
# The components of the stage and the pad, which the page keeps to itself, caught when they are registered, as
# `window.stage` and `window.pad`; and how many triggers are still to be answered, as `window.pending`.
CATCH_COMPONENTS = """
    window.pending = 0;
    function count(trame) {
        const { trigger } = trame;
        trame.trigger = (...call) => {
            pending++;
            return trigger.apply(trame, call).finally(() => pending--);
        };
    }
    function caught(name, plugin) {
        const created = function () {
            window[name] = this;
            if (name === "stage") count(this.trame);
        };
        const install = (app) => plugin.install({
            component: (tag, options) => app.component(tag, { ...options, mixins: [{ created }] }),
        });
        return { install };
    }
    for (const [global, name] of [["tensorviewStage", "stage"], ["tensorviewPad", "pad"]]) {
        let plugin;
        Object.defineProperty(window, global, { get: () => plugin, set: (own) => { plugin = caught(name, own); } });
    }
"""
START_AGAIN = """async (start) => {
    for (const [key, value] of Object.entries(start)) trame.state.set(key, value);
    await trame.trigger("reset_all", []);
    if (document.querySelector("[data-testid^=sample-]")) await trame.trigger("show_sample", [7]);
    await stage.resetView();
}"""
# Everything asked of the server is answered, and what the answers say is on the screen.
SETTLE = """async () => {
    for (let quiet = 0; quiet < 2; quiet = pending ? 0 : quiet + 1) {
        await trame.trigger("first_camera", [[100, 100]]);
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    }
}"""
AT_REST = """() => Object.values(stage.surfaces).every(({ mesh, rest }) => {
    const now = mesh.getPoints().getData();
    return now.length === rest.length && now.every((x, i) => x === rest[i]);
}) && !stage.hover.inFlight && !stage.hover.event"""

# The debugger of a browser holds what it waits for but weakly, and it may be collected as garbage; the page holds
# it too. And no promise is waited for without end.
AWAITED = """(argument) => window.awaited = Promise.race([
    (SCRIPT)(argument),
    new Promise((_, refuse) => setTimeout(() => refuse(new Error("It was not done within a minute")), 60000)),
])"""

FREE = "([x, y]) => document.elementFromPoint(x, y)?.closest('[data-testid=stage]') != null"
READ_OUT = """(() => {
    const element = document.querySelector("[data-testid=readout]");
    return { ...element.dataset, text: element.textContent.trim(), shown: element.checkVisibility() };
})()"""

Box = tuple[int, int, int, int]


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens on the server."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it did not happen within a minute"
        time.sleep(0.02)


def awaited(page: Page | Frame, script: str, argument: Any = None) -> Any:
    """What an asynchronous function of the page comes to."""
    return page.evaluate(AWAITED.replace("SCRIPT", script), argument)


class Visit:
    """A page in Chromium that shows a viewer's session."""

    def __init__(self, browser: Browser, viewer: Viewer, frame: Box | None = None, **options: Any) -> None:
        self.viewer = viewer
        self.faults: list[str] = []
        self.context = browser.new_context(**{"viewport": SIZE, **options})
        self.context.set_default_timeout(30_000)
        self.page = self.watched(self.context.new_page())
        self.page.add_init_script(CATCH_COMPONENTS)
        self.frame = self.page.main_frame
        self.corner = (0, 0)
        if frame is None:
            self.page.goto(viewer.url)
        else:
            self.open_in_frame(*frame)
        self.wait_for_scene()

    def open_in_frame(self, left: int, top: int, width: int, height: int) -> None:
        """Open the page inside another one of the same origin, in CSS pixels from its top left corner."""
        host = self.viewer.url.replace("?", "host?")
        style = f"position: absolute; left: {left}px; top: {top}px; width: {width}px; height: {height}px; border: 0"
        inner = self.viewer.url.replace("?", "index.html?")
        body = f"<!doctype html><html lang=en><title>host</title><iframe src='{inner}' style='{style}'></iframe>"
        self.page.route(host, lambda route: route.fulfill(body=body, content_type="text/html"))
        self.page.goto(host)
        self.frame, self.corner = self.page.frames[1], (left, top)

    def wait_for_scene(self) -> None:
        self.frame.wait_for_selector("[data-testid=stage][data-serial]")
        self.settle()

    def watched(self, page: Page) -> Page:
        """Keep what the page complains about, and every request that leaves this machine."""

        def said(kind: str, text: str) -> None:
            if kind == "error" or "Vue warn" in text:
                self.faults.append(text)

        def answered(response: Response) -> None:
            if response.status >= 400:
                self.faults.append(f"{response.status} for {response.url}")

        page.on("console", lambda message: said(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("response", answered)
        page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url} {request.failure}"))
        page.on("request", lambda request: self.check_address(request.url))
        page.on("websocket", lambda socket: self.check_address(socket.url))
        return page

    def check_address(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:")):
            self.faults.append(f"a request to {url}")

    def start_again(self) -> None:
        """As it was when the page was new: what is shown, open, chosen, and where the camera and the pointer are."""
        self.page.mouse.move(SIZE["width"] - 3, SIZE["height"] - 3)
        awaited(self.frame, START_AGAIN, START)
        self.settle()
        self.faults.clear()

    def settle(self) -> None:
        awaited(self.frame, SETTLE)
        self.frame.wait_for_function(AT_REST)

    def find(self, test_id: str) -> Locator:
        return self.frame.get_by_test_id(test_id)

    def press(self, test_id: str) -> None:
        """Click a control and wait for what it does."""
        self.find(test_id).click()
        self.settle()

    def upload(self, content: bytes, name: str = "picture.png") -> None:
        """Choose a file with the upload button; what becomes of it is for the caller to wait for."""
        kind = {"jpg": "jpeg"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
        self.find("upload").set_input_files({"name": name, "mimeType": f"image/{kind}", "buffer": content})

    def preview(self) -> np.ndarray:
        """`(H, W)` or `(H, W, 3)` uint8: the picture on the page of what the model receives."""
        source = self.find("preview").get_attribute("src")
        return np.asarray(Image.open(BytesIO(base64.b64decode(source.partition("base64,")[2]))))

    def choose(self, **state: Any) -> None:
        """Set state as the page's controls do."""
        for key, value in state.items():
            self.frame.evaluate("([key, value]) => trame.state.set(key, value)", [key, value])
        self.settle()

    def wait_until(self, expression: str, argument: Any = None) -> None:
        self.frame.wait_for_function(expression, arg=argument)

    # The stage -----------------------------------------------------------------------------------------------------

    @property
    def scene(self) -> Any:
        return self.viewer.session.scene

    def camera(self) -> Camera:
        return camera_from(self.frame.evaluate("stage.camera()"))

    def area(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the stage, in CSS pixels of the page."""
        box = self.find("stage").bounding_box()
        assert box
        return box["x"], box["y"], box["width"], box["height"]

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """`(N, 3)` points of the scene to `(N, 2)` CSS pixels of the page, under the page's own camera."""
        left, top, width, height = self.area()
        at = self.camera().project(points, width / height)
        return np.stack([left + (at[:, 0] + 1) / 2 * width, top + (1 - at[:, 1]) / 2 * height], axis=1)

    def corners_of(self, layer: str, channel: int, row: int, column: int) -> np.ndarray:
        """`(4, 3)` corners of a cell's front."""
        item = next(p for p in self.scene.placements if p.name == layer)
        window = Window(channel, row, row + 1, column, column + 1)
        corners = outline(item, window, self.scene._shares.units.get(item.layer))
        assert corners is not None
        return corners

    def cells(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """`(C, H, W)` values of a layer and `(C, H, W, 2)` the pixel in the middle of each of its cells.

        A wrapped vector is filled up with NaN.
        """
        item = next(p for p in self.scene.placements if p.name == layer)
        values = np.full(item.maps.shape, np.nan)
        values.flat[: item.maps.size] = self.scene.trace[layer].values.reshape(-1)
        middles = [self.corners_of(layer, *index).mean(axis=0) for index in np.ndindex(values.shape)]
        return values, self.to_pixels(np.array(middles)).reshape(*values.shape, 2)

    def open_to_pointer(
        self, layer: str, count: int = 1, seed: int = 0, only: int | None = None
    ) -> list[tuple[tuple[int, ...], float, float]]:
        """Cells of a layer, spread at random, that nothing covers: index into its values, and their pixel.

        Args:
            only: take just this one, counted in C order.
        """
        item = next(p for p in self.scene.placements if p.name == layer)
        shape = self.scene.trace[layer].values.shape
        camera, (left, top, width, height) = self.camera(), self.area()
        _, pixels = self.cells(layer)
        found = []
        for flat in np.random.default_rng(seed).permutation(item.maps.size) if only is None else [only]:
            cell = tuple(int(i) for i in np.unravel_index(flat, item.maps.shape))
            index = value_index(item, shape, *cell)
            x, y = (float(v) for v in pixels[cell])
            hit = self.scene.pick(camera.ray(x - left, y - top, width, height))
            if (
                hit is None
                or hit.layer != layer
                or hit.index != index
                or not self.frame.evaluate(FREE, [x - self.corner[0], y - self.corner[1]])
            ):
                continue
            found.append((index, x, y))
            if len(found) == count:
                return found
        raise AssertionError(f"only {len(found)} cells of {layer} can be pointed at")

    def spot_on(self, layer: str) -> tuple[float, float]:
        """A pixel in which a layer, open or closed, is nearest to the person and nothing of the page covers it."""
        item = next(p for p in self.scene.placements if p.name == layer)
        low, high = item.bounds
        u, v = (grid.reshape(-1, 1) for grid in np.meshgrid(*[np.linspace(0.06, 0.94, 12)] * 2))
        front = np.concatenate([low[0] + u * (high[0] - low[0]), low[1] + v * (high[1] - low[1])], axis=1)
        pixels = self.to_pixels(np.column_stack([front, np.full(len(front), high[2])]))
        camera, (left, top, width, height) = self.camera(), self.area()
        for x, y in pixels.tolist():
            hit = self.scene.pick(camera.ray(x - left, y - top, width, height))
            if (
                hit is not None
                and hit.layer == layer
                and self.frame.evaluate(FREE, [x - self.corner[0], y - self.corner[1]])
            ):
                return x, y
        raise AssertionError(f"no part of {layer} can be pointed at")

    def point_at(self, x: float, y: float) -> dict[str, Any]:
        """Hover, and return what the read-out says: its text and its data attributes."""
        self.page.mouse.move(x, y)
        self.settle()
        return self.frame.evaluate(READ_OUT)

    def mesh(self, kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """`(N, 3)` points and `(L, 2)` segments of one of the browser's lines."""
        points, cells = self.frame.evaluate(
            "([kind, name]) => { const { mesh } = stage[kind][name]; return [Array.from(mesh.getPoints().getData()),"
            " Array.from(mesh.getLines().getData())]; }",
            [kind, name],
        )
        return np.array(points).reshape(-1, 3), np.array(cells, dtype=int).reshape(-1, 3)[:, 1:]

    def points(self) -> np.ndarray:
        """`(N, 3)` points of the cells as the browser draws them now."""
        return np.array(self.frame.evaluate("Array.from(stage.surfaces.cells.mesh.getPoints().getData())")).reshape(
            -1, 3
        )

    def picture(self) -> np.ndarray:
        """`(height, width, 3)` uint8: the whole page as it is seen."""
        return np.asarray(Image.open(BytesIO(self.page.screenshot())).convert("RGB"))

    def close(self) -> None:
        self.context.close()
