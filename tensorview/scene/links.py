"""Lines between layers: straight to the next one, in an arc over those between where a connection skips them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .layout import Placement
from .mesh import Lines, polylines
from .palette import RGB

ARC_POINTS = 25


def link_lines(items: Sequence[Placement], edges: Iterable[tuple[int, int]], colour: RGB, skip: RGB) -> Lines:
    """Lines for `(parent, child)` edges, indices into `items`. Arcs have the colour `skip`."""
    paths, colours, layers = [], [], []
    for parent, child in edges:
        arc = child - parent > 1 and items[parent].centre[1] == items[child].centre[1]
        path = _arc(items, parent, child) if arc else _straight(items[parent], items[child])
        paths.append(path)
        colours.append(skip if arc else colour)
        layers.append(np.where(np.arange(len(path)) < len(path) / 2, parent, child))
    return polylines(paths, colours, layers)


def _straight(parent: Placement, child: Placement) -> np.ndarray:
    start, end = np.array(parent.centre), np.array(child.centre)
    start[2] -= parent.size[2] / 2
    end[2] += child.size[2] / 2
    return np.stack([start, end])


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
