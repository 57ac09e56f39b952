"""Where every layer stands: along one axis in execution order, the input nearest to the person.

The axis is -z. Columns of a map run along +x, rows along -y, so a map is seen as an image from +z. The unit is the edge
of one cell of a feature map, so a pooled map is half as large in space as well.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .arrange import PARAMETERS, Arrangement, Maps, Sort, as_kernels, as_maps, grid_for, order_of
from .atlas import MAX_EDGE, pack
from .axis import along_axis
from .placement import Look, Placement

if TYPE_CHECKING:
    from ..capture import Layer
    from .groups import Span

MOST_CUBES = 20
TOP_CUBES = 5
MOST_SLABS = 64
MOST_CELLS = 256
GAP_TEXELS = 1
KEEPING_PLACES = ("activation", "normalization", "dropout", "merge", "module")
SLAB_DEPTH = 0.02
CELL_OPEN = 2.2
# The longer side of a grid of kernels, over the longest edge of the scene; and how many cells the latter has at most
# because of them.
KERNELS_CLOSED, KERNELS_OPEN = 0.6, 1.0
LONGEST_KERNELS = 400
TALLEST_STRIP, TALL = 1.25, 100
# Sides of matrices and sequences are true to scale up to so many times the usual side; beyond, they grow by this share
# of their logarithm. Four, since a transformer's hidden layers are four times as wide as its tokens.
TRUE_TO_SCALE, BEYOND = 4, 0.25


def arrange_layers(
    layers: Sequence[Layer],
    opened: Collection[str],
    classes: Collection[str],
    arrangement: Arrangement,
    budget: int,
    spans: Sequence[Span] = (),
    true_colours: bool = True,
    sort: Sort = "index",
    most_maps: int = 0,
) -> tuple[list[Placement], float]:
    """A placement for every layer, in order, none overlapping another; and the unit of the brackets.

    Args:
        opened: names of the layers that show every map.
        classes: names of the vectors that are shown as classes.
        budget: most texels that all the layers may take together; larger layers are averaged for display.
        spans: the expanded modules, whose brackets need room.
        sort, most_maps: which maps of open layers are shown in which order, as in `order_of`.
        true_colours: whether inputs of three maps are pictures.
    """
    every = _every_maps(layers)
    edge, limit = longest_edge(every), _true_to_scale(every)
    shown = [
        _shown(i, layer, maps, layer.name in opened, layer.name in classes, arrangement, edge, limit, sort, most_maps)
        for i, (layer, maps) in enumerate(zip(layers, every, strict=True))
    ]
    if true_colours:
        shown = [replace(p, true_colours=_is_picture(p)) for p in shown]
    return along_axis(_within_budget(shown, budget), layers, spans, edge)


def longest_edge(every: Sequence[Maps]) -> float:
    """The longest edge of what is drawn of all layers' maps, but for vectors and opened grids."""
    limit = _true_to_scale(every)
    return max((_edge(maps, limit) for maps in every if maps.style != "vector"), default=12)


def _true_to_scale(every: Sequence[Maps]) -> float:
    """The longest side of a matrix or a sequence that is drawn true to scale, in cells.

    Logits of 16 tokens x 50,257 words, or 8,400 boxes, would else make everything beside them too small to see.
    """
    sides = [max(maps.height, maps.width) for maps in every if maps.style not in ("vector", "kernels")]
    pictures = [max(maps.height, maps.width) for maps in every if maps.style in ("maps", "volume")]
    return TRUE_TO_SCALE * max(statistics.median_low(sides or [1]), max(pictures, default=1))


def _drawn(maps: Maps, limit: float) -> tuple[float, float]:
    """Height and width in space of one map of a layer."""
    sides = float(maps.height), float(maps.width)
    if maps.style not in ("tokens", "rows"):
        return sides
    height, width = (limit * (1 + BEYOND * math.log(side / limit)) if side > limit else side for side in sides)
    return height, width


def _edge(maps: Maps, limit: float) -> float:
    if maps.style != "kernels":
        return max(_drawn(maps, limit))
    gap = _gap(maps)
    height, width = maps.height + gap, maps.width + gap
    rows, columns = grid_for(maps, height, width, "grid")
    return min(max(rows * height, columns * width), LONGEST_KERNELS)


def _gap(maps: Maps) -> int:
    """Texels between two maps of a grid."""
    return GAP_TEXELS if maps.style == "rows" else max(GAP_TEXELS, round(max(maps.height, maps.width) * 0.07))


def _every_maps(layers: Sequence[Layer]) -> list[Maps]:
    """The maps of every layer; what keeps the places of a sequence of channels shows them as its producer does."""
    found: dict[str, Maps] = {}
    for layer in layers:
        of_rows = any(parent in found and found[parent].style == "rows" for parent in layer.parents)
        kind = "convolution" if of_rows and layer.kind in KEEPING_PLACES else layer.kind
        found[layer.name] = as_kernels(layer.shape) if layer.module_type in PARAMETERS else as_maps(layer.shape, kind)
    return [found[layer.name] for layer in layers]


def _is_picture(item: Placement) -> bool:
    return item.kind == "input" and item.maps.style == "maps" and item.maps.count == 3


def _shown(
    index: int,
    layer: Layer,
    maps: Maps,
    is_open: bool,
    is_classes: bool,
    arrangement: Arrangement,
    edge: float,
    limit: float,
    sort: Sort,
    most_maps: int,
) -> Placement:
    """The layer's look and size, before it has a place."""
    look: Look
    grid, cell, gap = (1, 1), 1.0, 0
    order: tuple[int, ...] = ()
    if maps.style == "vector":
        grid = (maps.height, maps.width)
        look, cell = "strip", max(1.0, edge / 60)
        # A long vector would tower over all the rest.
        cell = min(cell, max(TALLEST_STRIP * edge, TALL) / maps.height)
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
    elif maps.style == "kernels":
        # The mean of kernels says nothing: all are shown, and opening enlarges them.
        look, gap = "sheet", _gap(maps)
        grid = grid_for(maps, maps.height + gap, maps.width + gap, arrangement)
        longest = max(grid[0] * (maps.height + gap), grid[1] * (maps.width + gap))
        cell = edge * (KERNELS_OPEN if is_open else KERNELS_CLOSED) / longest
    elif maps.count == 1:
        look = "slab"
    elif is_open:
        gap = _gap(maps)
        order = order_of(layer.values, maps, sort, most_maps)
        count = len(order) or maps.count
        grid = grid_for(replace(maps, count=count), maps.height + gap, maps.width + gap, arrangement)
        look = "slabs" if count <= MOST_SLABS else "sheet"
    else:
        look = "box"
    bare = Placement(
        index, layer.name, layer.kind, maps, look, grid, 1, cell, gap, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), order=order
    )
    return replace(bare, size=_size(bare, edge, limit))


def _size(item: Placement, edge: float, limit: float) -> tuple[float, float, float]:
    maps, cell = item.maps, item.cell
    if item.look == "cubes":
        return cell, cell * 1.25 * item.grid[0] - cell * 0.25, cell
    if item.look in ("cells", "strip"):
        thick = cell * (0.8 if item.look == "cells" else 0.6)
        return item.grid[1] * cell, item.grid[0] * cell, thick
    height, width = _drawn(maps, limit)
    if item.look == "box":
        depth = 1.5 * math.sqrt(maps.count * max(1.0, edge / 28))
        return width, max(height, edge * 0.02), depth
    rows, columns = item.texture
    tall, wide = rows * cell * (height / maps.height), columns * cell * (width / maps.width)
    return wide, max(tall, edge * 0.02), max(0.4, edge * SLAB_DEPTH)


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
