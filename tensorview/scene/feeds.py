"""What truly feeds a cell: the maps and the window of every parent that enter its value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..capture import Layer

Span = tuple[int, int]
SOFTMAX = ("Softmax", "LogSoftmax", "Softmin", "softmax", "log_softmax")


@dataclass(frozen=True)
class Source:
    """A part of a parent that enters a cell.

    Attributes:
        layer: name of the parent.
        channels: the maps along its first axis, `None` for all of the layer.
        spans: `(first, end)` along every further axis, end excluded; `None` for all of them.
    """

    layer: str
    channels: range | None = None
    spans: tuple[Span, ...] | None = None


def sources(layer: Layer, index: tuple[int, ...], parents: Mapping[str, Layer]) -> list[Source]:
    """The parts of `layer`'s parents that enter `layer.values[index]`.

    A convolution reads its window of all maps of its group; pooling, padding and up-sampling their window of the same map;
    an activation, a normalisation over the batch and dropout the same cell; a linear layer all features; a reshape the
    cell that it moved; a concatenation the parent that owns the map; a sum or a product the same cell of every parent.
    Anything else reads all of every parent.
    """
    found = []
    for name in layer.parents:
        parent = parents[name]
        try:
            source = _source(layer, index, parent, parents)
        except (KeyError, ValueError, TypeError, IndexError):
            source = Source(name)
        if source is not None:
            found.append(source)
    return found


def _source(layer: Layer, index: tuple[int, ...], parent: Layer, parents: Mapping[str, Layer]) -> Source | None:
    hyper = layer.info.hyper
    same_rank = len(parent.shape) == len(layer.shape)
    if layer.kind == "convolution" and same_rank:
        return _convolution(layer, index, parent, hyper)
    if layer.kind == "pooling" and same_rank:
        return Source(parent.name, _one(index[0]), _pooled(layer, index, parent, hyper))
    if layer.kind in ("activation", "normalization", "dropout") and parent.shape == layer.shape:
        if layer.module_type in SOFTMAX or layer.module_type in ("LayerNorm", "layer_norm"):
            return Source(parent.name, _one(index[0]) if len(index) > 1 else None)
        return _cell(parent, index)
    if layer.kind == "linear" and same_rank:
        return Source(parent.name, None if len(index) == 1 else _one(index[0]))
    if layer.kind in ("reshape", "padding") and math.prod(parent.shape) == math.prod(layer.shape):
        flat = int(np.ravel_multi_index(index, layer.shape))
        return _cell(parent, tuple(int(i) for i in np.unravel_index(flat, parent.shape)))
    if layer.kind == "upsampling" and same_rank:
        spans = tuple(_scaled(i, n, m) for i, n, m in zip(index[1:], layer.shape[1:], parent.shape[1:], strict=True))
        return Source(parent.name, _one(index[0]), spans)
    if layer.kind == "merge":
        return _merged(layer, index, parent, parents)
    return Source(parent.name)


def _one(channel: int) -> range:
    return range(channel, channel + 1)


def _cell(parent: Layer, index: tuple[int, ...]) -> Source:
    if not index:
        return Source(parent.name)
    return Source(parent.name, _one(index[0]), tuple((i, i + 1) for i in index[1:]))


def _per_axis(value: object, axes: int) -> tuple[int, ...]:
    """A hyper-parameter for every axis: `3` is `(3, 3)` for two."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        every = tuple(int(v) for v in value)
        return every if len(every) == axes else every * axes
    return (int(value),) * axes  # type: ignore[call-overload]


def _convolution(layer: Layer, index: tuple[int, ...], parent: Layer, hyper: Mapping[str, object]) -> Source:
    groups = int(hyper.get("groups", 1) or 1)  # type: ignore[call-overload]
    per_in, per_out = parent.shape[0] // groups, layer.shape[0] // groups
    group = index[0] // per_out
    channels = range(group * per_in, (group + 1) * per_in)
    axes = len(index) - 1
    kernel = _per_axis(hyper["kernel_size"], axes)
    stride = _per_axis(hyper.get("stride", 1), axes)
    dilation = _per_axis(hyper.get("dilation", 1), axes)
    padding = _padding(hyper.get("padding", 0), kernel, dilation, axes)
    transposed = "Transpose" in layer.module_type or "transpose" in layer.module_type
    spans = []
    for axis, place in enumerate(index[1:]):
        k, s, d, p = kernel[axis], stride[axis], dilation[axis], padding[axis]
        if transposed:
            span = -(-(place + p - d * (k - 1)) // s), (place + p) // s + 1
        else:
            span = place * s - p, place * s - p + d * (k - 1) + 1
        spans.append(_clipped(span, parent.shape[axis + 1]))
    return Source(parent.name, channels, tuple(spans))


def _padding(value: object, kernel: tuple[int, ...], dilation: tuple[int, ...], axes: int) -> tuple[int, ...]:
    if value == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return (0,) * axes if value == "valid" else _per_axis(value, axes)


def _pooled(layer: Layer, index: tuple[int, ...], parent: Layer, hyper: Mapping[str, object]) -> tuple[Span, ...]:
    if "kernel_size" not in hyper:
        return tuple(_scaled(i, n, m) for i, n, m in zip(index[1:], layer.shape[1:], parent.shape[1:], strict=True))
    axes = len(index) - 1
    kernel = _per_axis(hyper["kernel_size"], axes)
    stride = _per_axis(hyper.get("stride") or hyper["kernel_size"], axes)
    dilation = _per_axis(hyper.get("dilation", 1) or 1, axes)
    padding = _per_axis(hyper.get("padding", 0) or 0, axes)
    return tuple(
        _clipped((place * s - p, place * s - p + d * (k - 1) + 1), size)
        for place, k, s, d, p, size in zip(index[1:], kernel, stride, dilation, padding, parent.shape[1:], strict=True)
    )


def _scaled(place: int, size: int, parent_size: int) -> Span:
    """The cells that an adaptive window covers: `floor(i n / m)` to `ceil((i + 1) n / m)`, as torch defines it."""
    return place * parent_size // size, -(-(place + 1) * parent_size // size)


def _clipped(span: Span, size: int) -> Span:
    low, high = max(0, min(span[0], size)), max(0, min(span[1], size))
    return low, max(low, high)


def _merged(layer: Layer, index: tuple[int, ...], parent: Layer, parents: Mapping[str, Layer]) -> Source | None:
    every = [parents[name] for name in layer.parents]
    joined = [p.shape for p in every]
    if layer.module_type in ("cat", "concat", "concatenate") and sum(s[0] for s in joined) == layer.shape[0]:
        offset = 0
        for other in every:
            if other is parent:
                place = index[0] - offset
                return _cell(parent, (place, *index[1:])) if 0 <= place < parent.shape[0] else None
            offset += other.shape[0]
    if len(parent.shape) == len(index):
        return _cell(parent, tuple(min(i, n - 1) for i, n in zip(index, parent.shape, strict=True)))
    return Source(parent.name)
