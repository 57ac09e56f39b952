"""Which values of a pass are kept: exactly, reduced to two maps, or not at all."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .layers import Layer
from .values import Pick, take_sample, to_array

Keep = Literal["exact", "reduced"]
Selection = str | Iterable[str] | Callable[[str, "nn.Module | None"], bool] | None
BYTES = 4  # of a number that is kept, float32 but for few


class Reduced(NamedTuple):
    """What a closed box shows of a layer: its maps' mean and maximum, each of the shape of a map."""

    mean: Tensor
    max: Tensor

    @classmethod
    def of(cls, tensor: Tensor, pick: Pick, sample: int) -> Reduced | None:
        """Reduce one sample, (C, ...), over its maps, on the device that holds it; None for complex numbers."""
        maps = take_sample(tensor, pick, sample)
        if maps is None:
            return None
        return cls(maps.mean(0, dtype=torch.float32), maps.amax(0).float())

    def arrays(self) -> dict[str, np.ndarray]:
        """As a layer holds them."""
        return {name: array for name, part in self._asdict().items() if (array := to_array(part)) is not None}


class Wanted:
    """Which layers keep their values, as `Tracer` was told: globs, a predicate on (name, module), or None for all."""

    def __init__(self, layers: Selection) -> None:
        self.layers = (layers,) if isinstance(layers, str) else layers
        if self.layers is not None and not callable(self.layers):
            self.layers = tuple(self.layers)

    @property
    def anything(self) -> bool:
        """Whether every layer is wanted."""
        return self.layers is None

    def __call__(self, name: str, module: nn.Module | None) -> bool:
        if self.layers is None:
            return True
        if callable(self.layers):
            return bool(self.layers(name, module))
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.layers)

    def layer(self, name: str, module: nn.Module | None) -> bool:
        """Whether a layer is wanted; the further tensors of a call are by the call's name too."""
        return self(name, module) or (":" in name and self(name.rpartition(":")[0], module))


def share_out(layers: Mapping[int, Layer], first: Iterable[int], budget: int) -> dict[int, Keep]:
    """Which of `layers` are kept, and how, so that all take `budget` bytes at most.

    Those in `first` come first, then the small before the large. A layer that has maps is reduced before it is left
    out; what then is free makes as many exact as it can.
    """
    front = set(first)
    order = sorted(layers, key=lambda number: (number not in front, _least(layers[number]), number))
    keeps: dict[int, Keep] = {}
    left = budget
    for number in order:
        exact, least = _exact(layers[number]), _least(layers[number])
        if number in front and exact <= left:
            keeps[number], left = "exact", left - exact
        elif least <= left:
            keeps[number], left = "exact" if least == exact else "reduced", left - least
    for number in sorted(keeps, key=lambda number: _exact(layers[number])):
        more = _exact(layers[number]) - _least(layers[number])
        if keeps[number] == "reduced" and more <= left:
            keeps[number], left = "exact", left - more
    return keeps


def _exact(layer: Layer) -> int:
    wide = 8 if layer.dtype in ("float64", "int64") else BYTES
    return math.prod(layer.shape) * wide


def _least(layer: Layer) -> int:
    """The bytes of a layer reduced, where it has maps that can be."""
    if len(layer.shape) < 3 or layer.kind == "attention" or layer.dtype.startswith("complex"):
        return _exact(layer)
    return min(_exact(layer), 2 * math.prod(layer.shape[1:]) * BYTES)


def over_budget(layers: Mapping[int, Layer], keeps: Mapping[int, Keep], budget: int) -> list[str]:
    """Sentences that name the layers that are not kept exactly."""
    said = []
    for keep, what in (("reduced", "only the mean and the maximum of their maps are"), (None, "nothing is")):
        names = [repr(layer.name) for number, layer in layers.items() if keeps.get(number) == keep]
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            said.append(f"of layers {shown} {what} kept: all of their values exceed the budget of {budget:,} bytes")
    return said
