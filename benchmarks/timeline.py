"""Scrubbing a run on the page: from the wish for a step to the frame that shows it, over the time of a frame.

python -m benchmarks.timeline
"""

from __future__ import annotations

import json
import shutil
from statistics import median
from typing import Any

import torch

from tensorview.app.explore import play
from tensorview.capture import capture
from tensorview.runs import Run

from .browser import FLAGS, _turn
from .capture import lenet
from .recording import folder, long_run

STEPS, SCRUBS = 1000, 60
# Wishes for a step, waits until it has been drawn, and says how many milliseconds that took.
SCRUB = """async (index) => {
    const started = performance.now();
    const shown = () => document.querySelector("[data-testid=timeline-step]").dataset.step === String(index);
    trame.state.set("run_index", index);
    while (!shown()) await new Promise(requestAnimationFrame);
    return performance.now() - started;
}"""


def measure() -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    trace = capture(lenet(), torch.rand(1, 1, 28, 28))
    with folder() as path, sync_playwright() as playwright:
        long_run(path / "run", trace, STEPS)
        with play(Run.open(path / "run"), port=0, browser=False) as viewer:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(viewer.url)
            page.wait_for_selector("[data-testid=stage][data-serial]")
            page.evaluate(SCRUB, 1)
            took = [page.evaluate(SCRUB, (k * 389) % STEPS) for k in range(SCRUBS)]
            frame = _turn(page)
            browser.close()
    return {
        "scrub": {
            "step_median_ms": round(median(took), 1),
            "step_p95_ms": round(sorted(took)[int(0.95 * len(took))], 1),
            "turn_frame_ms": round(frame, 1),
            "steps_over_frames": round(median(took) / frame, 2),
        }
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
