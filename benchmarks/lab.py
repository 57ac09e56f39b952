"""The training lab with its page open: how fast it learns, how often the scene changes, and whether turning it stalls.

python -m benchmarks.lab
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tensorview.app.explore import lab
from tensorview.training import Hyperparameters, Trainer, open_data

from .browser import FLAGS
from .training import bare, wait

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECONDS = 4.0
ROUNDS = 4
# The intervals between frames from now on. To ask for every frame costs some of what is measured.
WATCH = """() => {
    const watched = { frames: [] };
    window.watched = watched;
    let last = performance.now();
    const look = (now) => {
        watched.frames.push(now - last);
        last = now;
        if (window.watched) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""
WATCHED = """() => {
    const { frames } = watched;
    window.watched = null;
    return frames;
}"""
SCENES = "tensorviewTimes.scenes"


def left_alone(page: Page, trainer: Trainer) -> dict[str, float]:
    """What happens in some seconds of training while nobody touches the page."""
    before, scenes, started = trainer.status.examples, page.evaluate(SCENES), time.perf_counter()
    time.sleep(SECONDS)
    took = time.perf_counter() - started
    return {
        "examples_per_s": (trainer.status.examples - before) / took,
        "scenes_per_s": (page.evaluate(SCENES) - scenes) / took,
    }


def turning(page: Page, trainer: Trainer) -> dict[str, float]:
    """The same while somebody turns the scene all the time."""
    stage = page.get_by_test_id("stage").bounding_box()
    assert stage is not None
    x, y = stage["x"] + stage["width"] * 0.4, stage["y"] + stage["height"] * 0.85
    before, scenes, started = trainer.status.examples, page.evaluate(SCENES), time.perf_counter()
    page.evaluate(WATCH)
    page.mouse.move(x, y)
    page.mouse.down()
    k = 0
    while time.perf_counter() - started < SECONDS:
        k += 1
        page.mouse.move(x + 100 * ((k % 60) / 60), y)
        page.wait_for_timeout(30)
    page.mouse.up()
    frames = page.evaluate(WATCHED)
    took = time.perf_counter() - started
    return {
        "examples_per_s": (trainer.status.examples - before) / took,
        "scenes_per_s": (page.evaluate(SCENES) - scenes) / took,
        "frame_median_ms": median(frames),
        "frame_longest_ms": max(frames),
    }


def measure() -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    data, hyper = open_data("digits"), Hyperparameters()
    plain: list[float] = []
    still: list[dict[str, float]] = []
    turned: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="tensorview-bench-") as folder, sync_playwright() as playwright:
        with Trainer(Path(folder) / "lab", hyper=hyper) as trainer, lab(trainer, port=0, browser=False) as viewer:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(viewer.url)
            page.wait_for_selector("[data-testid=stage][data-serial]")
            for _ in range(ROUNDS):
                plain.append(bare(data, hyper, "lenet5", SECONDS))
                trainer.start()
                wait(trainer, "running")
                time.sleep(1)
                still.append(left_alone(page, trainer))
                turned.append(turning(page, trainer))
                trainer.pause()
                wait(trainer, "paused")
            browser.close()
    figures = {f"{name}_still": round(median(each[name] for each in still), 1) for name in still[0]}
    figures |= {f"{name}_turning": round(median(each[name] for each in turned), 1) for name in turned[0]}
    ratios = [each["examples_per_s"] / alone for each, alone in zip(still, plain, strict=True)]
    return {"lab_page": {"bare_per_s": round(median(plain)), "lab_over_bare": round(median(ratios), 2), **figures}}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
