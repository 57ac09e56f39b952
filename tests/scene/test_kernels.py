"""Weights of convolutions as grids of kernels: every cell stands where its index says, with its value."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.app.texts import readout
from tensorview.capture import Trace
from tensorview.runs import Run, watch
from tensorview.scene import Scene
from tensorview.scene.arrange import as_kernels, grid_for
from tensorview.scene.camera import Ray


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 4, (2, 3)), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(5 * 3 * 2, 2))


@pytest.fixture
def weights(model: nn.Module, tmp_path: Path) -> Trace:
    watch(model, torch.rand(1, 3, 4, 4), tmp_path, content="weights").close()
    return Run.open(tmp_path).trace(0, "weights")


@pytest.mark.parametrize("opened", [None, "*"])
def test_a_kernel_stands_where_its_index_says(model: nn.Module, weights: Trace, opened: str | None) -> None:
    scene = Scene(weights, opened, encoding="signed")
    item = next(p for p in scene.placements if p.name == "0.weight")
    rows, columns = item.grid
    assert columns % 3 == 0, "a row holds whole outputs"
    height, width = 2 + item.gap, 3 + item.gap
    across, down = columns * width - item.gap, rows * height - item.gap
    slab = scene.slabs[scene.slabs["layer"] == item.layer][0]
    page = scene.page("cells").pixels
    left, top, right, bottom = slab["uv"] * np.tile([page.shape[1], page.shape[0]], 2)
    signs = []
    for index in itertools.product(range(4), range(3), range(2), range(3)):
        kernel = index[0] * 3 + index[1]
        x = (kernel % columns * width + index[3] + 0.5) / across
        y = (kernel // columns * height + index[2] + 0.5) / down
        corner = item.bounds[[0, 1], [0, 1]]
        place = corner + np.array([x, -y]) * item.size[:2]
        hit = scene.pick(Ray(np.array([*place, 1e4]), np.array([0.0, 0.0, -1.0])))
        if hit is None or hit.layer != "0.weight":
            continue  # something smaller stands in front
        expected = model[0].weight[index].item()
        assert hit.index == index
        assert scene.value(hit) == pytest.approx(expected)
        assert f"0.weight · [{', '.join(map(str, index))}] · " in readout(scene, hit)["text"]
        red, _, blue = page[int(top + y * (bottom - top)), int(left + x * (right - left))][:3].astype(int)
        signs.append((expected > 0, red > blue))
    assert len(signs) > 40
    assert all(positive == warm for positive, warm in signs)


def test_kernels_of_one_cell_and_matrices_are_one_map_of_a_row_each(weights: Trace) -> None:
    placements = {p.name: p for p in Scene(weights).placements}
    assert (placements["1.weight"].maps.height, placements["1.weight"].maps.width) == (5, 4)
    assert (placements["3.weight"].maps.height, placements["3.weight"].maps.width) == (2, 30)
    assert placements["0.bias"].maps.style == "vector"


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((6, 1, 5, 5), (2, 3)),
        ((16, 6, 5, 5), (8, 12)),
        ((64, 64, 3, 3), (64, 64)),
        ((32, 1, 3, 3), (4, 8)),
        ((8, 4, 9), (4, 2)),
    ],
)
def test_grids_of_kernels(shape: tuple[int, ...], grid: tuple[int, int]) -> None:
    maps = as_kernels(shape)
    assert grid_for(maps, maps.height + 1, maps.width + 1, "grid") == grid


def test_opening_kernels_enlarges_them(weights: Trace) -> None:
    def width(scene: Scene) -> float:
        return next(p.size[0] for p in scene.placements if p.name == "0.weight")

    assert width(Scene(weights, ["0.weight"])) > 1.5 * width(Scene(weights))


def test_a_closed_module_shows_kernels_and_not_the_bias_behind_them(tmp_path: Path) -> None:
    blocks = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)) for _ in range(25)]
    model = nn.Sequential(*blocks)
    watch(model.eval(), torch.rand(1, 3, 4, 4), tmp_path, content="weights").close()
    scene = Scene(Run.open(tmp_path).trace(0, "weights"))
    closed = next(p for p in scene.placements if p.kind == "module")
    assert closed.maps == as_kernels((3, 3, 3, 3))
    first = int(closed.name.split(".")[0])
    np.testing.assert_array_equal(scene.layers[closed.layer].values, model[first][0].weight.detach().numpy())
