"""Playing a run on the page: scrub, play, follow one that grows, weights and gradients, and files that break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.app import Viewer, play
from tensorview.runs import Recorder, Run, watch

from .test_access import serious

pytestmark = pytest.mark.browser

SHOWN = "(step) => document.querySelector('[data-testid=timeline-step]').dataset.step === String(step)"
STEPS = 20


class Growing(nn.Module):
    """A network whose every value is told by a number: the step at which it is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.head = nn.Linear(3 * 64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).flatten(1))


def advance(model: Growing, run: Recorder) -> None:
    """A step of training: all weights move, by an amount that the next step's readers can tell."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * (run.number + 1) * torch.sign(parameter)
    run.step(loss=1 / (run.number + 1), accuracy=run.number / 100)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple[Growing, Recorder]]:
    """A network and its recorder after `STEPS` steps."""
    torch.manual_seed(2)
    model = Growing()
    content = ("activations", "weights", "gradients")
    names = ("ant", "bee", "cat", "dog")
    with watch(model, torch.rand(1, 1, 8, 8), tmp_path / "run", every=1, content=content, class_names=names) as run:
        for _ in range(STEPS):
            advance(model, run)
        yield model, run


@pytest.fixture
def finished(writer: tuple[Growing, Recorder], tmp_path: Path) -> Iterator[Viewer]:
    """The page of the run after its end."""
    writer[1].close()
    with play(Run.open(tmp_path / "run"), port=0, browser=False, open="*", aggregate="max") as viewer:
        yield viewer


def slider(page: Any) -> Any:
    return page.find("timeline-slider").locator("[role=slider]")


def go_to(page: Any, step: int) -> None:
    """Press the slider's keys until it stands on a step; one step is one key here."""
    knob = slider(page)
    knob.focus()
    now = int(knob.get_attribute("aria-valuenow"))
    for _ in range(abs(step - now)):
        knob.press("ArrowRight" if step > now else "ArrowLeft")
    page.wait_until(SHOWN, step)
    page.settle()


def check_cells(page: Any, run: Run, step: int, layer: str = "conv", content: str = "activations") -> None:
    """Pointing at cells reads the values that were recorded at a step."""
    values = run.trace(step, content)[layer].values
    for index, x, y in page.open_to_pointer(layer, 2, seed=step):
        said = page.point_at(x, y)
        assert said["layer"] == layer
        assert np.float32(said["value"]) == pytest.approx(values[index], rel=1e-6)


def test_scrubbing_shows_the_values_of_the_step_and_moves_nothing(
    finished: Viewer, visit: Callable[..., Any], tmp_path: Path
) -> None:
    run, page = Run.open(tmp_path / "run"), visit(finished)
    page.wait_until(SHOWN, STEPS)
    assert page.find("timeline-step").inner_text() == str(STEPS)
    check_cells(page, run, STEPS)
    page.frame.evaluate("stage.turn(20, 10)")
    page.settle()
    camera, serial = page.camera(), page.find("stage").get_attribute("data-serial")
    for step in (STEPS - 7, 0, 3):
        go_to(page, step)
        check_cells(page, run, step)
        assert page.camera() == camera
    assert page.find("stage").get_attribute("data-serial") == serial, "only pixels travel"
    assert page.find("timeline-loss").inner_text().split() == ["loss", "0.3333"]
    assert page.find("timeline-accuracy").inner_text().split() == ["accuracy", "0.02"]
    assert not page.find("pad").count()


def test_the_curves_are_those_of_the_metrics(finished: Viewer, visit: Callable[..., Any]) -> None:
    page = visit(finished)
    page.find("curve-loss").wait_for()
    points = page.find("curve-loss").locator("polyline").get_attribute("points")
    found = np.array([[float(v) for v in point.split(",")] for point in points.split()])
    steps = np.arange(1, STEPS + 1)
    losses = 1 / steps
    np.testing.assert_allclose(found[:, 0], 300 * steps / STEPS, atol=0.06)
    np.testing.assert_allclose(found[:, 1], 60 * (1 - losses) / (1 - 1 / STEPS), atol=0.06)
    text = page.find("curve-loss").inner_text()
    assert "0.05 to 1" in text
    assert f"step {STEPS}" in text
    line = page.find("curve-loss").locator("line")
    go_to(page, STEPS // 2)
    assert float(line.get_attribute("x1")) == 150


def test_playing_runs_to_the_end_and_stops(finished: Viewer, visit: Callable[..., Any]) -> None:
    page = visit(finished)
    go_to(page, 2)
    page.choose(run_speed=25)
    page.press("timeline-play")
    page.wait_until(SHOWN, STEPS)
    page.wait_until("document.querySelector('[data-testid=timeline-play]').ariaLabel === 'Play'")
    page.choose(run_speed=1)
    page.press("timeline-play")  # from the start again
    page.wait_until(SHOWN, 1)
    page.press("timeline-play")
    now = page.find("timeline-step").get_attribute("data-step")
    page.page.wait_for_timeout(1500)
    assert page.find("timeline-step").get_attribute("data-step") == now, "it is paused"
    assert int(now) < 6


def test_only_the_newest_wanted_step_is_loaded(
    finished: Viewer, visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, session = visit(finished), finished.session
    loaded: list[int] = []
    real = session.run

    def slow(step: int) -> Any:
        loaded.append(step)
        time.sleep(0.2)
        return real(step)

    monkeypatch.setattr(session, "run", slow)
    for index in range(STEPS - 1, 3, -1):
        page.frame.evaluate("(index) => trame.state.set('run_index', index)", index)
    page.wait_until(SHOWN, 4)
    assert loaded[-1] == 4
    assert len(loaded) < STEPS / 2
    assert session.step == 4


def test_a_growing_run_is_followed_live(
    writer: tuple[Growing, Recorder], visit: Callable[..., Any], tmp_path: Path
) -> None:
    model, recorder = writer
    with play(Run.open(tmp_path / "run"), port=0, browser=False, open=["conv"], aggregate="max") as viewer:
        page = visit(viewer)
        page.wait_until(SHOWN, STEPS)
        live = page.find("timeline-live")
        assert live.get_attribute("aria-pressed") == "true"
        for _ in range(5):
            advance(model, recorder)
        page.wait_until(SHOWN, STEPS + 5)
        page.settle()
        check_cells(page, Run.open(tmp_path / "run"), STEPS + 5)
        go_to(page, 4)
        assert live.get_attribute("aria-pressed") == "false", "who looks back is not carried away"
        advance(model, recorder)
        page.wait_until("document.querySelector('[data-testid=timeline]').textContent.includes('of 26')")
        assert page.find("timeline-step").get_attribute("data-step") == "4"
        page.press("timeline-live")
        page.wait_until(SHOWN, STEPS + 6)
        recorder.close()
        page.wait_until("document.querySelector('[data-testid=run-facts]').textContent.includes('finished')")


def test_weights_and_gradients_are_shown_too(finished: Viewer, visit: Callable[..., Any], tmp_path: Path) -> None:
    run, page = Run.open(tmp_path / "run"), visit(finished)
    go_to(page, 7)
    page.press("content-weights")
    page.wait_until("document.querySelector('[data-testid=layers]').textContent.includes('conv.weight')")
    page.press("open-all")
    page.settle()
    weight = run.trace(7, "weights")["head.weight"].values
    ((index, x, y),) = page.open_to_pointer("head.weight", 1, seed=1)
    assert np.float32(page.point_at(x, y)["value"]) == pytest.approx(weight[index], rel=1e-6)
    assert page.scene.look.encoding == "signed"
    page.press("content-activations")
    page.wait_until("document.querySelector('[data-testid=layers]').textContent.includes('relu')")
    page.settle()
    assert page.scene.look.encoding == "kind"
    check_cells(page, run, 7)


def test_a_step_that_cannot_be_read_is_said_and_the_page_goes_on(
    finished: Viewer, visit: Callable[..., Any], tmp_path: Path
) -> None:
    broken = tmp_path / "run" / "step-00000018.safetensors"
    broken.write_bytes(broken.read_bytes()[:99])
    page = visit(finished)
    knob = slider(page)
    knob.focus()
    knob.press("ArrowLeft")
    page.wait_until(SHOWN, 19)
    knob.press("ArrowLeft")
    page.wait_until("document.querySelector('[data-testid=message]')?.textContent.includes('cannot be read')")
    knob.press("ArrowLeft")
    page.wait_until(SHOWN, 17)
    page.settle()
    check_cells(page, Run.open(tmp_path / "run"), 17)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_serious(finished: Viewer, visit: Callable[..., Any], theme: str) -> None:
    page = visit(finished)
    page.find("curve-loss").wait_for()
    page.choose(theme=theme)
    assert serious(page) == []


def test_a_phone_has_stage_timeline_and_panel(finished: Viewer, visit: Callable[..., Any]) -> None:
    page = visit(finished, viewport={"width": 400, "height": 800})
    boxes = [page.find(name).bounding_box() for name in ("stage", "timeline", "tab-run")]
    tops = [box["y"] for box in boxes]
    assert tops == sorted(tops)
    assert boxes[0]["height"] > 200
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 401 for box in boxes)
