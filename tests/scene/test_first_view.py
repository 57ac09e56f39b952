"""What the first view shows: a level that is a picture of its own, else about twenty boxes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tensorview.capture import capture
from tensorview.scene import Scene


class Stage(nn.Sequential):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU())


class UNet(nn.Module):
    """Eight stages on the top level; those on the way up take what their sisters on the way down gave."""

    def __init__(self, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        for k in range(4):
            setattr(self, f"down{k}", Stage(1 if k == 0 else 4, 4))
            setattr(self, f"up{k}", Joining(skips))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for k in range(4):
            x = getattr(self, f"down{k}")(x)
            kept.append(x)
        for k in range(4):
            x = getattr(self, f"up{k}")(x, kept[3 - k])
        return x


class Joining(nn.Module):
    def __init__(self, joins: bool) -> None:
        super().__init__()
        self.joins, self.conv = joins, Stage(4, 4)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv(x + skip if self.joins else x)


def first_view_of(model: nn.Module) -> list[str]:
    torch.manual_seed(0)
    return [p.name for p in Scene(capture(model.eval(), torch.rand(1, 1, 8, 8))).placements]


def test_a_top_level_with_skips_of_its_own_stays_closed_in_the_first_view():
    stages = [*(f"down{k}" for k in range(4)), *(f"up{k}" for k in range(4))]
    assert first_view_of(UNet(skips=True)) == ["input", *stages]
    chain = first_view_of(UNet(skips=False))
    assert "down0.0" in chain, "a chain is opened"
    assert len(chain) <= 25


def test_a_picture_inside_a_module_stays_closed_as_well():
    stages = [*(f"0.down{k}" for k in range(4)), *(f"0.up{k}" for k in range(4))]
    assert first_view_of(nn.Sequential(UNet(skips=True))) == ["input", *stages]


@pytest.mark.parametrize("parts", [2, 3, 5, 9, 13])
def test_closed_modules_keep_the_first_view_at_about_twenty_boxes(parts):
    blocks = [nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(parts))) for _ in range(7)]
    shown = first_view_of(nn.Sequential(*blocks))
    assert 8 <= len(shown) <= 26
