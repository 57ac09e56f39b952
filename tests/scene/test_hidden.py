"""Inputs that are not drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Trace, capture
from tensorview.errors import SceneError
from tensorview.scene import Hit, Look, Scene
from tensorview.scene.picking import Window, outline


class Joined(nn.Module):
    """An image of two maps and a mask of one, joined in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([image, mask], 1))


def joined(seed: int = 0) -> Trace:
    torch.manual_seed(0)
    model = Joined().eval()
    torch.manual_seed(seed)
    return capture(model, (torch.rand(1, 2, 6, 6), torch.rand(1, 1, 6, 6)))


def names(scene: Scene) -> list[str]:
    return [item.name for item in scene.placements]


def hit_of(scene: Scene, name: str, channel: int, row: int, column: int) -> Hit:
    return Hit(name, names(scene).index(name), channel, row, column, (channel, row, column), 1.0)


@pytest.mark.parametrize("hidden", ["image", "mask"])
def test_a_hidden_input_is_not_drawn_and_the_rest_stays_in_order(hidden: str) -> None:
    trace = joined()
    whole, scene = Scene(trace), Scene(trace, hidden=[hidden])
    assert names(whole) == ["image", "mask", "cat", "conv"]
    assert names(scene) == [name for name in names(whole) if name != hidden]
    assert [item.layer for item in scene.placements] == [0, 1, 2]
    assert {label.text for label in scene.labels}.isdisjoint({hidden})
    assert [layer.parents for layer in scene.layers] == [x.parents for x in whole.layers if x.name != hidden]
    assert set(scene.links.layer) == {0, 1, 2}
    assert len(scene.links.points) < len(whole.links.points)
    for before, after in zip((i for i in whole.placements if i.name != hidden), scene.placements, strict=True):
        assert (after.maps, after.size) == (before.maps, before.size)


def test_what_is_fed_by_a_hidden_input_is_still_followed_to_the_others() -> None:
    scene = Scene(joined(), open="*", hidden={"image"})
    mask = next(item for item in scene.placements if item.name == "mask")
    found = scene.feeding(hit_of(scene, "cat", 2, 4, 1))
    np.testing.assert_allclose(found.marks, [outline(mask, Window(0, 4, 5, 1, 2))])
    of_the_image = scene.feeding(hit_of(scene, "cat", 1, 4, 1))
    assert [source.layer for source in of_the_image.sources] == ["image"]
    assert of_the_image.marks.shape == (0, 4, 3)
    assert of_the_image.lines.shape == (0, 2, 3)
    seen = scene.receptive_field(hit_of(scene, "conv", 0, 1, 2))
    assert [(region.layer, region.spans) for region in seen] == [
        ("cat", ((0, 3), (1, 4), (2, 5))),
        ("mask", ((0, 1), (1, 4), (2, 5))),
    ]
    assert len(scene.field_marks(hit_of(scene, "conv", 0, 1, 2))) == 4


def test_another_pass_colours_it_as_a_new_scene_would() -> None:
    scene, other = Scene(joined(), hidden=["image"]), joined(seed=5)
    scene.update(other)
    fresh = Scene(other, hidden=["image"])
    np.testing.assert_array_equal(scene.page("cells").pixels, fresh.page("cells").pixels)


def test_a_look_hides_as_the_choice_does() -> None:
    assert Look().changed(hidden="mask").hidden == {"mask"}
    assert names(Scene(joined(), look=Look(hidden=frozenset({"mask"})))) == ["image", "cat", "conv"]


@pytest.mark.parametrize(
    ("hidden", "says"),
    [
        (["image", "mask"], r"every input is hidden \(image, mask\); leave one"),
        (["conv"], "no input 'conv' to hide; the inputs are image, mask"),
    ],
)
def test_what_cannot_be_hidden_is_one_sentence(hidden: list[str], says: str) -> None:
    with pytest.raises(SceneError, match=says):
        Scene(joined(), hidden=hidden)
