"""Brackets under the layers of an expanded module: they say where it begins and ends, and close it when clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .groups import Span
from .labels import Label
from .layout import Placement
from .mesh import Lines, polylines
from .palette import RGB
from .text import LINE, shorten

STEP, TICK, THICK, LETTERS = 0.17, 0.05, 0.1, 0.1
LONGEST = 28


@dataclass(frozen=True)
class Rail:
    """A bracket: the module's name, and the ends of its line, `(3,)` each; `first` and `last` index the placements."""

    name: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    first: int
    last: int


def rails(items: Sequence[Placement], spans: Sequence[Span], edge: float) -> list[Rail]:
    """One bracket for every row that a module has layers in, the inner modules nearer to the layers."""
    deepest = max((span.depth for span in spans), default=0)
    found = []
    for span in spans:
        for first, last in _rows(items, span):
            floor = min(p.centre[1] - p.size[1] / 2 for p in items[first : last + 1])
            y = floor - edge * (0.1 + STEP * (deepest - span.depth))
            near = items[first].centre[2] + items[first].size[2] / 2
            far = items[last].centre[2] - items[last].size[2] / 2
            x = min(p.centre[0] - p.size[0] / 2 for p in items[first : last + 1])
            found.append(Rail(span.name, (x, y, near), (x, y, far), first, last))
    return found


def _rows(items: Sequence[Placement], span: Span) -> list[tuple[int, int]]:
    parts = [[span.first, span.first]]
    for i in range(span.first + 1, span.last + 1):
        if items[i].centre[1] == items[parts[-1][1]].centre[1]:
            parts[-1][1] = i
        else:
            parts.append([i, i])
    return [(first, last) for first, last in parts]


def rail_lines(found: Sequence[Rail], colour: RGB, edge: float) -> Lines:
    """The brackets as lines: up, along, up."""
    up = np.array([0, edge * TICK, 0])
    paths = []
    for rail in found:
        start, end = np.array(rail.start), np.array(rail.end)
        paths.append(np.stack([start + up, start, end, end + up]))
    ends = [np.array([rail.first, rail.first, rail.last, rail.last]) for rail in found]
    return polylines(paths, [colour] * len(found), ends)


def rail_labels(found: Sequence[Rail], edge: float) -> list[Label]:
    """The names of the modules, under the near ends of their brackets."""
    height = edge * LETTERS * LINE
    return [
        Label(
            shorten(rail.name, LONGEST), (rail.start[0], rail.start[1] - edge * 0.01, rail.start[2]), height, rail.first
        )
        for rail in found
    ]


def rail_boxes(found: Sequence[Rail], edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres and sizes, `(N, 3)` float64, of what a click on a bracket may meet."""
    start = np.array([rail.start for rail in found], dtype=float).reshape(-1, 3)
    end = np.array([rail.end for rail in found], dtype=float).reshape(-1, 3)
    return (start + end) / 2, np.abs(end - start) + edge * THICK
