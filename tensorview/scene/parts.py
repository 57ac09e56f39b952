"""A part of a layer's values: one cell, some along an axis, or a window."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .windows import Span

if TYPE_CHECKING:
    from ..capture import Layer


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


def part(parent: Layer, spans: Sequence[Span]) -> Source:
    """The cells between `spans`, one for every axis of the parent."""
    return Source(parent.name, range(*spans[0]), tuple(spans[1:]))


def cell(parent: Layer, index: tuple[int, ...]) -> Source:
    return along(parent, index, ())


def along(parent: Layer, index: tuple[int, ...], axes: Collection[int]) -> Source:
    """The cell `index` of the parent together with all others along `axes`; a size of 1 stands for every index."""
    pairs = enumerate(zip(index, parent.shape, strict=True))
    spans = [(0, n) if k in axes else (min(i, n - 1), min(i, n - 1) + 1) for k, (i, n) in pairs]
    return part(parent, spans)


def sample_axis(dim: Any, rank: int) -> int:
    """The axis of a sample's values for torch's `dim`, which counts the batch dimension as 0."""
    place = int(dim) - 1 if dim > 0 else rank + int(dim)
    if dim == 0 or not 0 <= place < rank:
        raise ValueError(f"dimension {dim} is not one of the {rank} of a sample")
    return place
