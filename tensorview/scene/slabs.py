"""The boxes of the scene: where each stands and which texels it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .mesh import SLAB
from .placement import Placement


def slabs_of(
    items: Sequence[Placement],
    places: Sequence[tuple[int, int]],
    sides: Sequence[tuple[int, int]],
    page: tuple[int, ...],
) -> np.ndarray:
    """The boxes of all layers, a structured array of `mesh.SLAB`, in order.

    Args:
        places: `(row, column)` of every layer's rectangle in the page, in texels.
        sides: `(row, column)` of the texel that the other faces of its boxes show.
        page: height and width of the page, in texels.
    """
    parts = [_of_one(*each) for each in zip(items, places, sides, strict=True)]
    slabs = np.concatenate(parts)
    slabs["uv"] /= (page[1], page[0], page[1], page[0])
    slabs["side"] /= (page[1], page[0])
    return slabs


def _of_one(item: Placement, place: tuple[int, int], side: tuple[int, int]) -> np.ndarray:
    """The slabs of one placement, `uv` and `side` in texels."""
    row, column = place
    if item.look in ("slabs", "cells", "cubes"):
        count = item.shown_maps if item.look == "slabs" else min(item.maps.size, item.grid[0] * item.grid[1])
    else:
        count = 1
    slabs = np.zeros(count, dtype=SLAB)
    k = np.arange(count)
    slabs["layer"], slabs["channel"] = item.layer, k if item.look in ("slabs", "cells", "cubes") else -1
    slabs["side"] = (side[1] + 0.5, side[0] + 0.5)
    slabs["centre"], slabs["size"] = item.centre, item.size
    if item.look == "slabs":
        slabs["channel"] = item.order or k
        h, w = item.drawn
        rows, columns = item.texture
        r, c = k // item.grid[1] * (h + item.gap), k % item.grid[1] * (w + item.gap)
        unit_x, unit_y = item.size[0] / columns, item.size[1] / rows
        slabs["centre"][:, 0] = item.centre[0] - item.size[0] / 2 + (c + w / 2) * unit_x
        slabs["centre"][:, 1] = item.centre[1] + item.size[1] / 2 - (r + h / 2) * unit_y
        slabs["size"][:, 0], slabs["size"][:, 1] = w * unit_x, h * unit_y
        slabs["uv"] = np.stack([column + c, row + r, column + c + w, row + r + h], axis=1)
    elif item.look in ("cells", "cubes"):
        step, edge = (item.cell * 1.25, item.cell) if item.look == "cubes" else (item.cell, item.cell * 0.86)
        slabs["centre"][:, 0] = item.centre[0] - item.size[0] / 2 + edge / 2 + k % item.grid[1] * step
        slabs["centre"][:, 1] = item.centre[1] + item.size[1] / 2 - edge / 2 - k // item.grid[1] * step
        slabs["size"][:, :2] = edge
        slabs["uv"] = np.stack([column + k + 0.5, np.full(count, row + 0.5)] * 2, axis=1)
        slabs["side"] = np.stack([column + k + 0.5, np.full(count, row + 1.5)], axis=1)
    else:
        height, width = item.texture
        inset = 0.01
        slabs["uv"] = (column + inset, row + inset, column + width - inset, row + height - inset)
    return slabs
