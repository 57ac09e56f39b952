"""Which cell a ray meets, and where a cell or a window of cells stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .camera import Ray
from .placement import Placement


@dataclass(frozen=True)
class Window:
    """Cells of one map: rows `top..bottom` and columns `left..right`, the ends excluded.

    `channel` is the map; `None` stands for all of a layer's maps at once, as a closed box shows them.
    """

    channel: int | None
    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Hit:
    """The cell under a ray.

    Attributes:
        layer: its name.
        placement: index of the layer's placement.
        channel: the map; `None` where a closed box shows all of them.
        row, column: of the cell within the map.
        index: into `trace[layer].values`; `None` for a closed box.
        distance: from the ray's origin, in the scene's unit.
    """

    layer: str
    placement: int
    channel: int | None
    row: int
    column: int
    index: tuple[int, ...] | None
    distance: float


def meet_boxes(ray: Ray, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """`(N,)` float64 distance along the ray to each of `N` boxes, infinite where it misses.

    The slab method (Kay and Kajiya, 1986).
    """
    direction = np.where(np.abs(ray.direction) < 1e-12, 1e-12, ray.direction)
    low = (centre - size / 2 - ray.origin) / direction
    high = (centre + size / 2 - ray.origin) / direction
    near, far = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
    return np.where((near <= far) & (far > 0), np.maximum(near, 0), np.inf)


def pick(
    ray: Ray,
    items: Sequence[Placement],
    slabs: np.ndarray,
    shapes: Sequence[tuple[int, ...]],
    units: Mapping[int, np.ndarray],
) -> Hit | None:
    """The nearest cell that the ray meets; gaps between maps let it through.

    Args:
        shapes: of every layer's values.
        units: for every layer that is shown as cubes, the unit that each cube shows, from top to bottom.
    """
    distance = meet_boxes(ray, slabs["centre"].astype(float), slabs["size"].astype(float))
    for k in np.argsort(distance, kind="stable"):
        if not np.isfinite(distance[k]):
            return None
        slab = slabs[k]
        point = ray.origin + ray.direction * distance[k]
        across = (point[0] - (slab["centre"][0] - slab["size"][0] / 2)) / slab["size"][0]
        down = ((slab["centre"][1] + slab["size"][1] / 2) - point[1]) / slab["size"][1]
        item = items[slab["layer"]]
        channel = int(slab["channel"])
        if item.look == "cubes":
            channel = int(units[item.layer][channel])
        cell = _cell(item, channel, float(np.clip(across, 0, 1)), float(np.clip(down, 0, 1)))
        if cell is not None:
            index = value_index(item, shapes[item.layer], *cell)
            return Hit(item.name, int(slab["layer"]), *cell, index, float(distance[k]))
    return None


def _cell(item: Placement, channel: int, across: float, down: float) -> tuple[int | None, int, int] | None:
    """Map, row and column at a place on a slab, both 0..1; `None` in a gap or after a vector's last unit."""
    height, width = item.maps.height, item.maps.width
    if item.look in ("cells", "cubes"):
        return 0, *divmod(channel, width)
    h, w = item.drawn
    row, column = down * h, across * w
    if item.look == "sheet":
        rows, columns = item.texture
        top, row = divmod(min(down * rows, rows - 1e-6), h + item.gap)
        left, column = divmod(min(across * columns, columns - 1e-6), w + item.gap)
        channel = int(top) * item.grid[1] + int(left)
        if row >= h or column >= w or channel >= item.shown_maps:
            return None
        channel = item.channel_at(channel)
    r, c = min(int(row * item.factor), height - 1), min(int(column * item.factor), width - 1)
    if item.maps.style == "vector" and r * width + c >= item.maps.size:
        return None
    return (None if item.look == "box" else max(channel, 0)), r, c


def value_index(
    item: Placement, shape: tuple[int, ...], channel: int | None, row: int, column: int
) -> tuple[int, ...] | None:
    """The index into the layer's values of a cell; `None` where it stands for all maps."""
    if channel is None:
        return None
    maps = item.maps
    flat = (channel * maps.height + row) * maps.width + column
    return tuple(int(i) for i in np.unravel_index(flat, shape)) if shape else ()


def cell_of(item: Placement, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, int, int]:
    """Map, row and column of an index into the layer's values."""
    flat = int(np.ravel_multi_index(index, shape)) if shape else 0
    channel, rest = divmod(flat, item.maps.height * item.maps.width)
    return channel, *divmod(rest, item.maps.width)


def outline(item: Placement, window: Window, units: np.ndarray | None = None) -> np.ndarray | None:
    """`(4, 3)` float64 corners of a window on the layer's front, in order around it; `None` where it is not shown.

    Args:
        units: of cubes, the unit that each shows.
    """
    rectangle = _unit_rectangle(item, window, units) if item.look in ("cells", "cubes") else _window(item, window)
    if rectangle is None:
        return None
    left, top, right, bottom = rectangle
    z = item.centre[2] + item.size[2] / 2 + 0.02 * max(1.0, item.cell)
    return np.array([[left, top, z], [right, top, z], [right, bottom, z], [left, bottom, z]])


def _unit_rectangle(
    item: Placement, window: Window, units: np.ndarray | None
) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of the box of a unit."""
    left, top = item.centre[0] - item.size[0] / 2, item.centre[1] + item.size[1] / 2
    if item.look == "cells":
        edge = item.cell * 0.86
        left, top = left + window.left * item.cell, top - window.top * item.cell
    else:
        edge = item.cell
        at = np.flatnonzero(np.asarray(units) == window.top * item.maps.width + window.left)
        if not len(at):
            return None
        top -= float(at[0]) * item.cell * 1.25
    return left, top, left + edge, top - edge


def _window(item: Placement, window: Window) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of a window of a map, or of the same window of all maps at once.

    `None` for a map that is not shown.
    """
    left, top = item.centre[0] - item.size[0] / 2, item.centre[1] + item.size[1] / 2
    rows, columns = item.texture
    unit_x, unit_y = item.size[0] / columns, item.size[1] / rows
    if item.look in ("slabs", "sheet"):
        if window.channel is None:
            return left, top, left + item.size[0], top - item.size[1]
        h, w = item.drawn
        place = item.place_of(window.channel)
        if place is None:
            return None
        row, column = divmod(place, item.grid[1])
        left, top = left + column * (w + item.gap) * unit_x, top - row * (h + item.gap) * unit_y

    def texels(cells: int, size: int) -> float:
        """Texels up to a cell; a last one that averages fewer cells is drawn as large as the others."""
        return cells / item.factor if cells < size else math.ceil(size / item.factor)

    height, width = item.maps.height, item.maps.width
    return (
        left + texels(window.left, width) * unit_x,
        top - texels(window.top, height) * unit_y,
        left + texels(window.right, width) * unit_x,
        top - texels(window.bottom, height) * unit_y,
    )
