"""What a model says about itself, and what is told from its layers where it says nothing.

The model's class (or the object), or the Python file that it stands in, may have these attributes; all are
optional, and the shipped models use the same:

    input_shape   (1, 28, 28)         one input, without the batch dimension
    input_range   (0.0, 1.0)          the values of black and white
    class_names   ("cat", "dog")      one for each output
    preparation   "digit" | "image"   placed as MNIST's digits are, or the shorter side resized and the centre
                                      cropped
    preprocess    function            PIL.Image -> tensor (C, H, W); comes before `preparation`
    title         "LeNet-5"           its name for people
    description   "Reads one digit."  a sentence
    weights       "net.safetensors"   beside the Python file, loaded when no others are given
    samples       "samples.npz"       beside the Python file: `images` (N, H, W[, 3]) uint8 and `labels` (N,),
                                      perhaps `pool_images`, `pool_labels` that random ones are drawn from
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ..errors import OpenError
from .preprocessing import InputSpec, Preparation, check_count
from .shapes import input_dtype, tell_input_shape

_PREPARATIONS = ("digit", "image")
_SHOWN = 200  # letters of what is no shape


class Declared:
    """Reads the attributes of the convention.

    Args:
        module: the model.
        file: the Python file's module that it was taken from, None for a model that was handed over.
        name: how messages call it.
    """

    def __init__(self, module: nn.Module, file: ModuleType | None, name: str) -> None:
        self.module, self.file, self.name = module, file, name

    def _get(self, attribute: str, kinds: type | tuple[type, ...]) -> Any:
        """The attribute where it is of the right kind; a layer or a parameter of that name is not meant."""
        for holder in (self.module, self.file):
            value = getattr(holder, attribute, None)
            if isinstance(value, kinds) and not isinstance(value, nn.Module):
                return value
        return None

    def text(self, attribute: str) -> str:
        return self._get(attribute, str) or ""

    def beside(self, attribute: str) -> Path | None:
        """The path of a file that the attribute names, relative to the Python file of the model."""
        value = self._get(attribute, (str, Path))
        if not value:
            return None
        try:
            return Path(inspect.getfile(self.file or type(self.module))).parent / value
        except (TypeError, OSError):  # a class typed in at a prompt has no file
            return Path(value)

    def class_names(self) -> tuple[str, ...]:
        value = self._get("class_names", Sequence)
        return () if value is None or isinstance(value, str) else tuple(map(str, value))

    def preparation(self) -> Preparation:
        """Raises OpenError where `preparation` is no known one."""
        kind = self.text("preparation") or "image"
        if kind not in _PREPARATIONS:
            raise OpenError(f"{self.name} has preparation {kind!r}; it can be 'digit' or 'image'.")
        return Preparation(kind, self._get("preprocess", Callable))  # type: ignore[arg-type]

    def input_spec(self, shape: Sequence[int] | None) -> InputSpec:
        """The input, of the given shape or the declared one or the one that the layers tell.

        Raises:
            OpenError: an attribute is not what it should be, or nothing tells the shape.
        """
        found = shape if shape is not None else self._get("input_shape", (Sequence, Mapping, Integral))
        if isinstance(found, Mapping):
            found = next(iter(found.values()), ())
        if found is None:
            found = tell_input_shape(self.module, self.name)
        low, high = self._range()
        return InputSpec(checked_shape(found, self.name), input_dtype(self.module), low, high)

    def inputs(self) -> dict[str, InputSpec]:
        """Every input where `input_shape` names several; empty elsewhere. Raises OpenError for what is no shape."""
        found = self._get("input_shape", Mapping)
        if not found:
            return {}
        dtype = input_dtype(self.module)
        return {str(name): InputSpec(checked_shape(shape, self.name), dtype) for name, shape in found.items()}

    def _range(self) -> tuple[float, float]:
        value = self._get("input_range", Sequence) or (0.0, 1.0)
        try:
            low, high = map(float, value)
        except (TypeError, ValueError):
            low = high = 0.0
        if not low < high:
            raise OpenError(f"{self.name} has input_range {value!r}; it is two numbers, the lower first.")
        return low, high


def checked_shape(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """The shape of one input, as whole numbers. Raises OpenError for what is none, or far too large."""
    sizes = tuple(shape) if isinstance(shape, Iterable) else ()
    if not sizes or not all(isinstance(size, Integral) and size > 0 for size in sizes):
        said = repr(sizes or shape)[:_SHOWN]
        raise OpenError(f"{name} has input_shape {said}; it is positive whole numbers, as (3, 224, 224).")
    whole = tuple(map(int, sizes))
    check_count(whole)
    return whole
