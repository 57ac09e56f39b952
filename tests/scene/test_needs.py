"""A scene of what it needs is the scene of everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Tracer, capture
from tensorview.scene import Camera, Look, Scene
from tensorview.scene.needs import needed

torch.set_num_threads(1)


class Everything(nn.Module):
    """Modules in modules, volumes, sequences, a vector, attention and a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*[nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()) for _ in range(20)])
        self.solid = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU())
        self.look = nn.MultiheadAttention(16, 2, batch_first=True)
        self.line = nn.Sequential(nn.Conv1d(6, 4, 3), nn.ReLU())
        self.head = nn.Linear(4 * 14, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(x))
        x = x + self.solid(x.unsqueeze(1)).mean(1)
        seen, _ = self.look(x[:, 0], x[:, 1], x[:, 2])
        return self.head(self.line(x.mean(3) + seen.mean(1, keepdim=True)).flatten(1))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Everything().eval()


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(1, 3, 16, 16)


def nearly_same(pixels: np.ndarray, others: np.ndarray) -> None:
    """A mean that was taken in another order may round to the next of the 256 levels."""
    assert pixels.shape == others.shape
    apart = np.abs(pixels.astype(int) - others)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.001


@pytest.mark.parametrize("aggregate", ["mean", "max"])
@pytest.mark.parametrize("opened", [None, ["stem"], ["stem.0"], ["solid.0", "blocks.3"], ["blocks"], "*"], ids=str)
def test_the_pixels_are_the_same(network, x, opened, aggregate):
    look = Look(aggregate=aggregate)
    whole = Scene(capture(network, x), opened, look=look)
    trace = Tracer(network, choose=lambda structure: needed(structure, look, opened))(x)
    scene = Scene(trace, opened, look=look)
    nearly_same(scene.page("cells").pixels, whole.page("cells").pixels)
    kept = {layer.name for layer in (*trace.inputs, *trace) if layer.values is not None or layer.reduced}
    assert kept == {scene.all_layers[node.output].name for node in scene.nodes}
    if opened != "*":
        assert any(layer.reduced for layer in trace)

    camera = scene.camera
    for place in np.linspace(0.02, 0.98, 60):
        for height in (0.3, 0.5):
            hit = scene.pick(camera.ray(place * 1600, height * 900, 1600, 900))
            other = whole.pick(camera.ray(place * 1600, height * 900, 1600, 900))
            assert hit == other
            if hit is not None:
                assert scene.value(hit) == pytest.approx(whole.value(other), rel=1e-6)
                assert scene.feeding(hit).sources == whole.feeding(other).sources


def test_an_update_shows_new_values_of_closed_boxes(network, x):
    look = Look()
    tracer = Tracer(network, choose=lambda structure: needed(structure, look))
    scene = Scene(tracer(x))
    scene.update(tracer(1 - x))
    nearly_same(scene.page("cells").pixels, Scene(capture(network, 1 - x)).page("cells").pixels)


def test_the_mean_of_a_closed_box_is_a_float32(chain):
    values = np.random.default_rng(0).normal(size=(7, 5, 5)).astype(np.float32)
    scene = Scene(chain(np.zeros((1, 5, 5), np.float32), values))
    item = scene.placements[1]
    front = (item.centre[0], item.centre[1], item.bounds[1, 2] + 0.01)
    hit = scene.pick(Camera(tuple(np.add(front, (0, 0, 0.01))), front).ray(1, 1, 2, 2))
    assert hit is not None
    wanted = np.float32(values.astype(float)[:, hit.row, hit.column].mean())
    assert scene.value(hit) == float(wanted)


def test_a_mean_whose_sum_is_beyond_float32_is_finite():
    layer = nn.Conv2d(1, 4, 1, bias=False)
    nn.init.constant_(layer.weight, 3e38)
    trace = Tracer(nn.Sequential(layer), choose=lambda structure: {"0": "reduced"})(torch.ones(1, 1, 3, 3))
    np.testing.assert_allclose(trace["0"].reduced["mean"], 3e38, rtol=1e-6)
