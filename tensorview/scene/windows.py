"""Which cells along one axis of a parent enter a cell of its child; every span is `(first, end)`, the end excluded."""

from __future__ import annotations

import math
from collections.abc import Iterable

Span = tuple[int, int]


def per_axis(value: object, axes: int) -> tuple[int, ...]:
    """A hyper-parameter for every axis: `3` is `(3, 3)` for two."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        every = tuple(int(v) for v in value)
        return every if len(every) == axes else every * axes
    return (int(value),) * axes  # type: ignore[call-overload]


def hull(cells: Iterable[int]) -> Span:
    """From the first to the last of the cells; those below 0 are none."""
    inside = [i for i in cells if i >= 0]
    return (min(inside), max(inside) + 1) if inside else (0, 0)


def kernel_span(
    place: int, kernel: int, stride: int, dilation: int, padding: int, size: int, mode: str = "zeros"
) -> Span:
    """The window of a convolution or a pooling, from its first to its last cell; `mode` as in `padded`."""
    first = place * stride - padding
    return hull(padded(first + dilation * tap, size, mode) for tap in range(kernel))


def transposed_span(place: int, kernel: int, stride: int, dilation: int, padding: int, size: int) -> Span:
    """The cells that a transposed convolution spreads to `place`: `i stride - padding + tap dilation` for some tap."""
    reached = (divmod(place + padding - dilation * tap, stride) for tap in range(kernel))
    return hull(i for i, rest in reached if rest == 0 and i < size)


def scaled_span(place: int, size: int, parent_size: int) -> Span:
    """An adaptive window: `floor(i n / m)` to `ceil((i + 1) n / m)`, as torch defines it."""
    return place * parent_size // size, -(-(place + 1) * parent_size // size)


def resampled_span(place: int, size: int, parent_size: int, mode: str, ratio: float, align: bool) -> Span:
    """The cells that an interpolation blends, as torch defines its modes.

    Args:
        ratio: cells of the parent for one of the child.
        align: whether the middles of the corner cells fall on each other (`align_corners`).
    """
    if mode == "area":
        return scaled_span(place, size, parent_size)
    if mode.startswith("nearest"):
        at = min(math.floor((place + (0.5 if mode == "nearest-exact" else 0.0)) * ratio), parent_size - 1)
        return at, at + 1
    reach = 2 if mode == "bicubic" else 1
    if align:
        middle = place * (parent_size - 1) / (size - 1) if size > 1 else 0.0
    else:
        middle = (place + 0.5) * ratio - 0.5
        middle = max(middle, 0.0) if reach == 1 else middle
    low = math.floor(middle)
    first, last = (low, low) if middle == low else (low - reach + 1, low + reach)
    at_edge = min(max(first, 0), parent_size - 1), min(max(last, 0), parent_size - 1)
    return at_edge[0], at_edge[1] + 1


def padded(at: int, size: int, mode: str) -> int:
    """The cell that stands at the place `at` of a padded axis; -1 where a constant does.

    Args:
        mode: "reflect", "replicate" or "circular"; anything else pads with a constant.
    """
    if mode == "reflect" and size > 1:
        at %= 2 * size - 2
        return min(at, 2 * size - 2 - at)
    if mode == "replicate":
        return min(max(at, 0), size - 1)
    if mode == "circular":
        return at % size
    return at if 0 <= at < size else -1
