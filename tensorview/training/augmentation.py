"""Training images varied a little each time, so that few of them say more."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be moved; all 0 leaves it.

    Attributes:
        rotation: degrees, to both sides.
        scale: share by which it grows or shrinks, independently in height and width.
        shift: pixels, in every direction.
        flip: whether half of the images are mirrored.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) float32 of the same; what comes in from outside is 0.

        Args:
            generator: of the CPU, from which the variations are drawn.
        """
        if self == Augmentation():
            return images
        count, _, height, width = images.shape
        if not (self.rotation or self.scale or self.shift):
            mirrored = torch.rand(count, generator=generator).to(images.device) < 0.5
            return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        drawn = torch.rand((6, count), generator=generator) * 2 - 1
        angle = drawn[0] * math.radians(self.rotation)
        wide, high = 1 + drawn[1] * self.scale, 1 + drawn[2] * self.scale
        right, down = drawn[3] * (self.shift * 2 / width), drawn[4] * (self.shift * 2 / height)
        if self.flip:
            wide = torch.where(drawn[5] < 0, -wide, wide)
        cos, sin = angle.cos(), angle.sin()
        # Rows of the matrix that takes a place of the result to one of the source, from -1 to 1 across the image.
        across = torch.stack([cos * wide, -sin * high * height / width, right], 1)
        upright = torch.stack([sin * wide * width / height, cos * high, down], 1)
        rows = torch.stack([across, upright], 1).view(2 * count, 3)
        # One product for all of them, which `affine_grid` does image by image.
        grid = (rows @ _places(height, width)).view(count, 2, height, width).permute(0, 2, 3, 1)
        return F.grid_sample(images, grid.to(images.device), padding_mode="zeros", align_corners=False)


@functools.cache
def _places(height: int, width: int) -> Tensor:
    """(3, H * W): x and y of the middle of every pixel, from -1 to 1 across the image, and 1."""
    x, y = ((2 * torch.arange(size) + 1) / size - 1 for size in (width, height))
    return torch.stack([x.repeat(height), y.repeat_interleave(width), torch.ones(height * width)])
