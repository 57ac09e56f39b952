"""The receptive field of a cell, against the support of its gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tensorview.capture import Trace, capture
from tensorview.scene import Camera, Scene
from tensorview.scene.fields import Fields, Region


def positive(model: nn.Module) -> nn.Module:
    """With weights and biases of which no sum can be nothing."""
    for parameter in model.parameters():
        parameter.data = torch.rand_like(parameter) + 0.5
    return model.eval()


def support(model: nn.Module, x: torch.Tensor, index: tuple[int, ...]) -> np.ndarray:
    """Where a change of the input changes an output, seen from several inputs, so that maxima fall everywhere."""
    seen = np.zeros(x.shape[1:], dtype=bool)
    for _ in range(60):
        varied = torch.rand_like(x).add(0.1).requires_grad_()
        model(varied)[(0, *index)].backward()
        seen |= varied.grad[0].abs().numpy() > 0
    return seen


def mask(region: Region) -> np.ndarray:
    seen = np.zeros(region.shape, dtype=bool)
    seen[np.ix_(*map(np.asarray, region.places))] = True
    return seen


def field(trace: Trace, index: tuple[int, ...]) -> dict[str, Region]:
    every = Fields((*trace.inputs, *trace.layers))
    return every.of(trace.outputs[0], tuple(range(i, i + 1) for i in index))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.b(torch.relu(self.a(x)))


class Down(nn.Module):
    """As ResNet's: a branch of 3 x 3 and one of 1 x 1, both in steps of two."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, 2, padding=1), nn.Conv2d(2, 2, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.a(x) + self.b(x))


class Joined(nn.Module):
    """What the two halves of the maps see differs; a cell of the end sees one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 3, 5, padding=2)
        self.end = nn.Conv2d(5, 5, 3, groups=5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(torch.cat([self.a(x), self.b(x)], 1))


class Padded(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode, self.end = mode, nn.Conv2d(2, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(F.pad(x, (1, 2, 3, 0), self.mode))


Maker = Callable[[], nn.Module]
NETWORKS: dict[str, Maker] = {
    "convolution": lambda: nn.Conv2d(2, 3, 3),
    "padding": lambda: nn.Conv2d(2, 3, 5, padding=2),
    "same": lambda: nn.Conv2d(2, 3, (3, 5), padding="same"),
    "stride": lambda: nn.Conv2d(2, 3, 3, 2, padding=1),
    "holes": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1, 3)),
    "wide steps": lambda: nn.Sequential(nn.Conv2d(2, 2, 2, 3), nn.Conv2d(2, 2, 2)),
    "dilation": lambda: nn.Conv2d(2, 3, 3, dilation=3, padding=2),
    "dilations": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2), nn.Conv2d(2, 2, 3, stride=2), nn.ReLU()),
    "groups": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=2)),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(2, 6, 3, groups=2), nn.Conv2d(6, 6, 3, groups=6)),
    "maximum": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2)),
    "overlapping": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)),
    "adaptive": lambda: nn.AdaptiveAvgPool2d((5, 3)),
    "batch norm": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout()),
    "layer norm": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.LayerNorm([11, 9]), nn.Softplus()),
    "residual": Residual,
    "down": Down,
    "two blocks": lambda: nn.Sequential(Residual(), Down(), Residual()),
    "concatenation": Joined,
    "reflect": lambda: Padded("reflect"),
    "replicate": lambda: Padded("replicate"),
    "circular": lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
    "constant": lambda: Padded("constant"),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(2, 2, 2, 2), nn.Conv2d(2, 1, 3, padding=1)),
    "nearest": lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2, 1, 3, padding=1)),
    "flatten": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, 2), nn.Flatten()),
    "classifier": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)),
    "volume": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2)), nn.Conv3d(1, 2, (1, 3, 3), (1, 2, 1)), nn.AvgPool3d((2, 1, 1))
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_part_of_the_input_is_where_the_gradient_is(name):
    torch.manual_seed(1)
    model = positive(NETWORKS[name]())
    x = torch.rand(1, 2, 13, 11)
    trace = capture(model, x)
    shape = trace[trace.outputs[0]].shape
    some = [(0,) * len(shape), tuple(n - 1 for n in shape), tuple(n // 2 for n in shape)]
    for index in some:
        region = field(trace, index).get("input")  # a cell over nothing but padding sees nothing
        seen = mask(region) if region else np.zeros(x.shape[1:], bool)
        np.testing.assert_array_equal(seen, support(model, x, index), err_msg=str(index))


def test_every_layer_on_the_way_has_its_part():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 3))
    trace = capture(model, torch.rand(1, 1, 20, 20))
    regions = field(trace, (1, 2, 3))
    assert {name: region.spans for name, region in regions.items()} == {
        "2": ((0, 2), (2, 5), (3, 6)),
        "1": ((0, 2), (4, 10), (6, 12)),
        "0": ((0, 2), (4, 10), (6, 12)),
        "input": ((0, 1), (4, 12), (6, 14)),
    }
    assert not regions["input"].is_all
    assert (
        field(capture(nn.AdaptiveAvgPool2d(1), torch.rand(1, 2, 4, 4)), (0, 0, 0))["input"].spans[1:] == ((0, 4),) * 2
    )


def test_what_a_map_of_its_own_never_reaches_is_not_in_it():
    trace = capture(positive(Joined()), torch.rand(1, 2, 13, 11))
    regions = field(trace, (0, 4, 4))
    assert "a" in regions
    assert "b" not in regions
    assert regions["cat"].spans == ((0, 1), (4, 7), (4, 7))


def test_tokens_see_all_tokens_where_they_attend():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    trace = capture(model, torch.rand(1, 5, 8))
    assert field(trace, (2, 3))[trace.inputs[0].name].is_all


def facing(scene: Scene, name: str) -> Camera:
    item = next(p for p in scene.placements if p.name == name)
    front = np.add(item.centre, (0, 0, item.size[2] / 2))
    return Camera(tuple(np.add(front, (0.0, 0.0, 0.1))), tuple(front))


def test_a_scene_says_what_the_picked_cell_sees(lenet):
    scene = Scene(lenet, "conv2")
    for name, size in (("conv2", 14), ("pool2", 16)):
        hit = scene.pick(facing(scene, name).ray(50, 50, 100, 100)) if name != "conv2" else None
        if hit is None:
            item = next(p for p in scene.placements if p.name == "conv2")
            slab = scene.slabs[scene.slabs["layer"] == item.layer][5]
            front = np.add(slab["centre"].astype(float), (0, 0, 1))
            hit = scene.pick(Camera(tuple(front), tuple(front - (0, 0, 1))).ray(50, 50, 100, 100))
        assert hit.layer == name
        last = scene.receptive_field(hit)[-1]
        assert last.layer == "input"
        assert last.spans[1][1] - last.spans[1][0] == size
    marks = scene.field_marks(hit)
    assert marks.shape[1:] == (4, 3)
    item = scene.placements[0]
    outline = marks[np.isclose(marks[:, 0, 2], marks[:, :, 2].max())][-1]
    np.testing.assert_allclose(np.ptp(outline[:, :2], axis=0), [16, 16], rtol=1e-6)
    assert (outline[:, :2] >= item.bounds[0, :2] - 1e-6).all()
    assert (outline[:, :2] <= item.bounds[1, :2] + 1e-6).all()


def test_a_closed_module_sees_what_its_output_sees(resnet18):
    scene = Scene(resnet18)
    item = next(i for i, p in enumerate(scene.placements) if p.name == "layer1.1")
    from tensorview.scene.picking import Hit

    hit = Hit("layer1.1", item, None, 8, 8, None, 1.0)
    found = {region.layer: region.spans for region in scene.receptive_field(hit)}
    assert found["layer1.0"] == ((0, 64), (6, 11), (6, 11))
    assert found["maxpool"] == ((0, 64), (4, 13), (4, 13))
    assert found["input"] == ((0, 3), (11, 54), (11, 54))
    assert np.isfinite(scene.field_marks(hit)).all()


def test_the_field_is_kept_across_inputs(lenet):
    scene = Scene(lenet)
    hit = scene.pick(facing(scene, "pool2").ray(50, 50, 100, 100))
    before = scene.receptive_field(hit)
    scene.update(lenet)
    assert scene.receptive_field(hit) == before
