"""Branches side by side: which layers run in lanes, where these stand, and how lines lead in and out of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Trace, capture
from tensorview.scene import Scene
from tensorview.scene.labels import local_name
from tensorview.scene.lanes import Lanes, line_of


def plain(line) -> list:
    return [[plain(lane) for lane in x.lines] if isinstance(x, Lanes) else x for x in line]


@pytest.mark.parametrize(
    ("parents", "line"),
    [
        ([[], [0], [1], [2]], [0, 1, 2, 3]),
        ([[], [0], [1], [0, 2]], [0, 1, 2, 3]),
        ([[], [0], [0], [1, 2]], [0, [[1], [2]], 3]),
        ([[], [0], [1], [0], [2, 3], [4]], [0, [[1, 2], [3]], 4, 5]),
        ([[], [0], [0], [0], [0, 1, 2, 3]], [0, [[1], [2], [3]], 4]),
        ([[], [0], [1], [1], [2, 3], [0], [4, 5]], [0, [[1, [[2], [3]], 4], [5]], 6]),
        ([[], [], [0], [1], [2, 3]], [[[0, 2], [1, 3]], 4]),
        ([[], [0], [1], [1, 0], [3, 2]], [0, 1, 2, 3, 4]),
        ([[], [0], [1], [2], [1], [3, 4], [0, 5]], [0, 1, [[2, 3], [4]], 5, 6]),
        ([[], [0], [0], [0], [1, 2]], [0, 1, 2, 3, 4]),
    ],
    ids=[
        "chain",
        "skip",
        "fork",
        "uneven",
        "skip around",
        "nested",
        "two inputs",
        "dense",
        "skip outside",
        "loose end",
    ],
)
def test_what_is_a_lane(parents, line):
    assert plain(line_of(parents)) == line


def test_a_long_branch_stays_in_the_row():
    deep = [[], *([i] for i in range(80))]
    assert plain(line_of([*deep, [0], [80, 81]])) == list(range(83))


class Inception(nn.Module):
    """Four branches of which the second has two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.one, self.three, self.five = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1), nn.Conv2d(4, 2, 5, padding=2)
        self.wide = nn.Conv2d(3, 3, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return torch.cat([self.one(x), self.wide(self.three(x)), self.five(x), self.pool(x)], 1)


@pytest.fixture(scope="module")
def inception() -> Trace:
    torch.manual_seed(0)
    return capture(nn.Sequential(Inception(), nn.ReLU()), torch.rand(1, 1, 12, 12))


def items(scene: Scene):
    return {p.name.removeprefix("0."): p for p in scene.placements}


@pytest.mark.parametrize("opened", ["0", "*"])
def test_branches_stand_side_by_side(inception, opened):
    at = items(Scene(inception, opened))
    lanes = [["one"], ["three", "wide"], ["five"], ["pool"]]
    middle = [at[lane[0]].centre[1] for lane in lanes]
    assert (np.diff(middle) < 0).all(), "one below the other, in the order in which they run"
    assert len({at[name].lanes for name in ("three", "wide")}) == 1
    assert len({at[lane[0]].lanes for lane in lanes}) == 4
    assert at["stem"].lanes == at["cat"].lanes == ()
    for upper, lower in itertools.pairwise(lanes):
        assert min(at[n].bounds[0, 1] for n in upper) > max(at[n].bounds[1, 1] for n in lower)
    inside = [at[name] for lane in lanes for name in lane]
    assert max(p.bounds[1, 2] for p in inside) < at["stem"].bounds[0, 2]
    assert min(p.bounds[0, 2] for p in inside) > at["cat"].bounds[1, 2]
    assert at["three"].centre[2] > at["wide"].centre[2]


def test_of_two_branches_the_longer_one_goes_straight_on(resnet18):
    scene = Scene(resnet18, expanded=frozenset(Scene(resnet18).modules.names))
    at = {p.name: p for p in scene.placements}
    trunk = {at[f"layer3.0.{name}"].centre[1] for name in ("conv1", "bn1", "relu", "conv2", "bn2", "add")}
    assert trunk == {at["layer2.1.relu#2"].centre[1]}
    assert at["layer3.0.downsample.0"].centre[1] < min(trunk)


def through(scene: Scene) -> list[tuple[str, str, str]]:
    """Lines, by the layers that they join, that go through the middle of another layer."""
    found = []
    low, high = np.stack([p.bounds for p in scene.placements], axis=1)
    shrink = (high - low) * 0.02
    low, high = low + shrink, high - shrink
    points, layer = scene.links.points, scene.links.layer
    ends: dict[int, set[int]] = {}
    starts = np.concatenate([[0], np.flatnonzero(np.diff(scene.links.segments[:, 0]) > 1) + 1])
    for k, segments in enumerate(np.split(scene.links.segments, starts[1:])):
        ends[k] = {int(layer[i]) for i in segments.reshape(-1)}
        for a, b in segments:
            for t in np.linspace(0, 1, 60):
                p = points[a] + (points[b] - points[a]) * t
                hit = ((p > low) & (p < high)).all(axis=1)
                hit[list(ends[k])] = False
                found += [(*(scene.placements[e].name for e in sorted(ends[k])), scene.placements[j].name)
                          for j in np.flatnonzero(hit)]  # fmt: skip
    return sorted(set(found))


class Net(nn.Module):
    """A small U-Net: five levels, whose skips are rejoined on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(c, 4, 3, padding=1) for c in (1, 4, 4, 4, 4))
        self.up = nn.ModuleList(nn.ConvTranspose2d(4, 4, 2, 2) for _ in range(5))
        self.join = nn.ModuleList(nn.Conv2d(8, 4, 3, padding=1) for _ in range(5))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for conv in self.down:
            kept.append(torch.relu(conv(x)))
            x = self.pool(kept[-1])
        for up, join in zip(self.up, self.join, strict=True):
            x = torch.relu(join(torch.cat([up(x), kept.pop()], 1)))
        return x


def networks() -> dict[str, Trace]:
    torch.manual_seed(0)
    return {
        "inception": capture(nn.Sequential(Inception(), nn.ReLU()), torch.rand(1, 1, 12, 12)),
        "u-net": capture(Net(), torch.rand(1, 1, 32, 32)),
    }


@pytest.mark.parametrize("name", ["inception", "u-net"])
def test_no_line_goes_through_a_layer(name):
    scene = Scene(networks()[name], "*")
    assert through(scene) == []


def test_no_line_of_resnet_goes_through_a_layer(resnet18):
    assert through(Scene(resnet18, expanded=frozenset(Scene(resnet18).modules.names))) == []


def test_lines_between_rows_run_between_the_rows():
    scene = Scene(networks()["u-net"], "*")
    rows = {p.row for p in scene.placements}
    assert rows == {0, 1}
    floor = min(p.bounds[0, 1] for p in scene.placements if p.row == 0)
    roof = max(p.bounds[1, 1] for p in scene.placements if p.row == 1)
    assert floor > roof
    index = {p.name: i for i, p in enumerate(scene.placements)}
    parent, child = "relu", scene.layers[index["up.4"] + 1].name
    here = np.isin(scene.links.layer, [index[parent], index[child]])
    between = scene.links.points[here]
    assert ((between[:, 1] < floor) & (between[:, 1] > roof)).sum() >= 2


def test_a_row_ends_where_few_lines_cross(resnet18):
    """Between two blocks, not within one."""
    scene = Scene(resnet18, expanded=frozenset(Scene(resnet18).modules.names))
    placed = scene.placements
    index = {p.name: p.row for p in placed}
    crossing = [
        sum(index[a] < row <= index[b] for a, b in (*resnet18.graph.edges, *resnet18.graph.input_edges))
        for row in range(1, max(index.values()) + 1)
    ]
    assert crossing
    assert max(crossing) == 1


def test_names_leave_out_the_module_that_their_bracket_says():
    assert local_name("layer1.0.conv1", "layer1.0") == "conv1"
    assert local_name("layer1.0.relu#2", "layer1.0") == "relu#2"
    assert local_name("layer1.0.downsample.1", "layer1.0.downsample") == "downsample.1"
    assert local_name("layer1.0", "layer1") == "layer1.0"
    assert local_name("features.3", "") == "features.3"
    assert local_name("3", "") == "3"


def test_labels_say_the_rest_of_the_name(inception):
    texts = [label.text for label in Scene(inception, "0").labels if label.bold]
    assert texts == ["input", "stem", "one", "three", "wide", "five", "pool", "cat", "1"]
