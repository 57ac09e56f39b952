"""A module that is called several times: each call is a box of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tensorview.capture import capture
from tensorview.scene import Scene


def names(scene: Scene) -> list[str]:
    return [p.name for p in scene.placements]


class Siamese(nn.Module):
    """One encoder for two inputs, or for an input and what it made of it."""

    def __init__(self, chained: bool = False) -> None:
        super().__init__()
        self.chained = chained
        self.encoder = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()), nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
        )

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        first = self.encoder(left)
        return first - self.encoder(first if self.chained else right)


def siamese(chained: bool = False, **choices: object) -> Scene:
    torch.manual_seed(0)
    x, y = torch.rand(2, 1, 1, 6, 6)
    return Scene(capture(Siamese(chained).eval(), (x, y)), **choices)


def test_every_call_of_a_module_is_a_box_of_its_own():
    scene = siamese(expanded=frozenset())
    parents = {layer.name: layer.parents for layer in scene.layers}
    assert parents == {
        "left": (),
        "right": (),
        "encoder": ("left",),
        "encoder#2": ("right",),
        "sub": ("encoder", "encoder#2"),
    }
    last = {layer.name: layer for layer in scene.all_layers}
    np.testing.assert_array_equal(scene.layers[2].values, last["encoder.1.1"].values)
    np.testing.assert_array_equal(scene.layers[3].values, last["encoder.1.1#2"].values)


def test_the_second_call_opens_by_itself_down_to_its_layers():
    assert names(siamese(expanded={"encoder#2"})) == ["left", "right", "encoder", "encoder.0#2", "encoder.1#2", "sub"]
    opened = siamese(open="encoder.1.0#2", expanded=frozenset())
    assert opened.look.expanded == {"encoder#2", "encoder.1#2"}


def test_calls_that_feed_each_other_stay_one_box():
    assert "encoder#2" not in siamese(chained=True).modules.names
