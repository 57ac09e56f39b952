"""Brackets under the layers of an expanded module: they say where it begins and ends, and close it when clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .groups import Span
from .mesh import Lines, polylines
from .palette import RGB
from .placement import Placement
from .rail_room import FIRST_RAIL, lane_unit, names_of, room_under

TICK, THICK = 0.05, 0.1


@dataclass(frozen=True)
class Rail:
    """A bracket.

    Attributes:
        name: of the module.
        text: what is written at it.
        start, end: of its line, `(3,)` each.
        first, last: indices of the placements at its ends.
        unit: what its sizes are in proportion to.
    """

    name: str
    text: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    first: int
    last: int
    unit: float


def rails(items: Sequence[Placement], spans: Sequence[Span], unit: float, edge: float) -> list[Rail]:
    """One bracket for every row that a module has layers in, the inner modules nearer to the layers.

    Args:
        unit: what their sizes are in proportion to; in a lane they are smaller.
        edge: of the largest map.
    """
    floors = [item.centre[1] - item.size[1] / 2 for item in items]
    below: list[float | None] = [None] * len(items)
    names = names_of(spans)
    found = []
    for span in sorted(spans, key=lambda s: -s.depth):
        inside = range(span.first, span.last + 1)
        for row in sorted({items[i].row for i in inside}):
            part = [i for i in inside if items[i].row == row]
            own = lane_unit(unit, edge) if _share_a_lane([items[i] for i in part]) else unit
            first_room = own * FIRST_RAIL
            y = min(floors[i] - (room if (room := below[i]) is not None else first_room) for i in part)
            first = max(part, key=lambda i: items[i].bounds[1, 2])
            last = min(part, key=lambda i: items[i].bounds[0, 2])
            # The right edge is the one that no layer hides in the first view.
            x = max(items[i].centre[0] + items[i].size[0] / 2 for i in part)
            ends = (x, y, float(items[first].bounds[1, 2])), (x, y, float(items[last].bounds[0, 2]))
            found.append(Rail(span.name, names[span.name], *ends, first, last, own))
            for i in part:
                floors[i], below[i] = y, room_under(names[span.name], own)
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


def rail_boxes(found: Sequence[Rail]) -> tuple[np.ndarray, np.ndarray]:
    """Centres and sizes, `(N, 3)` float64, of what a click on a bracket may meet."""
    start = np.array([rail.start for rail in found], dtype=float).reshape(-1, 3)
    end = np.array([rail.end for rail in found], dtype=float).reshape(-1, 3)
    thick = np.array([rail.unit * THICK for rail in found]).reshape(-1, 1)
    return (start + end) / 2, np.abs(end - start) + thick
