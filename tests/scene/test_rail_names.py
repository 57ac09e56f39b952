"""The names of brackets: relative, no larger than needed, none over a bracket or another name in the first view."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Trace, capture
from tensorview.scene import Scene

WIDTH, HEIGHT = 1280, 720


class Deep(nn.Module):
    """Small maps in modules with long names, four levels deep, and one layer that is very wide."""

    def __init__(self) -> None:
        super().__init__()

        def stack(parts: int) -> nn.Sequential:
            layer = [nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24)) for _ in range(parts)]
            return nn.Sequential(nn.Sequential(*layer), nn.LayerNorm(24))

        self.embedding = nn.Linear(12, 24)
        self.transformer = nn.ModuleDict({"first_encoder_stack": stack(2), "second_decoder_stack": stack(3)})
        self.generator = nn.Linear(24, 700)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in (self.embedding, *self.transformer.values()):
            x = part(x)
        return self.generator(x)


@pytest.fixture(scope="module")
def deep() -> Trace:
    torch.manual_seed(0)
    return capture(Deep().eval(), torch.rand(1, 9, 12))


def everything(trace: Trace) -> Scene:
    return Scene(trace, expanded=frozenset(Scene(trace).modules.names))


def in_picture(scene: Scene, points: np.ndarray) -> np.ndarray:
    seen = scene.camera.project(points.reshape(-1, 3), WIDTH / HEIGHT)
    return ((seen * [1, -1] + 1) / 2 * [WIDTH, HEIGHT]).reshape(*points.shape[:-1], 2)


def names_of_brackets(scene: Scene) -> dict[str, np.ndarray]:
    """The texts at brackets, numbered, with their corners `(4, 2)` in the picture."""
    quads = in_picture(scene, scene.names.points[scene.names.quads[::2]])
    every = sorted([*scene.labels, *scene.bracket_labels], key=lambda label: label.layer)
    return {
        f"{i} {label.text}": q
        for i, (label, q) in enumerate(zip(every, quads, strict=True))
        if label in scene.bracket_labels
    }


def lines_of_brackets(scene: Scene) -> dict[str, np.ndarray]:
    """Points along every bracket, `(N, 2)` in the picture."""
    share = np.linspace(0, 1, 400)[:, None]
    return {
        f"{i} {rail.name}": in_picture(scene, np.array(rail.start) * (1 - share) + np.array(rail.end) * share)
        for i, rail in enumerate(scene.rails)
    }


def inside(points: np.ndarray, quad: np.ndarray) -> np.ndarray:
    edges = np.roll(quad, -1, axis=0) - quad
    towards = points[:, None] - quad
    side = edges[:, 0] * towards[..., 1] - edges[:, 1] * towards[..., 0]
    return (side > 0).all(axis=1) | (side < 0).all(axis=1)


def grid(quad: np.ndarray) -> np.ndarray:
    """Points all over a text."""
    a, b = (x.reshape(-1, 1) for x in np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 8)))
    return quad[0] + a * (quad[1] - quad[0]) + b * (quad[3] - quad[0])


@pytest.mark.parametrize("network", ["deep", "resnet18", "googlenet"])
def test_no_name_of_a_bracket_lies_on_a_bracket_or_another_name(network, request):
    scene = (
        everything(request.getfixturevalue(network)) if network == "deep" else Scene(request.getfixturevalue(network))
    )
    names, lines = names_of_brackets(scene), lines_of_brackets(scene)
    assert [(n, m) for (n, q), (m, r) in itertools.combinations(names.items(), 2) if inside(grid(q), r).any()] == []
    assert [(n, m) for n, quad in names.items() for m, line in lines.items() if inside(line, quad).any()] == []


def test_names_of_brackets_are_not_much_larger_than_those_of_layers(deep):
    scene = everything(deep)
    tallest = max(label.height for label in scene.labels if label.bold)
    assert {label.text for label in scene.bracket_labels}
    assert max(label.height for label in scene.bracket_labels) <= 1.6 * tallest


def test_names_of_brackets_leave_out_what_the_bracket_around_them_says(deep):
    texts = {label.text for label in everything(deep).bracket_labels}
    assert {"transformer", "first_encoder_stack", "second_decoder_stack"} <= texts
    assert "first_encoder_stack.0" in texts
    assert {"0.0", "0.1", "0.2"} <= texts


class Pair(nn.Module):
    """Two stacks of layers side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(4)))
        self.right = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(4)))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(y)


def test_names_of_brackets_in_lanes_are_as_legible_as_those_of_layers():
    torch.manual_seed(0)
    scene = everything(capture(Pair().eval(), (torch.rand(1, 1, 24, 24), torch.rand(1, 1, 24, 24))))
    assert all(scene.placements[rail.first].lanes for rail in scene.rails)
    assert {label.text for label in scene.bracket_labels} == {"left", "right"}
    tallest = max(label.height for label in scene.labels if label.bold)
    assert min(label.height for label in scene.bracket_labels) >= 0.6 * tallest


class Stages(nn.Module):
    """Stages with names of some length in one module, whose bracket runs below theirs."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 96, 4, 4), nn.BatchNorm2d(96))]
        for width in (96, 192, 384):
            parts.append(nn.Sequential(*(nn.Conv2d(width, width, 1, groups=width) for _ in range(3))))
            parts.append(nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, 2 * width, 2, 2, groups=width)))
        self.features = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


def test_there_is_room_for_the_names_of_all_stages_in_one_size():
    torch.manual_seed(0)
    scene = everything(capture(Stages().eval(), torch.rand(1, 3, 224, 224)))
    heights = {label.text: label.height for label in scene.bracket_labels}
    assert set(heights) == {"features", *(f"features.{i}" for i in range(7))}
    assert max(heights.values()) == pytest.approx(min(heights.values()))
