"""What the page says of the cell under the pointer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tensorview.app import wire
from tensorview.app.texts import field_text
from tensorview.capture import capture
from tensorview.scene import Hit, Scene


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, (5, 7))

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.far(self.near(image)) * mask


def hit(scene: Scene, layer: str, *index: int) -> Hit:
    item = next(i for i, p in enumerate(scene.placements) if p.name == layer)
    return Hit(layer, item, index[0], *index[-2:], index, 1.0)


def test_what_a_cell_sees_is_said_in_cells_of_every_input():
    trace = capture(Pair(), (torch.rand(1, 1, 20, 20), torch.rand(1, 1, 14, 12)))
    scene = Scene(trace)
    assert field_text(scene, hit(scene, "near", 0, 4, 4)) == "sees 3 × 3 of image"
    assert field_text(scene, hit(scene, "far", 0, 4, 4)) == "sees 7 × 9 of image"
    assert field_text(scene, hit(scene, "mul", 0, 4, 4)) == "sees 7 × 9 of image, 1 × 1 of mask"
    assert field_text(scene, hit(scene, "image", 0, 4, 4)) == ""
    whole = Scene(capture(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.rand(1, 1, 4, 4)))
    last = Hit("1", 2, 0, 1, 0, (1,), 1.0)
    assert field_text(whole, last) == "sees all of input"


def test_outlines_of_what_a_cell_sees_are_muted_and_come_first():
    trace = capture(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), torch.rand(1, 1, 9, 9))
    scene = Scene(trace)
    cell = hit(scene, "1", 0, 2, 2)
    marks = scene.field_marks(cell)
    assert marks.shape == (2, 4, 3)
    without = wire.hover_arrays(scene.outline(cell), scene.feeding(cell), scene)
    arrays = wire.hover_arrays(scene.outline(cell), scene.feeding(cell), scene, marks)
    colours = np.frombuffer(arrays["colours"], np.uint8).reshape(-1, 3)
    np.testing.assert_array_equal(colours[:10], [scene.theme.muted] * 10)
    assert arrays["colours"][30:] == without["colours"]
    np.testing.assert_allclose(np.frombuffer(arrays["points"], "<f4")[:12], marks[0].reshape(-1), rtol=1e-6)
