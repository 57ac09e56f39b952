"""Where every layer stands: along one axis in execution order, the input nearest to the person.

The axis is -z. Columns of a map run along +x, rows along -y, so a map is seen as an image from +z. The unit is the edge
of one cell of a feature map, so a pooled map is half as large in space as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from .arrange import Arrangement, Maps, as_maps, grid_for
from .atlas import MAX_EDGE, pack
from .camera import PITCH, YAW

if TYPE_CHECKING:
    from ..capture import Layer

Look = Literal["slab", "box", "slabs", "sheet", "strip", "cells", "cubes"]

MOST_CUBES = 20
TOP_CUBES = 5
MOST_SLABS = 64
MOST_CELLS = 256
GAP_TEXELS = 1
SLAB_DEPTH = 0.02
CELL_OPEN = 2.2
SPACING = 0.62
ROW_GAP = 0.55
MOST_ROWS = 12
FEWEST_IN_ROW = 12


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


def arrange_layers(
    layers: Sequence[Layer],
    opened: Collection[str],
    classes: Collection[str],
    arrangement: Arrangement,
    budget: int,
) -> list[Placement]:
    """A placement for every layer, in order, none overlapping another.

    Args:
        opened: names of the layers that show every map.
        classes: names of the vectors that are shown as classes.
        budget: most texels that all the layers may take together; larger layers are averaged for display.
    """
    every = [as_maps(layer.shape, layer.kind) for layer in layers]
    edge = max((max(m.height, m.width) for m in every if m.style != "vector"), default=12)
    shown = [
        _shown(i, layer, maps, layer.name in opened, layer.name in classes, arrangement, edge)
        for i, (layer, maps) in enumerate(zip(layers, every, strict=True))
    ]
    return _along_axis(_within_budget(shown, budget), edge)


def _shown(
    index: int, layer: Layer, maps: Maps, is_open: bool, is_classes: bool, arrangement: Arrangement, edge: int
) -> Placement:
    """The layer's look and size, before it has a place."""
    look: Look
    grid, cell, gap = (1, 1), 1.0, 0
    if maps.style == "vector":
        grid = (maps.height, maps.width)
        look, cell = "strip", max(1.0, edge / 60)
        if maps.size == 0:
            pass
        elif is_classes and (maps.size <= MOST_CUBES or not is_open):
            look, grid, cell = (
                "cubes",
                (min(maps.size, MOST_CUBES if maps.size <= MOST_CUBES else TOP_CUBES), 1),
                0.0,
            )
            cell = max(2.0, edge * 1.3 / grid[0] * 0.8) if grid[0] > 4 else edge / 5
        elif is_open and maps.size <= MOST_CELLS:
            look, cell = "cells", cell * CELL_OPEN
    elif maps.count == 1:
        look = "slab"
    elif is_open:
        gap = GAP_TEXELS if maps.style == "rows" else max(GAP_TEXELS, round(max(maps.height, maps.width) * 0.07))
        grid = grid_for(maps, maps.height + gap, maps.width + gap, arrangement)
        look = "slabs" if maps.count <= MOST_SLABS else "sheet"
    else:
        look = "box"
    bare = Placement(index, layer.name, layer.kind, maps, look, grid, 1, cell, gap, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    return replace(bare, size=_size(bare, edge))


def _size(item: Placement, edge: int) -> tuple[float, float, float]:
    maps, cell = item.maps, item.cell
    if item.look == "cubes":
        return cell, cell * 1.25 * item.grid[0] - cell * 0.25, cell
    if item.look in ("cells", "strip"):
        thick = cell * (0.8 if item.look == "cells" else 0.6)
        return item.grid[1] * cell, item.grid[0] * cell, thick
    if item.look == "box":
        depth = 1.5 * math.sqrt(maps.count * max(1.0, edge / 28))
        return float(maps.width), float(max(maps.height, edge * 0.02)), depth
    height, width = item.texture
    return width * cell, max(height * cell, edge * 0.02), max(0.4, edge * SLAB_DEPTH)


def _within_budget(items: list[Placement], budget: int) -> list[Placement]:
    """Average the layers with the most texels, until the page that holds all of them is within the budget."""
    items = list(items)
    for i in range(len(items)):
        while max(items[i].texture) > MAX_EDGE // 2 and _can_shrink(items[i]):
            items[i] = _coarser(items[i])
    allowed = float(budget)
    while _shrink(items, allowed):
        _, height, width = pack(page_sizes(items))
        if height * width <= budget:
            break
        allowed *= min(0.95, budget / (height * width))
    return items


def page_sizes(items: Sequence[Placement]) -> list[tuple[int, int]]:
    """`(height, width)` of every layer's rectangle in the page with its border, and of the row of the kinds' hues."""
    return [*((h + 1, w + 1) for h, w in (p.texture for p in items)), (1, len({p.kind for p in items}))]


def _shrink(items: list[Placement], allowed: float) -> bool:
    """Average layers, in place, until they take `allowed` texels together; whether more could be averaged."""
    texels = np.array([math.prod(p.texture) for p in items], dtype=np.int64)
    large = np.array([_can_shrink(p) for p in items])
    while texels.sum() > allowed and large.any():
        i = int(np.where(large, texels, -1).argmax())
        items[i] = _coarser(items[i])
        texels[i], large[i] = math.prod(items[i].texture), _can_shrink(items[i])
    return bool(large.any())


def _can_shrink(item: Placement) -> bool:
    return item.look not in ("cells", "cubes") and max(item.drawn) > 1


def _coarser(item: Placement) -> Placement:
    return replace(item, factor=item.factor + 1, gap=max(1, item.gap // 2) if item.gap else 0)


def _along_axis(items: list[Placement], edge: int) -> list[Placement]:
    """Give every layer its place on the axis; wider neighbours stand further apart, so that neither hides the other.

    A long network is broken into rows, one below the other as lines of text are, all of them beginning in one plane.
    """
    least = 0.34 * math.sqrt(edge * min(edge, 28))
    steps = [0.0]
    for previous, item in itertools.pairwise(items):
        gap = max(least, SPACING * (previous.size[0] + item.size[0]) / 2)
        steps.append((previous.size[2] + item.size[2]) / 2 + gap)
    placed: list[Placement] = []
    top = 0.0
    for row in _rows(items, steps, edge):
        height = max(item.size[1] for item in row)
        z = 0.0
        for k, item in enumerate(row):
            z -= steps[len(placed)] if k else 0.0
            placed.append(replace(item, centre=(0.0, top - height / 2, z)))
        top -= height + ROW_GAP * edge
    middle = (max(p.bounds[1, 1] for p in placed) + min(p.bounds[0, 1] for p in placed)) / 2
    return [replace(p, centre=(0.0, p.centre[1] - middle, p.centre[2])) for p in placed]


def _rows(items: list[Placement], steps: list[float], edge: int) -> list[list[Placement]]:
    """The layers in as many rows of about the same length as show them largest in a 16 : 9 frame."""
    total = sum(steps)
    yaw, pitch = math.radians(YAW), math.radians(PITCH)
    rising = math.cos(yaw) * math.sin(pitch)
    best, least = [items], math.inf
    for count in range(1, min(MOST_ROWS, max(1, len(items) // FEWEST_IN_ROW)) + 1):
        rows: list[list[Placement]] = [[] for _ in range(count)]
        at = 0.0
        for item, step in zip(items, steps, strict=True):
            at += step
            rows[min(count - 1, int(at / total * count)) if total else 0].append(item)
        rows = [row for row in rows if row]
        width = total / len(rows) * math.sin(yaw) + edge * math.cos(yaw)
        height = sum(max(p.size[1] for p in row) + ROW_GAP * edge for row in rows) + total / len(rows) * rising
        need = max(width / 16, height / 9)
        if need < least * 0.97:
            best, least = rows, need
    return best
