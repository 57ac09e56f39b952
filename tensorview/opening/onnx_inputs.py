"""What an ONNX model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor

from ..errors import OpenError
from .preprocessing import check_count
from .wired import Entry

_COLOURS = (1, 3, 4)
_NO_NUMBERS = (TensorProto.STRING, TensorProto.UNDEFINED)

Dimension = int | str | None


@dataclass(frozen=True, eq=False)
class ImageEntry(Entry):
    """An input of an ONNX graph.

    Attributes:
        channels_last: the graph takes (N, H, W, C), and `shape` is (C, H, W).
        batched: whether the graph's first dimension is the batch.
    """

    channels_last: bool = False
    batched: bool = True

    def undo(self) -> None:
        """Hand images to the graph as they are: it begins with what `arrange` would have undone."""
        object.__setattr__(self, "arrange", None)

    def example(self, generator: np.random.Generator) -> np.ndarray:
        """A made-up input for the graph: noise, or zeros for whole numbers."""
        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        shape = (1, *self.shape)
        values = generator.random(shape) if dtype.kind == "f" else np.zeros(shape)
        tensor = torch.from_numpy(values.astype(dtype))
        return np.ascontiguousarray((tensor if self.arrange is None else self.arrange(tensor)).numpy())


def read_entries(model: ModelProto, name: str, input_shape: tuple[int, ...] | None) -> list[ImageEntry]:
    """The inputs of a model; those of a free batch size get a batch of 1.

    Raises:
        OpenError: a size is free and not given, what is given does not fit, or an input holds no numbers.
    """
    weights = {each.name for each in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if not inputs:
        raise OpenError(f"{name} has no input.")
    sizes: dict[str, int] = {}
    first = _entry(inputs[0], name, input_shape, sizes, is_first=True)
    return [first, *(_entry(value, name, None, sizes, is_first=False) for value in inputs[1:])]


def _entry(
    value: ValueInfoProto, name: str, given: tuple[int, ...] | None, sizes: dict[str, int], is_first: bool
) -> ImageEntry:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type in _NO_NUMBERS:
        raise OpenError(f"{name} takes {value.name!r}, which is no tensor of numbers.")
    dtype = _dtype(kind.elem_type, f"{name} takes {value.name!r}")
    if not kind.HasField("shape"):
        if given is None and is_first:
            raise OpenError(f"{name} does not say the shape of its input: give input_shape, as (3, 224, 224).")
        return ImageEntry(value.name, given or (), dtype)
    dimensions = [_dimension(each) for each in kind.shape.dim]
    batched = bool(dimensions) and (not isinstance(dimensions[0], int) or dimensions[0] == 1 or len(dimensions) > 3)
    if batched and isinstance(dimensions[0], int) and dimensions[0] != 1:
        kind.shape.dim[0].dim_value = 1
    rest = dimensions[1:] if batched else dimensions
    last = len(rest) == 3 and rest[2] in _COLOURS and rest[0] not in _COLOURS
    order = [rest[2], rest[0], rest[1]] if last else rest
    shape = _sizes(order, given, name, sizes, is_first)
    check_count(shape)
    arrange = None if batched and not last else _arrangement(last, batched)
    return ImageEntry(value.name, shape, dtype, arrange, last and batched, batched)


def _dtype(kind: int, what: str) -> torch.dtype:
    """torch's type of ONNX's. Raises OpenError where numpy, which onnxruntime is given, has none of it."""
    try:
        return torch.from_numpy(np.empty(0, helper.tensor_dtype_to_np_dtype(kind))).dtype
    except (KeyError, TypeError, ValueError) as error:
        known = kind in TensorProto.DataType.values()
        said = TensorProto.DataType.Name(kind) if known else f"number {kind}"
        raise OpenError(f"{what} of the type {said}, which no array of numpy has: export it with FLOAT.") from error


def _dimension(dim: Any) -> Dimension:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else (dim.dim_param or None)


def _sizes(
    dimensions: list[Dimension], given: tuple[int, ...] | None, name: str, sizes: dict[str, int], is_first: bool
) -> tuple[int, ...]:
    """Whole numbers for all dimensions, from what is given, or from other inputs' of the same name."""
    told = ", ".join(str(size) if isinstance(size, int) else "?" for size in dimensions)
    if given is not None:
        fits = len(given) == len(dimensions) and all(
            not isinstance(size, int) or size == other for size, other in zip(dimensions, given, strict=True)
        )
        if not fits:
            raise OpenError(f"{name} takes an input of ({told}), not {given}.")
        sizes.update((size, other) for size, other in zip(dimensions, given, strict=True) if isinstance(size, str))
        return given
    found = [size if isinstance(size, int) else sizes.get(size or "") for size in dimensions]
    if is_first and None in found:
        raise OpenError(f"{name} takes an input of ({told}), with ? for any size: give input_shape, as (3, 224, 224).")
    return tuple(1 if size is None else size for size in found)


def _arrangement(channels_last: bool, batched: bool) -> Any:
    def arrange(x: Tensor) -> Tensor:
        x = x.movedim(1, -1) if channels_last else x
        return x if batched else x[0]

    return arrange
