"""One layer as it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .arrange import Maps

Look = Literal["slab", "box", "slabs", "sheet", "strip", "cells", "cubes"]


@dataclass(frozen=True)
class Placement:
    """One layer as it is drawn.

    Attributes:
        layer: index into the scene's layers (inputs first).
        look: "slab" is one map; "box" a closed stack of maps; "slabs" a box a map; "sheet" all maps in one texture;
            "strip" a wrapped vector; "cells" a vector with a box a unit; "cubes" classes with their probabilities.
        grid: rows and columns of maps, or of cells in a vector.
        factor: cells are averaged `factor` x `factor` for display; 1 shows every one.
        cell: edge of one displayed cell, in the scene's unit.
        gap: texels between two maps of a sheet.
        centre: `(3,)`; size: `(3,)`, width, height and depth.
        row: of the rows that a long network is broken into.
        true_colours: whether its three maps are the red, green and blue of a picture.
        order: the maps that are shown, in the order in which they stand; empty for all as they are.
        lanes: which lane it stands in where layers stand side by side, and those around that; empty on the trunk.
    """

    layer: int
    name: str
    kind: str
    maps: Maps
    look: Look
    grid: tuple[int, int]
    factor: int
    cell: float
    gap: int
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    row: int = 0
    lanes: tuple[int, ...] = ()
    true_colours: bool = False
    order: tuple[int, ...] = ()

    @property
    def shown_maps(self) -> int:
        """How many maps are shown."""
        return len(self.order) or self.maps.count

    def channel_at(self, place: int) -> int:
        """The map that stands at a place of the grid."""
        return self.order[place] if self.order else place

    def place_of(self, channel: int) -> int | None:
        """The place of a map in the grid, `None` where it is not shown."""
        if not self.order:
            return channel
        return self.order.index(channel) if channel in self.order else None

    @property
    def drawn(self) -> tuple[int, int]:
        """Height and width in texels of one displayed map."""
        return math.ceil(self.maps.height / self.factor), math.ceil(self.maps.width / self.factor)

    @property
    def shown_units(self) -> int:
        """How many cells a wrapped vector shows: all of them, or averages where `factor` is more than 1."""
        if self.factor == 1:
            return self.maps.size
        rows, columns = self.drawn
        last = self.maps.size - (rows - 1) * self.factor * self.maps.width
        return (rows - 1) * columns + min(columns, math.ceil(last / self.factor))

    @property
    def texture(self) -> tuple[int, int]:
        """Height and width in texels of this layer's rectangle in the page."""
        h, w = self.drawn
        if self.look in ("slabs", "sheet"):
            rows, columns = self.grid
            return rows * (h + self.gap) - self.gap, columns * (w + self.gap) - self.gap
        if self.look in ("cells", "cubes"):
            return 2, self.grid[0] * self.grid[1]
        return h, w

    @property
    def bounds(self) -> np.ndarray:
        """`(2, 3)` float64: the lowest and the highest corner."""
        half = np.asarray(self.size) / 2
        return np.stack([np.asarray(self.centre) - half, np.asarray(self.centre) + half])
