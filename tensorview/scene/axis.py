"""Where every layer stands: along the axis, in rows where it is long, in lanes where layers run side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .camera import PITCH, YAW
from .lanes import Lanes, Line, line_of
from .placement import Placement
from .rail_room import FIRST_RAIL, lane_unit, names_of, room_of, unit_of

if TYPE_CHECKING:
    from ..capture import Layer
    from .groups import Span

SPACING = 0.62
# What is seen of something narrow behind something wide in the first view, over the width of the latter.
SEEN = 0.12
ROW_GAP = 0.55
MOST_ROWS = 12
FEWEST_IN_ROW = 12
# Room for the texts over a lane, over the mean step from layer to layer in it, and at least over the edge of a map.
LANE_GAP, LEAST_LANE_GAP = 0.5, 0.06
# Where the shortest way to a row's end may be taken, over the length of a row.
SLACK = 0.12


def least_gap(edge: float) -> float:
    """The least space between two layers on the axis."""
    return 0.34 * math.sqrt(edge * min(edge, 28))


@dataclass(frozen=True)
class _Part:
    """Something on a line, laid out: a layer, or lanes.

    Attributes:
        up, down: how far it reaches above and below the axis; length: along it.
        width: of its widest layer.
        layers: index, place along the axis from its middle, and height above the axis of every layer.
        lanes: the lane of every layer, by its index.
    """

    up: float
    down: float
    length: float
    width: float
    layers: tuple[tuple[int, float, float], ...]
    lanes: dict[int, tuple[int, ...]]


def along_axis(
    items: Sequence[Placement], layers: Sequence[Layer], spans: Sequence[Span], edge: float
) -> tuple[list[Placement], float]:
    """Give every layer its place on the axis; wider neighbours stand further apart, so that neither hides the other.

    A long network is broken into rows, one below the other as lines of text are, all of them beginning in one plane.
    Branches that leave one layer and meet in another run side by side in lanes, one above the other.

    Returns:
        The placements, and the unit of the brackets.
    """
    index = {layer.name: i for i, layer in enumerate(layers)}
    parents = [sorted({index[p] for p in layer.parents if index.get(p, i) < i}) for i, layer in enumerate(layers)]
    line, unit = line_of(parents), edge
    if spans:
        bare = _Builder(items, (), edge, edge).parts(line)
        unit = unit_of(_rows(bare, _steps(bare, edge), _crossings(bare, parents), edge)[1], edge)
    parts = _Builder(items, spans, edge, unit).parts(line)
    steps = _steps(parts, edge)
    names = names_of(spans)
    placed: dict[int, Placement] = {}
    top = 0.0
    for row, on_row in enumerate(_rows(parts, steps, _crossings(parts, parents), edge)[0]):
        up, down = max(parts[k].up for k in on_row), max(parts[k].down for k in on_row)
        z = 0.0
        for k in on_row:
            z -= steps[k] if k > on_row[0] else 0.0
            for i, along, height in parts[k].layers:
                centre = (0.0, top - up + height, z - along)
                placed[i] = replace(items[i], centre=centre, row=row, lanes=parts[k].lanes.get(i, ()))
        members = {i for k in on_row for i, _, _ in parts[k].layers}
        top -= up + down + ROW_GAP * edge + room_of(spans, members, unit, names, single=False)
    every = [placed[i] for i in range(len(items))]
    middle = (max(p.bounds[1, 1] for p in every) + min(p.bounds[0, 1] for p in every)) / 2
    return [replace(p, centre=(0.0, p.centre[1] - middle, p.centre[2])) for p in every], unit


class _Builder:
    """Lays out lines and their lanes."""

    def __init__(self, items: Sequence[Placement], spans: Sequence[Span], edge: float, unit: float) -> None:
        self._items, self._spans, self._edge, self._names = items, spans, edge, names_of(spans)
        self._unit = lane_unit(unit, edge)
        self._lanes = itertools.count(1)

    def parts(self, line: Line) -> list[_Part]:
        return [self._of_lanes(piece) if isinstance(piece, Lanes) else self._of_layer(piece) for piece in line]

    def _of_layer(self, i: int) -> _Part:
        width, height, depth = self._items[i].size
        return _Part(height / 2, height / 2, depth, width, ((i, 0.0, 0.0),), {})

    def _of_lanes(self, lanes: Lanes) -> _Part:
        """Lanes one above the other; of two the longer one is the trunk's continuation."""
        lines = [self._joined(self.parts(line)) for line in lanes.lines]
        layers: list[tuple[int, float, float]] = []
        lane_of: dict[int, tuple[int, ...]] = {}
        axes: list[float] = []
        y = 0.0
        for k, line in enumerate(lines):
            if k:
                y -= line.up + self._room(line)
            axes.append(y)
            y -= line.down + self._rails({i for i, _, _ in line.layers})
        most = max(len(line.layers) for line in lines)
        if len(lines) == 2 and sum(len(line.layers) == most for line in lines) == 1:
            middle = next(y for y, line in zip(axes, lines, strict=True) if len(line.layers) == most)
        else:
            middle = (axes[0] + axes[-1]) / 2
        for axis, line in zip(axes, lines, strict=True):
            lane = next(self._lanes)
            layers += [(i, along, height + axis - middle) for i, along, height in line.layers]
            lane_of |= {i: (lane, *line.lanes.get(i, ())) for i, _, _ in line.layers}
        up = max(line.up + axis - middle for axis, line in zip(axes, lines, strict=True))
        length, width = max(line.length for line in lines), max(line.width for line in lines)
        return _Part(up, middle - y, length, width, tuple(layers), lane_of)

    def _room(self, line: _Part) -> float:
        step = line.length / len(line.layers) + least_gap(self._edge)
        return max(LANE_GAP * step, LEAST_LANE_GAP * self._edge)

    def _rails(self, members: set[int]) -> float:
        """What the brackets under a lane need."""
        own = [span for span in self._spans if members.issuperset(range(span.first, span.last + 1))]
        room = room_of(own, members, self._unit, self._names, single=True)
        return FIRST_RAIL * self._unit + room if own else 0.0

    def _joined(self, parts: list[_Part]) -> _Part:
        """A lane as one part."""
        steps = _steps(parts, self._edge)
        places = list(itertools.accumulate(steps))
        length = places[-1] + (parts[0].length + parts[-1].length) / 2
        shift = parts[0].length / 2 - length / 2
        return _Part(
            max(p.up for p in parts),
            max(p.down for p in parts),
            length,
            max(p.width for p in parts),
            tuple((i, along + at + shift, y) for p, at in zip(parts, places, strict=True) for i, along, y in p.layers),
            {i: lanes for part in parts for i, lanes in part.lanes.items()},
        )


def _steps(parts: Sequence[_Part], edge: float) -> list[float]:
    """From the middle of the part before to that of every part."""
    steps = [0.0]
    for previous, part in itertools.pairwise(parts):
        aside = (previous.width - part.width) / 2 + min(part.width, SEEN * previous.width)
        gap = max(least_gap(edge), SPACING * (previous.width + part.width) / 2, aside / math.tan(math.radians(YAW)))
        steps.append((previous.length + part.length) / 2 + gap)
    return steps


def _crossings(parts: Sequence[_Part], parents: Sequence[Sequence[int]]) -> list[int]:
    """For every part, how many connections lead from before it to it or behind it."""
    home = {i: k for k, part in enumerate(parts) for i, _, _ in part.layers}
    change = [0] * (len(parts) + 1)
    for child, every in enumerate(parents):
        for parent in every:
            change[home[parent] + 1] += 1
            change[home[child] + 1] -= 1
    return list(itertools.accumulate(change))[: len(parts)]


def _rows(parts: list[_Part], steps: list[float], crossings: list[int], edge: float) -> tuple[list[list[int]], float]:
    """The parts in as many rows of about the same length as show them largest in a 16 : 9 frame; and its height."""
    yaw, pitch = math.radians(YAW), math.radians(PITCH)
    rising = math.cos(yaw) * math.sin(pitch)
    best, least = [list(range(len(parts)))], math.inf
    count = sum(len(part.layers) for part in parts)
    for wanted in range(1, min(MOST_ROWS, max(1, count // FEWEST_IN_ROW)) + 1):
        rows = _broken(parts, steps, crossings, wanted)
        length = max(sum(steps) / len(rows), *(sum(steps[k] for k in row[1:]) for row in rows))
        width = length * math.sin(yaw) + edge * math.cos(yaw)
        height = sum(max(parts[k].up for k in r) + max(parts[k].down for k in r) + ROW_GAP * edge for r in rows)
        need = max(width / 16, (height + length * rising) / 9)
        if need < least * 0.97:
            best, least = rows, need
    return best, least * 9


def _broken(parts: list[_Part], steps: list[float], crossings: list[int], count: int) -> list[list[int]]:
    """The parts in `count` rows or fewer; near the place of an even break, where fewest connections cross."""
    places = list(itertools.accumulate(steps))
    total = places[-1]
    starts = [0]
    for row in range(1, count):
        even = total * row / count
        near = next((k for k, at in enumerate(places) if at >= even), len(parts))
        around = [k for k in range(len(parts)) if abs(places[k] - even) <= SLACK * total / count]
        fitting = [k for k in (near, *around) if k < len(parts)]
        start = min(fitting, key=lambda k: (crossings[k], abs(k - near)), default=0)
        if start > starts[-1]:
            starts.append(start)
    return [list(range(a, b)) for a, b in itertools.pairwise([*starts, len(parts)])]
