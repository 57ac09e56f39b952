"""How much of a trace is recorded: all of a small network, and of a large one what fits the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..capture import Layer, Trace

BUDGET = 1_000_000


def within_budget(trace: Trace, budget: int = BUDGET) -> Trace:
    """The trace with at most `budget` values.

    The smallest layers are kept as they are. The maps of a larger one are averaged over squares of cells, as far as it
    needs; its shape is then the smaller one. A parameter, whose average would say nothing, keeps its first rows. What
    does not fit even so loses its values. The trace's warnings say which layers that are.
    """
    layers = (*trace.inputs, *trace.layers)
    if sum(_size(layer) for layer in layers) <= budget:
        return trace
    most = _largest([_size(layer) for layer in layers], budget)
    notes: list[str] = []
    kept = [layer if _size(layer) <= most else _smaller(layer, most, notes) for layer in layers]
    changed = {old.name for old, new in zip(layers, kept, strict=True) if old.shape != new.shape}
    kept = [_without_window(layer) if changed & {layer.name, *layer.parents} else layer for layer in kept]
    inputs, rest = tuple(kept[: len(trace.inputs)]), tuple(kept[len(trace.inputs) :])
    return Trace(inputs, rest, trace.outputs, (*trace.warnings, *notes), trace.error, trace.model_name)


def _size(layer: Layer) -> int:
    return 0 if layer.values is None else layer.values.size


def _largest(sizes: Sequence[int], budget: int) -> int:
    """The most values that a layer may have so that all of them together stay within the budget."""
    left = budget
    ordered = sorted(sizes)
    for i, size in enumerate(ordered):
        if size * (len(ordered) - i) > left:
            return left // (len(ordered) - i)
        left -= size
    return ordered[-1]


def _smaller(layer: Layer, most: int, notes: list[str]) -> Layer:
    values = layer.values
    assert values is not None
    if layer.name.startswith(("weights/", "gradients/")):
        rows = most // max(1, math.prod(layer.shape[1:]))
        if layer.shape and rows:
            notes.append(f"of {layer.name} the first {rows} of {layer.shape[0]} rows are recorded")
            return replace(layer, values=values[:rows], shape=(rows, *layer.shape[1:]))
    elif len(layer.shape) > 1 and math.prod(layer.shape[:-2]) <= most:
        factor = 2
        while math.prod(_averaged_shape(layer.shape, factor)) > most:
            factor += 1
        notes.append(f"{layer.name} is recorded as the mean over {factor} × {factor} cells")
        return replace(layer, values=_averaged(values, factor), shape=_averaged_shape(layer.shape, factor))
    notes.append(f"the values of {layer.name} are not recorded: {values.size:,} of them are beyond the budget")
    return layer.with_values(None)


def _averaged_shape(shape: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return (*shape[:-2], math.ceil(shape[-2] / factor), math.ceil(shape[-1] / factor))


def _averaged(values: np.ndarray, factor: int) -> np.ndarray:
    """`(..., H, W)` averaged over squares of cells; at the edges over the cells that are there."""
    height, width = values.shape[-2:]
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    kept = values if values.dtype.kind == "f" else values.astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(kept, rows, axis=-2), columns, axis=-1)
    counts = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    return sums / counts.astype(kept.dtype)


def _without_window(layer: Layer) -> Layer:
    """The layer without the size of its window, which does not hold between averaged maps."""
    hyper = {name: value for name, value in layer.info.hyper.items() if name != "kernel_size"}
    return replace(layer, info=replace(layer.info, hyper=hyper))
