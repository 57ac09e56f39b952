"""Pages of texels: what the stage shows as textures, and what travels to a browser when values change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Patch:
    """A changed rectangle of a page.

    Attributes:
        page: its name.
        row, column: the first texel.
        pixels: `(height, width, 4)` uint8 RGBA of a colour page, `(height, width)` uint8 coverage of a text page.
    """

    page: str
    row: int
    column: int
    pixels: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes


class Page:
    """A texture in the making.

    Args:
        name: "cells", "names" or "shares".
        pixels: `(height, width, 4)` uint8 RGBA with straight alpha; of a text page `(height, width)` uint8 coverage.
        smooth: whether texels are blended when they are drawn larger or smaller, as text is; cells stay sharp.
    """

    def __init__(self, name: str, pixels: np.ndarray, smooth: bool) -> None:
        self.name = name
        self.pixels = pixels
        self.smooth = smooth

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in texels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def whole(self) -> Patch:
        return Patch(self.name, 0, 0, self.pixels)

    def rgba(self, colour: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
        """`(height, width, 4)` uint8; a text page has `colour` everywhere and its coverage as alpha."""
        if self.pixels.ndim == 3:
            return self.pixels
        full = np.empty((*self.pixels.shape, 4), dtype=np.uint8)
        full[..., :3] = colour
        full[..., 3] = self.pixels
        return full

    def __repr__(self) -> str:
        return f"Page({self.name!r}, {self.shape[0]} x {self.shape[1]})"
