"""The picture of what feeds a cell: lines to it, and the outlines of what they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .feeds import Source, sources
from .layout import Placement
from .picking import Hit, Window, cell_of, outline

if TYPE_CHECKING:
    from ..capture import Layer

MOST_LINES = 160


@dataclass(frozen=True, eq=False)
class Feeding:
    """What feeds a cell.

    Attributes:
        sources: the parts of the parents, as data.
        lines: `(S, 2, 3)` float64, from a part's middle to the cell's.
        marks: `(M, 4, 3)` float64, the outlines of the parts.
    """

    sources: tuple[Source, ...]
    lines: np.ndarray
    marks: np.ndarray


def feeding(
    hit: Hit,
    layers: Sequence[Layer],
    items: Sequence[Placement],
    cell: np.ndarray,
) -> Feeding:
    """Lines and outlines for the cell of `hit`, whose own outline is `cell` `(4, 3)`.

    A closed box is fed by all of its parents. At most `MOST_LINES` lines are drawn, evenly chosen.
    """
    layer = layers[items[hit.placement].layer]
    parents = {x.name: x for x in layers}
    if hit.index is None:
        found = [Source(name) for name in layer.parents]
    else:
        found = sources(layer, hit.index, parents)
    place = {item.name: item for item in items}
    marks: list[np.ndarray] = []
    for source in found:
        marks += _outlines(source, parents[source.layer], place[source.layer])
    if len(marks) > MOST_LINES:
        marks = [marks[i] for i in np.linspace(0, len(marks) - 1, MOST_LINES).astype(int)]
    end = cell.mean(axis=0)
    lines = np.array([[m.mean(axis=0), end] for m in marks]).reshape(-1, 2, 3)
    return Feeding(tuple(found), lines, np.array(marks).reshape(-1, 4, 3))


def _outlines(source: Source, parent: Layer, item: Placement) -> list[np.ndarray]:
    windows = _windows(source, parent, item)
    return [rectangle for w in windows if (rectangle := outline(item, w)) is not None]


def _windows(source: Source, parent: Layer, item: Placement) -> list[Window]:
    """The windows of a parent's maps that a source stands for, as far as they are shown one by one."""
    maps = item.maps
    if maps.style == "vector":
        units = source.channels if source.channels is not None else range(maps.size)
        if item.look == "strip" and len(units) > 1:
            return [Window(0, 0, maps.height, 0, maps.width)]
        return [Window(0, u // maps.width, u // maps.width + 1, u % maps.width, u % maps.width + 1) for u in units]
    if source.channels is None:
        return [Window(None, 0, maps.height, 0, maps.width)]
    spans = source.spans or tuple((0, n) for n in parent.shape[1:])
    if any(low >= high for low, high in spans):
        return []
    channels = source.channels
    if item.look == "box":
        channels = range(channels.start, channels.start + 1)
    windows = []
    for channel in channels:
        for lead in _leading(spans):
            first = cell_of(
                item,
                parent.shape,
                (channel, *(low for low, _ in lead), *(low for low, _ in spans[len(lead) :])),
            )
            windows.append(_window(first, spans[len(lead) :], item, parent))
    return windows


def _leading(spans: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], ...]]:
    """All choices along the axes before the last two: the depth slices of a volume."""
    choices: list[tuple[tuple[int, int], ...]] = [()]
    for low, high in spans[:-2]:
        choices = [(*c, (i, i + 1)) for c in choices for i in range(low, high)]
    return choices


def _window(first: tuple[int, int, int], spans: Sequence[tuple[int, int]], item: Placement, parent: Layer) -> Window:
    channel, row, column = first
    shown: int | None = None if item.look == "box" else channel
    sizes = [high - low for low, high in spans]
    if len(sizes) == 0:
        return Window(shown, row, row + 1, column, column + 1)
    height = sizes[-2] if len(sizes) > 1 else 1
    return Window(shown, row, row + height, column, column + sizes[-1])
