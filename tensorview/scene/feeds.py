"""What truly feeds a cell: the maps and the window of every parent that enter its value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .merging import PRODUCTS, merged
from .parts import Source, along, cell, part, sample_axis
from .windows import (
    kernel_span,
    padded,
    per_axis,
    resampled_span,
    scaled_span,
    transposed_span,
)

if TYPE_CHECKING:
    from ..capture import Layer

SOFTMAX = ("Softmax", "LogSoftmax", "Softmin", "softmax", "log_softmax", "softmin", "gumbel_softmax")
REDUCTIONS = ("mean", "sum", "amax", "amin", "max", "min", "logsumexp")
AXIS_MOVES = ("permute", "transpose", "swapaxes", "movedim", "Permute")


def sources(layer: Layer, index: tuple[int, ...], parents: Mapping[str, Layer]) -> list[Source]:
    """The parts of `layer`'s parents that enter `layer.values[index]`.

    A convolution reads its window of all maps of its group; pooling, padding and up-sampling their window of the same
    map; an activation, a normalisation over the batch and dropout the same cell; a softmax or another normalisation
    what it normalises over; a linear layer all features; a reshape the cell that it moved; a concatenation the parent
    that owns the map; a sum or a product the same cell of every parent; arithmetic with constants, where that is what
    the model returned, the same cell. Anything else reads all of every parent.
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
    if not index or not parent.shape:
        return Source(parent.name)
    if layer.kind == "merge":
        return merged(layer, index, parent, [parents[name] for name in layer.parents])
    if layer.module_type == "Identity":
        return cell(parent, index)
    rule = _RULES.get(layer.kind)
    return rule(layer, index, parent) if rule else Source(parent.name)


def _convolution(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    hyper = layer.info.hyper
    groups = int(hyper.get("groups", 1))
    per_in, per_out = parent.shape[0] // groups, layer.shape[0] // groups
    group = index[0] // per_out
    axes = len(index) - 1
    kernel, stride = per_axis(hyper["kernel_size"], axes), per_axis(hyper.get("stride", 1), axes)
    dilation = per_axis(hyper.get("dilation", 1), axes)
    padding = padding_of(hyper.get("padding", 0), kernel, dilation, axes)
    taps = list(zip(index[1:], kernel, stride, dilation, padding, parent.shape[1:], strict=True))
    if "transpose" in layer.module_type.lower():
        spans = [transposed_span(*each) for each in taps]
    else:
        mode = str(hyper.get("padding_mode", "zeros"))
        spans = [kernel_span(i, k, s, d, p, n, mode) for i, k, s, d, p, n in taps]
    return part(parent, [(group * per_in, (group + 1) * per_in), *spans])


def padding_of(value: object, kernel: tuple[int, ...], dilation: tuple[int, ...], axes: int) -> tuple[int, ...]:
    if value == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return (0,) * axes if value == "valid" else per_axis(value, axes)


def _pooled(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    hyper = layer.info.hyper
    if layer.module_type in REDUCTIONS:
        return _reduced(layer, index, parent)
    if "ractional" in layer.module_type:
        return along(parent, (index[0], *(0,) * (len(index) - 1)), range(1, len(index)))
    if "kernel_size" not in hyper:
        if len(index) == 1:  # all of a map, whose axes are gone
            return along(parent, (index[0], *(0,) * (len(parent.shape) - 1)), range(1, len(parent.shape)))
        sizes = zip(index[1:], layer.shape[1:], parent.shape[1:], strict=True)
        return part(parent, [(index[0], index[0] + 1), *(scaled_span(*each) for each in sizes)])
    axes = len(index) - 1
    window = zip(
        index[1:],
        per_axis(hyper["kernel_size"], axes),
        per_axis(hyper.get("stride") or hyper["kernel_size"], axes),
        per_axis(hyper.get("dilation", 1), axes),
        per_axis(hyper.get("padding", 0), axes),
        parent.shape[1:],
        strict=True,
    )
    return part(parent, [(index[0], index[0] + 1), *(kernel_span(*each) for each in window)])


def _reduced(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    """A mean, sum or maximum: all along the axes that it took away, or left with a size of 1."""
    dims = layer.info.hyper["dim"]
    rank = len(parent.shape)
    axes = {sample_axis(d, rank) for d in (dims if isinstance(dims, (tuple, list)) else (dims,))}
    if len(index) != rank:
        rest = iter(index)
        index = tuple(0 if k in axes else next(rest) for k in range(rank))
    return along(parent, index, axes)


def _activation(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    if layer.module_type == "Softmax2d":
        return along(parent, index, {0})
    if layer.module_type in SOFTMAX:
        return along(parent, index, {sample_axis(layer.info.hyper["dim"], len(index))})
    return cell(parent, index) if parent.shape == layer.shape else Source(parent.name)


def _normalised(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    name, hyper, rank = layer.module_type.lower(), layer.info.hyper, len(index)
    if name == "layernorm2d":
        return along(parent, index, {0})
    if name in ("layernorm", "layer_norm", "rmsnorm", "rms_norm"):
        return along(parent, index, range(rank - len(hyper["normalized_shape"]), rank))
    if name.startswith(("instancenorm", "lazyinstancenorm", "instance_norm")):
        return along(parent, index, range(1, rank))
    if name in ("groupnorm", "group_norm"):
        size = parent.shape[0] // int(hyper["num_groups"])
        first = index[0] // size * size
        return part(parent, [(first, first + size), *((0, n) for n in parent.shape[1:])])
    if name in ("localresponsenorm", "local_response_norm"):
        low, high = index[0] - int(hyper["size"]) // 2, index[0] + (int(hyper["size"]) - 1) // 2 + 1
        return part(parent, [(max(0, low), min(high, parent.shape[0])), *((i, i + 1) for i in index[1:])])
    if name == "normalize":
        return along(parent, index, {sample_axis(hyper.get("dim", 1), rank)})
    return cell(parent, index) if "batch" in name else Source(parent.name)


def _linear(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    if layer.module_type in PRODUCTS or len(index) == 1:
        return Source(parent.name)
    return along(parent, index, {len(index) - 1})


def _moved(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    """A reshape moves every cell; which one stands at `index`?"""
    name = layer.module_type
    if name in AXIS_MOVES:
        order = axis_order(layer, parent)
        return cell(parent, tuple(index[order.index(k)] for k in range(len(index))))
    if name in ("ChannelShuffle", "channel_shuffle"):
        groups = int(layer.info.hyper["groups"])
        place = index[0] % groups * (parent.shape[0] // groups) + index[0] // groups
        return cell(parent, (place, *index[1:]))
    if name in ("PixelUnshuffle", "pixel_unshuffle"):
        factor = int(layer.info.hyper["downscale_factor"])
        channel, inside = divmod(index[0], factor * factor)
        row, column = index[1] * factor + inside // factor, index[2] * factor + inside % factor
        return cell(parent, (channel, row, column))
    if name.lower() in ("fold", "unfold") or math.prod(parent.shape) != math.prod(layer.shape):
        return Source(parent.name)
    flat = int(np.ravel_multi_index(index, layer.shape))
    order = layer.info.hyper.get("axis_order", range(len(parent.shape)))  # in which the parent's axes were laid out
    found = dict(zip(order, np.unravel_index(flat, tuple(parent.shape[k] for k in order)), strict=True))
    return cell(parent, tuple(int(found[k]) for k in range(len(parent.shape))))


def axis_order(layer: Layer, parent: Layer) -> list[int]:
    """Which of the parent's axes every axis of the layer was.

    Raises:
        ValueError: it is not recorded, and the sizes do not say it.
    """
    dims = layer.info.hyper.get("dims")
    if dims is not None:
        return [sample_axis(d, len(parent.shape)) for d in dims[1:]]
    if len(set(parent.shape)) != len(parent.shape) or sorted(parent.shape) != sorted(layer.shape):
        raise ValueError(f"the axes of {parent.shape} and {layer.shape} do not match in one way only")
    return [parent.shape.index(n) for n in layer.shape]


def _padded(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source | None:
    before, mode = pads_before(layer), padding_mode(layer)
    if before is None:
        return along(parent, index, [k for k, n in enumerate(layer.shape) if n != parent.shape[k]])
    at = tuple(padded(i - b, n, mode) for i, b, n in zip(index, before, parent.shape, strict=True))
    return None if min(at) < 0 else cell(parent, at)


def pads_before(layer: Layer) -> list[int] | None:
    """The cells that a padding adds before the first one of every axis, `None` where that is not recorded."""
    hyper, rank = layer.info.hyper, len(layer.shape)
    pads = hyper.get("padding", hyper.get("pad"))
    if pads is None:
        return None
    pads = per_axis(pads, 2 * (rank - 1)) if isinstance(pads, int) else tuple(pads)
    # torch lists pairs from the last axis to the first.
    return [pads[2 * (rank - 1 - k)] if 2 * (rank - 1 - k) < len(pads) else 0 for k in range(rank)]


def padding_mode(layer: Layer) -> str:
    """What a padding adds, as `windows.padded` takes it."""
    name = layer.module_type.lower()
    modes = {"reflect": "reflect", "replic": "replicate", "circular": "circular"}
    return next(
        (mode for start, mode in modes.items() if name.startswith(start)), str(layer.info.hyper.get("mode", ""))
    )


def _upsampled(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    name, hyper = layer.module_type, layer.info.hyper
    if name in ("PixelShuffle", "pixel_shuffle"):
        factor = int(hyper["upscale_factor"])
        channel = (index[0] * factor + index[1] % factor) * factor + index[2] % factor
        return cell(parent, (channel, index[1] // factor, index[2] // factor))
    if name == "grid_sample":
        return Source(parent.name)
    sizes = list(zip(index[1:], layer.shape[1:], parent.shape[1:], strict=True))
    if "npool" in name:
        spans = [scaled_span(*each) for each in sizes]
    else:
        scale = hyper.get("scale_factor")
        factors = scale if isinstance(scale, (tuple, list)) else [scale] * len(sizes)
        ratios = [1 / f if f else n / m for f, (_, m, n) in zip(factors, sizes, strict=True)]
        mode = hyper.get("mode", "bilinear" if "ilinear" in name else "nearest")
        align = bool(hyper.get("align_corners", "ilinear" in name))
        spans = [resampled_span(*each, mode, ratio, align) for each, ratio in zip(sizes, ratios, strict=True)]
    return part(parent, [(index[0], index[0] + 1), *spans])


def _embedded(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    return cell(parent, index[:-1]) if layer.shape[:-1] == parent.shape else Source(parent.name)


def _other(layer: Layer, index: tuple[int, ...], parent: Layer) -> Source:
    same = layer.info.hyper.get("cellwise") and parent.shape == layer.shape
    return cell(parent, index) if same else Source(parent.name)


_RULES: dict[str, Callable[[Layer, tuple[int, ...], Layer], Source | None]] = {
    "convolution": _convolution,
    "pooling": _pooled,
    "activation": _activation,
    "normalization": _normalised,
    "dropout": lambda layer, index, parent: cell(parent, index),
    "linear": _linear,
    "reshape": _moved,
    "padding": _padded,
    "upsampling": _upsampled,
    "embedding": _embedded,
    "other": _other,
}
