"""Brackets under the layers of an expanded module: they say where it begins and ends, and close it when clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .axis import FIRST_RAIL, IN_LANE, NEXT_RAIL
from .groups import Span
from .labels import Label
from .mesh import Lines, polylines
from .palette import RGB
from .placement import Placement
from .text import LINE, shorten

TICK, THICK, LETTERS = 0.05, 0.1, 0.1
LONGEST = 28


@dataclass(frozen=True)
class Rail:
    """A bracket.

    Attributes:
        name: of the module.
        start, end: of its line, `(3,)` each.
        first, last: indices of the placements at its ends.
        unit: what its sizes are in proportion to: the edge of the largest map, less in a lane.
    """

    name: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    first: int
    last: int
    unit: float


def rails(items: Sequence[Placement], spans: Sequence[Span], edge: float) -> list[Rail]:
    """One bracket for every row that a module has layers in, the inner modules nearer to the layers."""
    floors = [item.centre[1] - item.size[1] / 2 for item in items]
    free = [True] * len(items)
    found = []
    for span in sorted(spans, key=lambda s: -s.depth):
        inside = range(span.first, span.last + 1)
        for row in sorted({items[i].row for i in inside}):
            part = [i for i in inside if items[i].row == row]
            unit = edge * (IN_LANE if _share_a_lane([items[i] for i in part]) else 1.0)
            room = FIRST_RAIL if all(free[i] for i in part) else NEXT_RAIL
            y = min(floors[i] for i in part) - unit * room
            first = max(part, key=lambda i: items[i].bounds[1, 2])
            last = min(part, key=lambda i: items[i].bounds[0, 2])
            # The right edge is the one that no layer hides in the first view.
            x = max(items[i].centre[0] + items[i].size[0] / 2 for i in part)
            ends = (x, y, float(items[first].bounds[1, 2])), (x, y, float(items[last].bounds[0, 2]))
            found.append(Rail(span.name, *ends, first, last, unit))
            for i in part:
                floors[i], free[i] = y, False
    return found


def _share_a_lane(items: Sequence[Placement]) -> bool:
    return len({item.lanes[:1] for item in items}) == 1 and items[0].lanes != ()


def rail_lines(found: Sequence[Rail], colour: RGB) -> Lines:
    """The brackets as lines: up, along, up."""
    paths = []
    for rail in found:
        up = np.array([0, rail.unit * TICK, 0])
        start, end = np.array(rail.start), np.array(rail.end)
        paths.append(np.stack([start + up, start, end, end + up]))
    ends = [np.array([rail.first, rail.first, rail.last, rail.last]) for rail in found]
    return polylines(paths, [colour] * len(found), ends)


def rail_labels(found: Sequence[Rail]) -> list[Label]:
    """The names of the modules, under the near ends of their brackets."""
    return [
        Label(
            shorten(rail.name, LONGEST),
            (rail.start[0], rail.start[1] - rail.unit * 0.01, rail.start[2]),
            rail.unit * LETTERS * LINE,
            rail.first,
        )
        for rail in found
    ]


def rail_boxes(found: Sequence[Rail]) -> tuple[np.ndarray, np.ndarray]:
    """Centres and sizes, `(N, 3)` float64, of what a click on a bracket may meet."""
    start = np.array([rail.start for rail in found], dtype=float).reshape(-1, 3)
    end = np.array([rail.end for rail in found], dtype=float).reshape(-1, 3)
    thick = np.array([rail.unit * THICK for rail in found]).reshape(-1, 1)
    return (start + end) / 2, np.abs(end - start) + thick
