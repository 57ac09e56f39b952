"""The picture of what feeds a cell: lines to it, and the outlines of what they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .feeds import sources
from .fields import Region
from .parts import Source
from .picking import Hit, Window, cell_of, outline
from .placement import Placement

if TYPE_CHECKING:
    from ..capture import Layer

MOST_LINES = 160
MOST_FIELD_MARKS = 64


@dataclass(frozen=True, eq=False)
class Feeding:
    """What feeds a cell.

    Attributes:
        sources: the parts of the parents, as data; those of hidden inputs as well.
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
    units: Mapping[int, np.ndarray],
) -> Feeding:
    """Lines and outlines for the cell of `hit`, whose own outline is `cell` `(4, 3)`.

    What a closed box shows at a cell is fed by all that feeds that cell of any of its maps. At most `MOST_LINES` lines
    are drawn, evenly chosen.

    Args:
        layers: those of the placements in their order, and after them parents that are not drawn.
        units: for every layer that is shown as cubes, the unit that each cube shows.
    """
    layer = layers[items[hit.placement].layer]
    parents = {x.name: x for x in layers}
    found = sources(layer, hit.index, parents) if hit.index is not None else _of_all_maps(layer, hit, parents)
    place = {item.name: item for item in items}
    marks: list[np.ndarray] = []
    for source in (source for source in found if source.layer in place):
        marks += _outlines(source, parents[source.layer], place[source.layer], units)
    if len(marks) > MOST_LINES:
        marks = [marks[i] for i in np.linspace(0, len(marks) - 1, MOST_LINES).astype(int)]
    end = cell.mean(axis=0)
    lines = np.array([[m.mean(axis=0), end] for m in marks]).reshape(-1, 2, 3)
    return Feeding(tuple(found), lines, np.array(marks).reshape(-1, 4, 3))


def _of_all_maps(layer: Layer, hit: Hit, parents: Mapping[str, Layer]) -> list[Source]:
    """What feeds a cell of any map of a closed layer: for every parent the smallest part that holds all of it."""
    whole = [Source(name) for name in layer.parents]
    if len(layer.shape) != 3:
        return whole
    parts: dict[str, list[Source]] = {}
    for channel in range(layer.shape[0]):
        for source in sources(layer, (channel, hit.row, hit.column), parents):
            parts.setdefault(source.layer, []).append(source)
    return [_union(parts[source.layer]) for source in whole if source.layer in parts]


def _union(parts: Sequence[Source]) -> Source:
    first = parts[0]
    if any(p.channels is None or p.spans is None for p in parts):
        return Source(first.layer)
    low = min(p.channels.start for p in parts if p.channels is not None)
    high = max(p.channels.stop for p in parts if p.channels is not None)
    ends = zip(*(p.spans for p in parts if p.spans is not None), strict=True)
    return Source(first.layer, range(low, high), tuple((min(a for a, _ in e), max(b for _, b in e)) for e in ends))


def field_marks(regions: Iterable[Region], items: Sequence[Placement], units: Mapping[int, np.ndarray]) -> np.ndarray:
    """`(M, 4, 3)` float64: the outlines of receptive fields on the layers that show them.

    Of a layer's maps at most `MOST_FIELD_MARKS`, evenly chosen, have an outline each.
    """
    place = {item.name: item for item in items}
    marks = []
    for region in regions:
        item = place[region.layer]
        for window in _field_windows(region, item):
            mark = outline(item, window, units.get(item.layer))
            if mark is not None:
                marks.append(mark)
    return np.array(marks).reshape(-1, 4, 3)


def _field_windows(region: Region, item: Placement) -> list[Window]:
    spans, maps = region.spans, item.maps
    if maps.style == "vector":
        places = region.places[0] if region.places else range(1)
        if item.look == "strip" and len(places) > 1:
            return [Window(0, 0, maps.height, 0, maps.width)]
        return [Window(0, u // maps.width, u // maps.width + 1, u % maps.width, u % maps.width + 1) for u in places]
    rows, columns = ((0, 1), spans[-1]) if maps.style == "rows" else spans[-2:]
    if item.look in ("box", "slab"):
        return [Window(None if item.look == "box" else 0, *rows, *columns)]
    leading = region.places[:-1] if maps.style == "rows" else region.places[:-2]
    shape = region.shape[: len(leading)]
    channels = np.ravel_multi_index(np.ix_(*map(np.asarray, leading)), shape).reshape(-1)
    step = math.ceil(len(channels) / MOST_FIELD_MARKS)
    return [Window(int(channel), *rows, *columns) for channel in channels[::step]]


def _outlines(source: Source, parent: Layer, item: Placement, units: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    shown = units.get(item.layer)
    return [
        rectangle for w in _windows(source, parent.shape, item) if (rectangle := outline(item, w, shown)) is not None
    ]


def _windows(source: Source, shape: tuple[int, ...], item: Placement) -> list[Window]:
    """The windows of a parent's maps that a source stands for, as far as they are shown one by one."""
    maps = item.maps
    if maps.style == "vector":
        units = source.channels if source.channels is not None else range(maps.size)
        if item.look == "strip" and len(units) > 1:
            return [Window(0, 0, maps.height, 0, maps.width)]
        return [Window(0, u // maps.width, u // maps.width + 1, u % maps.width, u % maps.width + 1) for u in units]
    if source.channels is None:
        return [Window(None, 0, maps.height, 0, maps.width)]
    spans = source.spans or tuple((0, n) for n in shape[1:])
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
                shape,
                (channel, *(low for low, _ in lead), *(low for low, _ in spans[len(lead) :])),
            )
            windows.append(_window(first, spans[len(lead) :], item))
    return windows


def _leading(spans: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], ...]]:
    """All choices along the axes before the last two: the depth slices of a volume."""
    choices: list[tuple[tuple[int, int], ...]] = [()]
    for low, high in spans[:-2]:
        choices = [(*c, (i, i + 1)) for c in choices for i in range(low, high)]
    return choices


def _window(first: tuple[int, int, int], spans: Sequence[tuple[int, int]], item: Placement) -> Window:
    channel, row, column = first
    shown: int | None = None if item.look == "box" else channel
    sizes = [high - low for low, high in spans]
    if len(sizes) == 0:
        return Window(shown, row, row + 1, column, column + 1)
    height = sizes[-2] if len(sizes) > 1 else 1
    return Window(shown, row, row + height, column, column + sizes[-1])
