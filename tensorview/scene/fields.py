"""The receptive field: which cells of every earlier layer can change a cell.

A layer's part is a set of places along every axis; its cells are all combinations of them. For a chain of
convolutions and poolings that is exact, with the holes that strides and dilations leave. Where branches meet, it is the
smallest such part that holds what all of them see.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .feeds import AXIS_MOVES, REDUCTIONS, SOFTMAX, axis_order, padding_mode, padding_of, pads_before, sources
from .merging import JOINS, PRODUCTS
from .parts import sample_axis
from .windows import padded, per_axis

if TYPE_CHECKING:
    from ..capture import Layer

Places = range | tuple[int, ...]
Cells = tuple[Places, ...]
Rule = Callable[[Cells], Cells | None]

# A part of more cells than this is taken to see all through a reshape, or through one that is asked cell by cell.
MOST_FOLLOWED = 50_000
MOST_ASKED = 200


@dataclass(frozen=True)
class Region:
    """The part of a layer that a cell sees.

    Attributes:
        layer: its name.
        places: along every axis of its values the places that are seen, in rising order.
        shape: of its values.
    """

    layer: str
    places: Cells
    shape: tuple[int, ...]

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """From the first place to behind the last along every axis."""
        return tuple((places[0], places[-1] + 1) for places in self.places)

    @property
    def is_all(self) -> bool:
        return all(len(places) == n for places, n in zip(self.places, self.shape, strict=True))


class Fields:
    """The receptive fields in one network.

    Args:
        layers: inputs first, in execution order.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        # Without values: a scene outlives the trace that it was built from.
        self._layers = [layer.with_values(None) for layer in layers]
        self._index = {layer.name: i for i, layer in enumerate(layers)}
        self._rules: dict[int, list[tuple[int, Rule]]] = {}

    def of(self, name: str, cells: Cells) -> dict[str, Region]:
        """What `cells` of a layer see of every layer before it, by name, from the last to the first."""
        found = {self._index[name]: cells}
        regions: dict[str, Region] = {}
        for i in range(self._index[name], -1, -1):
            if i not in found:
                continue
            seen, layer = found.pop(i), self._layers[i]
            if layer.name != name:
                regions[layer.name] = Region(layer.name, seen, layer.shape)
            for parent, rule in self._of_layer(i):
                part = rule(seen)
                if part is not None:
                    found[parent] = _union(found[parent], part) if parent in found else part
        return regions

    def _of_layer(self, i: int) -> list[tuple[int, Rule]]:
        if i not in self._rules:
            layer = self._layers[i]
            parents = {name: self._layers[self._index[name]] for name in layer.parents if name in self._index}
            self._rules[i] = [(self._index[name], _rule(layer, parent, parents)) for name, parent in parents.items()]
        return self._rules[i]


def _rule(layer: Layer, parent: Layer, parents: Mapping[str, Layer]) -> Rule:
    """How places of a layer become places of one of its parents; whatever is not understood sees all of it."""
    if not layer.shape or not parent.shape:
        return _all_of(parent)
    make = _MAKERS.get(layer.kind)
    try:
        rule = make(layer, parent, parents) if make else None
    except (KeyError, ValueError, TypeError, IndexError):
        rule = None
    return rule or _by_corners(layer, parent, parents)


def _all_of(parent: Layer) -> Rule:
    whole = tuple(range(n) for n in parent.shape)
    return lambda cells: whole


def _same(cells: Cells) -> Cells:
    return cells


def _windows(layer: Layer, parent: Layer, _parents: Mapping[str, Layer]) -> Rule | None:
    """Of a convolution or a pooling; `None` for those without a window of a fixed size."""
    hyper, axes = layer.info.hyper, len(layer.shape) - 1
    name = layer.module_type.lower()
    if "kernel_size" not in hyper or "ractional" in name or layer.module_type in REDUCTIONS:
        return None
    mode = "transpose" if "transpose" in name else str(hyper.get("padding_mode", "zeros"))
    kernel = per_axis(hyper["kernel_size"], axes)
    stride = per_axis(hyper.get("stride") or (hyper["kernel_size"] if layer.kind == "pooling" else 1), axes)
    dilation = per_axis(hyper.get("dilation", 1), axes)
    padding = padding_of(hyper.get("padding", 0), kernel, dilation, axes)
    taps = list(zip(kernel, stride, dilation, padding, parent.shape[1:], strict=True))
    groups = int(hyper.get("groups", 1)) if layer.kind == "convolution" else layer.shape[0]
    per_in, per_out = parent.shape[0] // groups, layer.shape[0] // groups

    def rule(cells: Cells) -> Cells | None:
        channels = _groups(cells[0], per_in, per_out)
        found = (channels, *(_window(places, *tap, mode) for places, tap in zip(cells[1:], taps, strict=True)))
        return found if all(found) else None

    return rule


def _groups(channels: Places, per_in: int, per_out: int) -> Places:
    if per_in == per_out == 1:
        return channels
    groups = _tidy({c // per_out for c in channels}) if len(channels) > 1 else (channels[0] // per_out,)
    if len(groups) == groups[-1] - groups[0] + 1:
        return range(groups[0] * per_in, (groups[-1] + 1) * per_in)
    return tuple(g * per_in + k for g in groups for k in range(per_in))


def _window(places: Places, kernel: int, stride: int, dilation: int, padding: int, size: int, mode: str) -> Places:
    """The places that windows read; `mode` as in `windows.padded`, or "transpose" for what spreads to `places`."""
    if mode == "transpose":
        tapped = (divmod(p + padding - dilation * tap, stride) for p in places for tap in range(kernel))
        return _tidy({at for at, rest in tapped if rest == 0 and 0 <= at < size})
    whole = isinstance(places, range) and (len(places) == 1 or stride <= kernel)
    if whole and dilation == 1 and mode == "zeros":
        return range(max(0, places[0] * stride - padding), min(size, places[-1] * stride - padding + kernel))
    reached = {p * stride - padding + dilation * tap for p in places for tap in range(kernel)}
    return _tidy({padded(at, size, mode) for at in reached} - {-1})


def _tidy(places: set[int]) -> Places:
    """In rising order; as a range where there is no hole."""
    if not places:
        return ()
    low, high = min(places), max(places)
    return range(low, high + 1) if high - low + 1 == len(places) else tuple(sorted(places))


def _union(a: Cells, b: Cells) -> Cells:
    return tuple(_both(x, y) for x, y in zip(a, b, strict=True))


def _both(a: Places, b: Places) -> Places:
    if a == b:
        return a
    if isinstance(a, range) and isinstance(b, range) and a[0] <= b[-1] + 1 and b[0] <= a[-1] + 1:
        return range(min(a[0], b[0]), max(a[-1], b[-1]) + 1)
    return _tidy({*a, *b})


def _pointwise(layer: Layer, parent: Layer, _parents: Mapping[str, Layer]) -> Rule | None:
    """Of a layer that keeps every cell where it is."""
    name = layer.module_type
    alone = layer.kind == "dropout" or "batch" in name.lower() or name == "Identity"
    if layer.kind == "activation":
        alone = name not in SOFTMAX and name != "Softmax2d"
    return _same if alone and parent.shape == layer.shape else None


def _merged(layer: Layer, parent: Layer, parents: Mapping[str, Layer]) -> Rule | None:
    """Of a sum or product, with sizes of 1 that stand for every place, or of a concatenation."""
    name, rank = layer.module_type, len(layer.shape)
    if name in JOINS:
        return _joined(layer, parent, list(parents.values()))
    if name in PRODUCTS or name == "stack" or len(parent.shape) != rank:
        return None
    if parent.shape == layer.shape:
        return _same
    return lambda cells: tuple(range(1) if n == 1 else places for places, n in zip(cells, parent.shape, strict=True))


def _joined(layer: Layer, parent: Layer, every: Sequence[Layer]) -> Rule | None:
    fixed = {"hstack": 0, "dstack": 1}.get(layer.module_type)
    axis = fixed if fixed is not None else sample_axis(layer.info.hyper.get("dim", 1), len(layer.shape))
    sizes = [other.shape[axis] for other in every]
    if sum(sizes) != layer.shape[axis]:
        return _all_of(parent)
    first = sum(sizes[: every.index(parent)])
    last = first + parent.shape[axis]

    def rule(cells: Cells) -> Cells | None:
        places = cells[axis]
        if isinstance(places, range):
            own: Places = range(max(places[0], first) - first, min(places[-1] + 1, last) - first)
        else:
            own = _tidy({p - first for p in places if first <= p < last})
        return (*cells[:axis], own, *cells[axis + 1 :]) if own else None

    return rule


def _features(layer: Layer, parent: Layer, _parents: Mapping[str, Layer]) -> Rule | None:
    """Of a linear layer: all features of the same token."""
    if layer.module_type in PRODUCTS or len(parent.shape) != len(layer.shape):
        return _all_of(parent)
    return lambda cells: (*cells[:-1], range(parent.shape[-1]))


def _moved(layer: Layer, parent: Layer, parents: Mapping[str, Layer]) -> Rule | None:
    """Of a reshape: the axes in another order, or the same cells under other indices."""
    if layer.module_type in AXIS_MOVES:
        order = axis_order(layer, parent)
        return lambda cells: tuple(cells[order.index(k)] for k in range(len(order)))
    # `reshape` and its like keep the order of the values; what else is of this kind is asked cell by cell.
    plain = layer.module_type.lower() in KEEPING and "axis_order" not in layer.info.hyper
    if not plain or math.prod(parent.shape) != math.prod(layer.shape):
        return _by_cells(layer, parent, parents)

    def rule(cells: Cells) -> Cells:
        if all(len(places) == n for places, n in zip(cells, layer.shape, strict=True)):
            return tuple(range(n) for n in parent.shape)
        if math.prod(map(len, cells)) > MOST_FOLLOWED:
            return tuple(range(n) for n in parent.shape)
        flat = np.ravel_multi_index(np.ix_(*map(np.asarray, cells)), layer.shape).reshape(-1)
        return tuple(_tidy(set(np.unique(axis).tolist())) for axis in np.unravel_index(flat, parent.shape))

    return rule


def _padded(layer: Layer, parent: Layer, _parents: Mapping[str, Layer]) -> Rule | None:
    before, mode = pads_before(layer), padding_mode(layer)
    if before is None:
        return None

    def rule(cells: Cells) -> Cells | None:
        axes = zip(cells, before, parent.shape, strict=True)
        found = tuple(_tidy({padded(p - b, n, mode) for p in places} - {-1}) for places, b, n in axes)
        return found if all(found) else None

    return rule


KEEPING = ("flatten", "unflatten", "reshape", "view", "squeeze", "unsqueeze", "ravel")


def _by_cells(layer: Layer, parent: Layer, parents: Mapping[str, Layer]) -> Rule:
    """From what feeds every cell of a small part; a large one sees all."""
    whole = tuple(range(n) for n in parent.shape)

    def rule(cells: Cells) -> Cells | None:
        if math.prod(map(len, cells)) > MOST_ASKED:
            return whole
        found: Cells | None = None
        for index in itertools.product(*cells):
            for seen in sources(layer, index, parents):
                if seen.layer != parent.name:
                    continue
                if seen.channels is None or seen.spans is None:
                    return whole
                part = (seen.channels, *(range(*span) for span in seen.spans))
                found = _union(found, part) if found else part
        return found

    return rule


def _by_corners(layer: Layer, parent: Layer, parents: Mapping[str, Layer]) -> Rule:
    """From what feeds the first and the last cell of a part: all between, for windows that move along with the cell."""

    def rule(cells: Cells) -> Cells | None:
        corners = ([p[0] for p in cells], [p[-1] for p in cells])
        seen = [s for c in corners for s in sources(layer, tuple(c), parents) if s.layer == parent.name]
        if len(seen) < len(corners) or any(s.channels is None or s.spans is None for s in seen):
            return tuple(range(n) for n in parent.shape)
        spans = [
            ((s.channels.start, s.channels.stop), *s.spans)
            for s in seen
            if s.channels is not None and s.spans is not None
        ]
        if not all(cells) or any(a >= b for each in spans for a, b in each):
            return tuple(range(n) for n in parent.shape)
        return tuple(range(min(a for a, _ in axis), max(b for _, b in axis)) for axis in zip(*spans, strict=True))

    return rule


_MAKERS: dict[str, Callable[[Layer, Layer, Mapping[str, Layer]], Rule | None]] = {
    "convolution": _windows,
    "pooling": _windows,
    "activation": _pointwise,
    "normalization": _pointwise,
    "dropout": _pointwise,
    "merge": _merged,
    "linear": _features,
    "reshape": _moved,
    "padding": _padded,
}
