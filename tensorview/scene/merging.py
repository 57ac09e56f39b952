"""What feeds a cell of a layer that joins several parents: a sum, a product, a concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .parts import Source, along, cell, sample_axis

if TYPE_CHECKING:
    from ..capture import Layer

JOINS = ("cat", "concat", "concatenate", "hstack", "dstack")
PRODUCTS = ("matmul", "bmm", "mm", "mv", "dot", "addmm", "baddbmm", "einsum", "tensordot", "outer")


def merged(layer: Layer, index: tuple[int, ...], parent: Layer, every: Sequence[Layer]) -> Source | None:
    """The part of `parent`, one of `every`, that enters `layer.values[index]`; `None` where nothing of it does.

    Raises:
        KeyError, ValueError: the captured arguments do not say it.
    """
    name, rank = layer.module_type.lower(), len(index)
    if name in JOINS:
        return _joined(layer, index, parent, every)
    if name == "stack":
        place = sample_axis(layer.info.hyper["dim"], rank)
        owner = every[index[place]] if len(every) == layer.shape[place] else parent
        return cell(parent, index[:place] + index[place + 1 :]) if owner is parent else None
    if name in ("matmul", "bmm") and len(every) == 2 and rank >= 2 and len(parent.shape) == rank:
        return along(parent, index, {rank - 1 if parent is every[0] else rank - 2})
    if name in PRODUCTS or len(parent.shape) != rank:
        return Source(parent.name)
    return cell(parent, index)


def _joined(layer: Layer, index: tuple[int, ...], parent: Layer, every: Sequence[Layer]) -> Source | None:
    """A concatenation: the cell of the parent that owns it."""
    fixed = {"hstack": 0, "dstack": 1}.get(layer.module_type.lower())
    axis = fixed if fixed is not None else sample_axis(layer.info.hyper.get("dim", 1), len(index))
    sizes = [other.shape[axis] for other in every]
    if sum(sizes) == layer.shape[axis]:
        place = index[axis] - sum(sizes[: list(every).index(parent)])
        if not 0 <= place < parent.shape[axis]:
            return None
    elif len(every) == 1 and layer.shape[axis] % sizes[0] == 0:  # joined with itself
        place = index[axis] % sizes[0]
    else:
        return along(parent, index, {axis})
    return cell(parent, (*index[:axis], place, *index[axis + 1 :]))
