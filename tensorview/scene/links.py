"""Lines between layers: straight where nothing is in the way, else in an arc over what a connection skips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .axis import least_gap
from .mesh import Lines, polylines
from .palette import RGB
from .placement import Placement

ARC_POINTS = 25
# Where lines run between two rows: below the upper one and from line to line, over the edge of a map.
UNDER_ROW, NEXT_LINE = 0.05, 0.03


def link_lines(
    items: Sequence[Placement], edges: Iterable[tuple[int, int]], edge: float, colour: RGB, skip: RGB
) -> Lines:
    """Lines for `(parent, child)` edges, indices into `items`. What skips layers is `skip`.

    Args:
        edge: of the largest map, in the scene's unit.
    """
    paths, colours, layers = [], [], []
    rows = _Rows(items, edge)
    for parent, child in edges:
        path = rows.path(parent, child)
        direct = path is None or child - parent == 1
        if path is None:
            ways = _direct(items[parent], items[child], least_gap(edge))
            path = next((way for way in ways if not _meets(way, items[parent + 1 : child])), None)
        if path is None:
            path, direct = _arc(items, parent, child), False
        paths.append(path)
        colours.append(colour if direct else skip)
        layers.append(np.where(np.arange(len(path)) < len(path) / 2, parent, child))
    return polylines(paths, colours, layers)


def _direct(parent: Placement, child: Placement, bend: float) -> Iterator[np.ndarray]:
    """Ways from a layer to one further along: straight; over to its lane at once; along the own lane to its end."""
    start, end = np.array(parent.centre), np.array(child.centre)
    start[2] -= parent.size[2] / 2
    end[2] += child.size[2] / 2
    if start[2] - end[2] <= 2 * bend or start[1] == end[1]:
        yield np.stack([start, end])
        return
    over = np.stack([start, [end[0], end[1], start[2] - bend], end])
    along = np.stack([start, [start[0], start[1], end[2] + bend], end])
    yield from (along, over) if len(parent.lanes) > len(child.lanes) else (over, along)


def _meets(path: np.ndarray, between: Sequence[Placement]) -> bool:
    """Whether a path goes through one of the layers. All stand at the same x, so that y and z decide."""
    if not between:
        return False
    bounds = np.stack([item.bounds for item in between])[:, :, 1:]
    for a, b in zip(path[:-1, 1:], path[1:, 1:], strict=True):
        way = np.where(np.abs(b - a) < 1e-9, 1e-9, b - a)
        enter, leave = (bounds[:, 0] - a) / way, (bounds[:, 1] - a) / way
        first, last = np.minimum(enter, leave).max(axis=1), np.maximum(enter, leave).min(axis=1)
        if ((first < last) & (first < 1) & (last > 0)).any():
            return True
    return False


def _arc(items: Sequence[Placement], parent: int, child: int) -> np.ndarray:
    """Half an ellipse from top to top, higher than all that it passes."""
    a, b = items[parent], items[child]
    start = np.array([a.centre[0], a.centre[1] + a.size[1] / 2, a.centre[2]])
    end = np.array([b.centre[0], b.centre[1] + b.size[1] / 2, b.centre[2]])
    top = max(item.centre[1] + item.size[1] / 2 for item in items[parent : child + 1])
    rise = top - (start[1] + end[1]) / 2 + 0.12 * abs(end[2] - start[2])
    t = np.linspace(0, 1, ARC_POINTS)[:, None]
    points = start + (end - start) * (1 - np.cos(np.pi * t)) / 2
    points[:, 1] += np.sin(np.pi * t[:, 0]) * rise
    return points


class _Rows:
    """Ways from row to row: down from a layer, back between the rows, and down to the one that it feeds."""

    def __init__(self, items: Sequence[Placement], edge: float) -> None:
        self._items, self._edge = items, edge
        count = max(item.row for item in items) + 1
        rows = [[item.bounds for item in items if item.row == row] for row in range(count)]
        self._floor = [min(b[0, 1] for b in row) for row in rows]
        self._front = max(b[1, 2] for row in rows for b in row)
        self._used = [0] * count

    def path(self, parent: int, child: int) -> np.ndarray | None:
        """The way to a row further down, `None` within a row."""
        a, b = self._items[parent], self._items[child]
        if a.row >= b.row:
            return None
        points = [np.subtract(a.centre, (0, a.size[1] / 2, 0))]
        above = self._between(a.row)
        points.append(np.array([0, above, a.centre[2]]))
        if b.row - a.row > 1:
            front = self._front + self._edge * (0.2 + NEXT_LINE * self._used[a.row])
            points.append(np.array([0, above, front]))
            above = self._between(b.row - 1)
            points.append(np.array([0, above, front]))
        points.append(np.array([0, above, b.centre[2]]))
        points.append(np.add(b.centre, (0, b.size[1] / 2, 0)))
        return np.stack(points)

    def _between(self, row: int) -> float:
        """A height of its own below a row."""
        self._used[row] += 1
        return self._floor[row] - self._edge * (UNDER_ROW + NEXT_LINE * (self._used[row] - 1) % 0.4)
