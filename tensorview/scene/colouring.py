"""From values to pixels: every shown layer is scaled, looked up and written into the page in a handful of numpy calls.

The values of all layers stand in one float32 buffer, run after run; where a texel of a run goes and which look-up table
it uses never changes while the layout stands, so an update costs the copies into the buffer and one pass over it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import SceneError
from .palette import LEVELS, NAN, NEG_INF, POS_INF, Encoding
from .placement import Placement

if TYPE_CHECKING:
    from ..capture import Layer

Scaling = Literal["layer", "map", "fixed"]
Aggregate = Literal["mean", "max"]
SCALINGS: tuple[Scaling, ...] = ("layer", "map", "fixed")
AGGREGATES: tuple[Aggregate, ...] = ("mean", "max")
ROW = LEVELS + 3
# Up to here differences of two values and their multiples stay inside float32; beyond it float64 is used.
ROOMY = 1e37


@dataclass(frozen=True)
class Run:
    """A layer's part of the buffer: `start..stop`, in `maps` equal parts (1 unless maps are scaled on their own)."""

    item: Placement
    start: int
    stop: int
    maps: int


def check_drawable(layers: Sequence[Layer]) -> None:
    """Raise SceneError for a layer whose values have no place on a scale, as complex numbers have none."""
    for layer in layers:
        if layer.values is not None and layer.values.dtype.kind not in "fiub":
            raise SceneError(
                f"layer {layer.name!r} holds {layer.values.dtype} values, which have no colour: "
                "capture a real number of them, such as their magnitude"
            )


def area_mean(values: np.ndarray, factor: int) -> np.ndarray:
    """`(C, H, W)` averaged over `factor` x `factor` cells to `(C, ceil(H / factor), ceil(W / factor))`.

    At the edges the mean is over the cells that are there.
    """
    if factor == 1:
        return values
    if values.dtype.kind != "f":
        values = values.astype(np.float32)
    _, height, width = values.shape
    return _block_sums(values, factor) / _block_sizes(height, width, factor).astype(values.dtype)


@functools.lru_cache(maxsize=1024)
def _block_sizes(height: int, width: int, factor: int) -> np.ndarray:
    rows = np.diff(np.append(np.arange(0, height, factor), height))
    columns = np.diff(np.append(np.arange(0, width, factor), width))
    return np.outer(rows, columns)


def _block_sums(values: np.ndarray, factor: int) -> np.ndarray:
    # Sums of slices; `np.add.reduceat` takes five to fifteen times as long.
    down = values[:, ::factor].copy()
    for k in range(1, factor):
        part = values[:, k::factor]
        down[:, : part.shape[1]] += part
    sums = down[:, :, ::factor].copy()
    for k in range(1, factor):
        part = down[:, :, k::factor]
        sums[:, :, : part.shape[2]] += part
    return sums


def _wrapped_mean(item: Placement, values: np.ndarray) -> np.ndarray:
    """A wrapped vector averaged like a map; in its short last row over the units that are there."""
    maps = item.maps
    full = np.zeros((2, maps.height * maps.width), dtype=values.dtype if values.dtype.kind == "f" else np.float32)
    full[0, : maps.size], full[1, : maps.size] = values, 1
    total, count = _block_sums(full.reshape(2, maps.height, maps.width), item.factor)
    return total.reshape(-1)[: item.shown_units] / count.reshape(-1)[: item.shown_units]


def shown_values(item: Placement, values: np.ndarray, aggregate: Aggregate) -> np.ndarray:
    """What is drawn of a layer's values: flat float, a value a displayed cell, maps one after the other.

    A closed box shows the mean or the maximum over its maps, that of a picture all three of its colours. Sums of
    float32 values may overflow: see `overflowed`.
    """
    if item.maps.style == "vector":
        flat = values.reshape(-1)
        return flat if item.factor == 1 else _wrapped_mean(item, flat)
    maps = values.reshape(item.maps.shape)
    if item.order:
        maps = maps[list(item.order)]
    if item.look == "box" and not item.true_colours:
        maps = _mean(maps) if aggregate == "mean" else maps.max(axis=0, keepdims=True)
    return area_mean(maps, item.factor).reshape(-1)


def reduced_values(item: Placement, part: np.ndarray, aggregate: Aggregate) -> np.ndarray:
    """What is drawn of a closed box of which only the mean or the maximum over its maps was kept, as `shown_values`."""
    maps = part.reshape(-1, item.maps.height, item.maps.width)  # of a volume several, one for each slice
    if len(maps) > 1:
        maps = _mean(maps) if aggregate == "mean" else maps.max(axis=0, keepdims=True)
    return area_mean(maps, item.factor).reshape(-1)


def _mean(maps: np.ndarray) -> np.ndarray:
    """`maps.mean(axis=0, keepdims=True)` without what that costs a small array."""
    if maps.dtype.kind != "f":
        return maps.mean(axis=0, keepdims=True)
    return np.add.reduce(maps, axis=0, keepdims=True) / maps.dtype.type(len(maps))


def overflowed(item: Placement, values: np.ndarray, shown: np.ndarray) -> bool:
    """Whether the `shown` values of a layer may have been summed beyond the range of float32."""
    summed = item.look == "box" or item.factor > 1
    return summed and values.dtype == np.float32 and not bool(np.isfinite(shown).all())


def store(values: np.ndarray, out: np.ndarray) -> None:
    """Write `values` into a float32 array; finite ones beyond its range become its largest.

    numpy warns of those: see `Scene._show`, which has it off for all layers at once.
    """
    out[...] = values
    if values.dtype != np.float64:
        return
    beyond = np.isinf(out) & np.isfinite(values)
    out[beyond] = np.copysign(np.finfo(np.float32).max, values[beyond])


def levels(buffer: np.ndarray, starts: np.ndarray, encoding: Encoding, fixed: tuple[float, float] | None) -> np.ndarray:
    """Levels of a look-up table, `(N,)` intp, for the values of `buffer` `(N,)` float32.

    Args:
        starts: `(G,)` first index of every group that is scaled on its own.
        encoding: "signed" puts zero at `LEVELS // 2` and the group's largest magnitude at an end; the others run from
            the group's least to its greatest value.
        fixed: lowest and highest value for every group, instead of the group's own; what is beyond is clipped.

    NaN, +Inf and -Inf have levels of their own and do not enter the scale. A group with a single value is level 0 where
    that value is 0, and `LEVELS // 2` elsewhere.
    """
    finite = np.isfinite(buffer)
    clean = buffer if finite.all() else np.where(finite, buffer, np.nan)
    if fixed is None:
        low = np.fmin.reduceat(clean, starts).astype(float)
        high = np.fmax.reduceat(clean, starts).astype(float)
    else:
        low, high = np.full(len(starts), float(fixed[0])), np.full(len(starts), float(fixed[1]))
    low, scale, base = _scale(low, high, encoding)
    counts = np.diff(starts, append=len(buffer))
    largest = max(np.abs(low).max(), np.nan_to_num(np.abs(high)).max(), scale.max())
    work = clean.astype(float) if largest > ROOMY else clean
    if fixed is not None:
        work = np.clip(work, low[0], low[0] + (LEVELS - 1) / scale[0]) if scale[0] else work
    dtype = work.dtype
    out = work - np.repeat(low.astype(dtype), counts)
    out *= np.repeat(scale.astype(dtype), counts)
    out += np.repeat((base + 0.5).astype(dtype), counts)
    if clean is buffer:
        return out.astype(np.intp)
    result = np.where(finite, out, 0).astype(np.intp)
    result[np.isnan(buffer)] = NAN
    result[np.isposinf(buffer)] = POS_INF
    result[np.isneginf(buffer)] = NEG_INF
    return result


def _scale(low: np.ndarray, high: np.ndarray, encoding: Encoding) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(low, scale, base)` such that `(value - low) * scale + base` is a level, each `(G,)` float64."""
    low, high = np.nan_to_num(low), np.nan_to_num(high)
    if encoding == "signed":
        reach = np.maximum(np.abs(low), np.abs(high))
        low, high = -reach, reach
    span = high - low
    flat = span <= np.finfo(np.float32).tiny
    scale = np.divide(LEVELS - 1, span, out=np.zeros_like(span), where=~flat)
    base = np.where(flat & ((low != 0) | (encoding == "signed")), LEVELS // 2, 0).astype(float)
    return low, scale, base


class Colouring:
    """Writes the values of the shown layers into a page.

    Args:
        items: the placements, in order.
        places: `(row, column)` of every placement's rectangle in the page.
        page: `(height, width, 4)` uint8 RGBA, written in place.
        tables: `(T, 2, ROW, 4)` uint8: look-up tables, for fronts and for the sides of cubes.
        table_of: for every placement, which of the `T` tables it uses: one, or one for each of its maps.
    """

    def __init__(
        self,
        items: list[Placement],
        places: list[tuple[int, int]],
        page: np.ndarray,
        tables: np.ndarray,
        table_of: list[tuple[int, ...]],
        scaling: Scaling,
    ) -> None:
        self.runs: list[Run] = []
        self._pictures: list[tuple[int, np.ndarray]] = []
        self._page = page.view(np.uint32).reshape(-1)
        self._table = np.ascontiguousarray(tables).view(np.uint32).reshape(-1)
        destinations, bases, side_source, side_dest, side_base = [], [], [], [], []
        width = page.shape[1]
        start = 0
        for item, place, i in zip(items, places, table_of, strict=True):
            target = _destinations(item, place, width)
            many = item.look in ("slabs", "sheet") or (item.look == "box" and item.true_colours)
            maps = item.shown_maps if scaling == "map" and many else 1
            self.runs.append(Run(item, start, start + len(target), maps if len(target) else 1))
            if item.true_colours and item.look == "box":
                self._pictures.append((start, target[: len(target) // 3]))
            else:
                destinations.append(target)
                bases.append(np.repeat(np.array(i, dtype=np.intp), len(target) // len(i)) * 2 * ROW)
            if item.look in ("cells", "cubes"):
                side_source.append(np.arange(start, start + len(target)))
                side_dest.append(target + width)
                side_base.append(np.full(len(target), (2 * i[0] + 1) * ROW, dtype=np.intp))
            start += len(target)
        self._by_table = _but(start, [(first, first + 3 * len(cells)) for first, cells in self._pictures])
        self._dest = _joined(destinations)
        self._base = _joined(bases)
        self._side = _joined(side_source), _joined(side_dest), _joined(side_base)
        filled = [run for run in self.runs if run.stop > run.start]
        self._starts = _joined([np.arange(r.start, r.stop, (r.stop - r.start) // r.maps) for r in filled])
        self.buffer = np.zeros(start, dtype=np.float32)

    def paint(self, encoding: Encoding, fixed: tuple[float, float] | None = None) -> None:
        """Colour the buffer's values and write them into the page."""
        if not len(self.buffer):
            return
        level = levels(self.buffer, self._starts, encoding, fixed)
        source, dest, base = self._side
        if len(source):
            self._page[dest] = self._table[level[source] + base]
        coloured = [(dest, self._true_colours(level, start, len(dest))) for start, dest in self._pictures]
        self._page[self._dest] = self._table[level[self._by_table] + self._base]
        for dest, texels in coloured:
            self._page[dest] = texels

    def _true_colours(self, level: np.ndarray, start: int, count: int) -> np.ndarray:
        """`(count,)` uint32 texels with the levels of three maps as red, green and blue; NaN and Inf as anywhere."""
        red, green, blue = channels = level[start : start + 3 * count].reshape(3, count)
        odd = channels.max(axis=0)
        special = bool(odd.max() >= LEVELS)
        if special:
            red, green, blue = np.minimum(channels, LEVELS - 1)
        texels = np.empty((count, 4), dtype=np.uint8)
        texels[:, 0], texels[:, 1], texels[:, 2], texels[:, 3] = red, green, blue, 255
        colours = texels.view(np.uint32).reshape(-1)
        return np.where(odd >= LEVELS, self._table[odd], colours) if special else colours

    def value_range(self, run: Run) -> tuple[float, float]:
        """The least and the greatest finite value of a run; `(0, 0)` where there is none."""
        part = self.buffer[run.start : run.stop]
        part = part[np.isfinite(part)]
        return (float(part.min()), float(part.max())) if part.size else (0.0, 0.0)


def _but(size: int, spans: list[tuple[int, int]]) -> slice | np.ndarray:
    """An index of `0..size` without those spans; a slice, which copies nothing, where they are at the beginning."""
    if not spans:
        return slice(None)
    if len(spans) == 1 and spans[0][0] == 0:
        return slice(spans[0][1], size)
    left = np.ones(size, dtype=bool)
    for first, end in spans:
        left[first:end] = False
    return np.flatnonzero(left)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.intp)


def _destinations(item: Placement, place: tuple[int, int], page_width: int) -> np.ndarray:
    """`(N,)` intp: the flat index in the page of every displayed value of the layer."""
    row, column = place
    if item.look in ("cells", "cubes"):
        count = min(item.maps.size, item.grid[0] * item.grid[1])
        return row * page_width + column + np.arange(count)
    h, w = item.drawn
    columns = item.grid[1] if item.look in ("slabs", "sheet") else 1
    count = item.shown_maps if item.look in ("slabs", "sheet") else 1
    cells = (np.arange(h)[:, None] * page_width + np.arange(w)).reshape(-1)
    index = np.arange(count)
    corner = (row + index // columns * (h + item.gap)) * page_width + column + index % columns * (w + item.gap)
    target = (corner[:, None] + cells).reshape(-1)
    if item.true_colours and item.look == "box":
        return np.tile(target, 3)
    return target[: item.shown_units] if item.maps.style == "vector" else target
