"""Which values of a pass are kept: exactly, reduced to two maps, or not at all."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .layers import Layer
from .values import Pick, take_sample, to_array

if TYPE_CHECKING:
    from .trace import Trace

# Every value, the mean or the maximum of the maps, or both of these.
Keep = Literal["exact", "mean", "max", "reduced"]
Chooser = Callable[["Trace"], Mapping[str, Keep]]
Selection = str | Iterable[str] | Callable[[str, "nn.Module | None"], bool] | None
BYTES = 4  # of a number that is kept, float32 but for few


class Reduced(NamedTuple):
    """What a closed box shows of a layer: its maps' mean, maximum or both, each of the shape of a map."""

    mean: np.ndarray | Tensor | None
    max: np.ndarray | Tensor | None

    @classmethod
    def of(cls, tensor: Tensor, pick: Pick, sample: int, keep: Keep) -> Reduced | None:
        """Reduce one sample, (C, ...), over its maps, on the device that holds it; None for complex numbers."""
        maps = take_sample(tensor, pick, sample)
        if maps is None:
            return None
        if maps.device.type == "cpu":
            # numpy is the faster one there for the maximum of one sample.
            greatest = None if keep == "mean" else maps.numpy().max(0).astype(np.float32, copy=False)
            return cls(None if keep == "max" else _mean(maps), greatest)
        mean = None if keep == "max" else maps.mean(0, dtype=torch.float32)
        return cls(mean, None if keep == "mean" else maps.amax(0).float())

    def arrays(self) -> dict[str, np.ndarray]:
        """As a layer holds them."""
        return {name: array for name, part in self._asdict().items() if (array := to_array(part)) is not None}


def _mean(maps: Tensor) -> np.ndarray:
    """float32, over the first axis."""
    if maps.dtype is not torch.float32 or not len(maps):
        mean: np.ndarray = maps.numpy().mean(0, dtype=np.float64).astype(np.float32)
        return mean
    result = torch.empty(math.prod(maps.shape[1:]))
    average(maps[None], 0, shares(len(maps)), result)
    return result.numpy().reshape(maps.shape[1:])


def shares(maps: int) -> Tensor:
    """What each of so many maps counts for in their mean: (C,) float32."""
    return torch.full((maps,), 1 / maps, dtype=torch.float32, device="cpu")


def average(maps: Tensor, sample: int, shares: Tensor, result: Tensor) -> None:
    """Write the mean of a sample's maps, of (B, C, ...) float32, into `result`, (N,) float32 for the N cells of a map.

    A product with the `shares` reads the maps row by row, where torch's mean goes down the columns, a third slower;
    and no sum on the way is larger than the largest value. Autocast lets alone what is given a tensor for its result.
    """
    if maps.is_contiguous():
        size = count, cells = len(shares), len(result)
        rows = maps.as_strided(size[::-1], (1, cells), maps.storage_offset() + sample * count * cells)
    else:
        rows = maps[sample].movedim(0, -1).reshape(-1, len(shares))  # a view where channels come last in memory
    torch.mv(rows, shares, out=result)


class Valued(Protocol):
    """What has a shape of one sample, a dtype by name and a kind: a layer, or a node that will be one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def kind(self) -> str: ...


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


def share_out(
    asked: Mapping[int, Keep], layers: Mapping[int, Layer], first: Iterable[int], budget: int
) -> dict[int, Keep]:
    """Which layers are kept, and how, so that all take `budget` bytes at most.

    Those in `first` come first, then the small before the large. A layer that has maps is reduced before it is left
    out; what then is free makes as many as it can what they are asked to be.

    Args:
        asked: how the layers would be kept without a bound, by number.
        layers: all layers, by number.
    """
    front = set(first)
    wanted = {number: size_kept(layers[number], keep) for number, keep in asked.items()}
    fallback: dict[int, Keep] = {number: "reduced" if keep == "exact" else keep for number, keep in asked.items()}
    least = {number: size_kept(layers[number], keep) for number, keep in fallback.items()}
    keeps: dict[int, Keep] = {}
    left = budget
    for number in sorted(asked, key=lambda number: (number not in front, least[number], number)):
        if number in front and wanted[number] <= left:
            keeps[number], left = asked[number], left - wanted[number]
        elif least[number] <= left:
            keeps[number] = asked[number] if least[number] == wanted[number] else fallback[number]
            left -= least[number]
    for number in sorted(keeps, key=lambda number: wanted[number]):
        more = wanted[number] - least[number]
        if keeps[number] != asked[number] and more <= left:
            keeps[number], left = asked[number], left - more
    return keeps


def is_reducible(layer: Valued) -> bool:
    """Whether a layer has maps that its mean and maximum can stand for in less memory."""
    return size_kept(layer, "reduced") < size_kept(layer, "exact")


def size_of(shape: tuple[int, ...], dtype: str) -> int:
    """The bytes that the values of a layer take; those of less than four bytes a number are not told apart."""
    return math.prod(shape) * (8 if dtype in ("float64", "int64") else BYTES)


def size_kept(layer: Valued, keep: Keep) -> int:
    """The bytes of a layer that is kept so; one without maps to reduce is kept exactly."""
    exact = size_of(layer.shape, layer.dtype)
    if keep == "exact" or len(layer.shape) < 3 or layer.kind == "attention" or layer.dtype.startswith("complex"):
        return exact
    return min(exact, (2 if keep == "reduced" else 1) * math.prod(layer.shape[1:]) * BYTES)


def over_budget(
    asked: Mapping[int, Keep], keeps: Mapping[int, Keep], layers: Mapping[int, Layer], budget: int
) -> list[str]:
    """Sentences that name the layers that are not kept as they were asked for."""
    said = []
    for keep, what in (("reduced", "only the mean and the maximum of their maps are"), (None, "nothing is")):
        names = [repr(layers[n].name) for n, wish in asked.items() if keeps.get(n) == keep and keep != wish]
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            said.append(f"of layers {shown} {what} kept: all of their values exceed the budget of {budget:,} bytes")
    return said
