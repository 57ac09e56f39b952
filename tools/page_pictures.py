"""Pictures of the pages themselves, in headless Chromium."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.browser import FLAGS
from tensorview.app import Viewer, explore
from tensorview.app.explore import lab as open_lab
from tensorview.training import Trainer

SIZE = {"width": 1440, "height": 860}
STEPS = 800


def playground() -> Image.Image:
    """The playground with a digit in it, and its convolutions open."""

    def prepare(page: Any) -> None:
        page.get_by_test_id("sample-3").click()
        for layer in ("conv1", "conv2"):
            page.evaluate("(name) => trame.trigger('toggle_layer', [name])", layer)

    with explore("lenet5", browser=False, port=0) as viewer:
        return _picture(viewer, prepare)


def lab() -> Image.Image:
    """The training lab after some hundred batches."""

    def prepare(page: Any) -> None:
        page.get_by_test_id("train-start").click()
        while trainer.status.step < STEPS:
            time.sleep(0.05)
        page.get_by_test_id("train-pause").click()
        page.wait_for_function("trame.state.get('lab').state === 'paused'")
        page.evaluate("trame.trigger('toggle_layer', ['conv1'])")
        page.get_by_test_id("tab-train").click()

    with tempfile.TemporaryDirectory() as folder:
        with Trainer(Path(folder) / "lab") as trainer, open_lab(trainer, port=0, browser=False) as viewer:
            return _picture(viewer, prepare)


def _picture(viewer: Viewer, prepare: Callable[[Any], None]) -> Image.Image:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        page.goto(viewer.url)
        page.wait_for_selector("[data-testid=stage][data-serial]")
        prepare(page)
        page.wait_for_timeout(1500)
        picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
        browser.close()
        return picture
