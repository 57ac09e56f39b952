"""Modules as boxes on the page, and what a cell sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser
from torch import nn

from tensorview import explore

from .visit import Visit, until

pytestmark = pytest.mark.browser


class Stages(nn.Module):
    """Three stages of ten blocks: the first view closes the third."""

    input_shape = (1, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.low, self.middle, self.high = (
            nn.Sequential(*(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()) for _ in range(10)))
            for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.high(self.middle(self.low(x)))


@pytest.fixture(scope="module")
def stages() -> Iterator[Any]:
    torch.manual_seed(0)
    with explore(Stages().eval(), port=0, browser=False) as viewer:
        yield viewer


def shown(page: Any) -> list[str]:
    return [p.name for p in page.scene.placements]


def bracket(page: Any, module: str) -> tuple[float, float]:
    """A pixel in which a module's bracket is nearest to the person."""
    left, top, width, height = page.area()
    for rail in (rail for rail in page.scene.rails if rail.name == module):
        for share in np.linspace(0.02, 0.98, 40):
            x, y = page.to_pixels(np.array([np.array(rail.start) * (1 - share) + np.array(rail.end) * share]))[0]
            free = page.page.evaluate(
                "([x, y]) => document.elementFromPoint(x, y)?.closest('[data-testid=stage]') != null", [x, y]
            )
            if free and page.scene.pick_module(page.camera().ray(x - left, y - top, width, height)) == module:
                return float(x), float(y)
    raise AssertionError(f"the bracket of {module} cannot be pointed at")


def test_a_box_opens_into_its_parts_and_its_bracket_closes_them(visit: Any, stages: Any) -> None:
    page = visit(stages)
    first = shown(page)
    assert "high" in first
    page.page.mouse.click(*page.spot_on("high"))
    page.settle()
    assert shown(page) == [*first[:-1], *(f"high.{i}" for i in range(10))]
    assert len(page.mesh("lines", "brackets")[0]) == len(page.scene.brackets.points) > 0
    page.press("card-close")
    page.page.mouse.click(*bracket(page, "high"))
    page.settle()
    assert shown(page) == first


def test_a_layer_that_is_chosen_in_the_list_is_framed_in_the_scene(digits: Any) -> None:
    digits.press("tab-layers")
    digits.press("layer-conv2")
    item = next(p for p in digits.scene.placements if p.name == "conv2")
    points, segments = digits.mesh("lines", "hover")
    assert len(segments) > 0
    assert (points.min(axis=0) < item.bounds[0]).all()
    assert (points.max(axis=0) > item.bounds[1]).all()
    digits.press("card-close")
    assert len(digits.mesh("lines", "hover")[1]) == 0


def test_what_a_cell_sees_is_outlined_only_when_it_is_asked_for(digits: Any) -> None:
    digits.page.mouse.click(*digits.spot_on("pool2"))
    digits.settle()
    digits.press("card-close")
    [(_, x, y)] = digits.open_to_pointer("pool2", 1, only=5 * 5 + 12)
    said = digits.point_at(x, y)
    before, _ = digits.mesh("lines", "hover")
    assert "sees" not in said["text"]
    digits.press("toggle-field")
    assert digits.find("toggle-field").get_attribute("aria-pressed") == "true"
    until(lambda: digits.viewer._explorer.state.show_field)
    digits.point_at(x + 1, y)
    assert digits.point_at(x, y)["text"].endswith("· sees 16 × 16 of input")
    after, _ = digits.mesh("lines", "hover")
    assert len(after) > len(before)
    scene = digits.scene
    front = scene.placements[0].bounds[1, 2]
    on_input = after[np.isclose(after[:, 2], front, atol=0.1)]
    assert np.ptp(on_input[:, :2], axis=0) == pytest.approx([16, 16], rel=1e-4)


def test_what_cannot_be_shown_is_said_below_the_list_of_layers(browser: Browser) -> None:
    class Fourier(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft2(x)

    class Spectrum(nn.Module):
        input_shape = (1, 6, 6)

        def __init__(self) -> None:
            super().__init__()
            self.fourier, self.last = Fourier(), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.fourier(x).abs())

    with explore(Spectrum().eval(), port=0, browser=False) as viewer:
        visit = Visit(browser, viewer)
        visit.press("tab-layers")
        notes = visit.find("notes").locator("li")
        assert notes.all_inner_texts() == ["layer 'fourier' returned complex64 values, which are not drawn"]
        assert notes.first.is_visible()
        visit.close()
