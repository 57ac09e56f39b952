"""Training images varied a little each time, so that few of them say more."""

from __future__ import annotations

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

        def drawn(most: float) -> Tensor:
            return (torch.rand(count, generator=generator) * 2 - 1) * most

        angle = drawn(math.radians(self.rotation))
        wide, high = 1 + drawn(self.scale), 1 + drawn(self.scale)
        if self.flip:
            wide = wide * (torch.randint(0, 2, (count,), generator=generator) * 2 - 1)
        cos, sin = angle.cos(), angle.sin()
        # Rows of the matrix that takes a place of the result to one of the source, from -1 to 1 across the image.
        across = torch.stack([cos * wide, -sin * high * height / width, drawn(self.shift * 2 / width)], 1)
        down = torch.stack([sin * wide * width / height, cos * high, drawn(self.shift * 2 / height)], 1)
        grid = F.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid.to(images.device), padding_mode="zeros", align_corners=False)
