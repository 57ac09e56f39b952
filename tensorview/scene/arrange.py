"""How the values of a layer become rows and columns: which maps there are, and the grid that they stand in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Style = Literal["maps", "volume", "rows", "tokens", "vector", "kernels"]
Arrangement = Literal["grid", "row"]
Sort = Literal["index", "activation"]

PARAMETERS = ("weight", "gradient")  # the types of layers that are recorded of parameters
# Width over height that a grid of maps aims at, and what an empty place costs against it. Chosen so that 6 maps stand
# 3 x 2, 16 stand 4 x 4, 64 stand 8 x 8 and 7 leave one place empty.
ASPECT = 1.3
EMPTY_PLACE_COST = 5.0
VECTOR_ASPECT = 1 / 7
# Most maps in one line of a grid where its order has a meaning; more would not fit into a page.
LONGEST_LINE = 768


@dataclass(frozen=True)
class Maps:
    """A layer's values seen as `count` maps of `height` x `width` cells.

    `values.reshape(-1)` in C order holds the maps one after the other; `slices` of them belong to one channel of a
    volume, or to one output of a convolution's kernels. Only a vector's last row may be short: it has `size` cells,
    wrapped row by row into one map.
    """

    style: Style
    count: int
    height: int
    width: int
    size: int
    slices: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.count, self.height, self.width


def as_maps(shape: tuple[int, ...], kind: str) -> Maps:
    """The maps of a layer whose output has `shape` (without the batch dimension).

    `()` and `(F,)` are a vector; `(T, D)` is one map with a token a row, unless the layer is a convolution or a pooling
    of a sequence, where `(C, L)` is C maps of one row; `(C, H, W)` is C maps; `(C, D, H, W)` is C x D maps, a channel a
    row of the grid; anything longer folds its leading dimensions into channels. A shape without any cell is an empty
    vector.
    """
    size = math.prod(shape)
    if len(shape) <= 1 or size == 0:
        width = max(1, round(math.sqrt(size * VECTOR_ASPECT))) if size > 12 else 1
        return Maps("vector", 1, max(1, math.ceil(size / width)), width, size)
    if len(shape) == 2:
        if kind in ("convolution", "pooling", "padding", "upsampling"):
            return Maps("rows", shape[0], 1, shape[1], size)
        return Maps("tokens", 1, shape[0], shape[1], size)
    if len(shape) == 4:
        return Maps("volume", shape[0] * shape[1], shape[2], shape[3], size, slices=shape[1])
    return Maps("maps", math.prod(shape[:-2]), shape[-2], shape[-1], size)


def as_kernels(shape: tuple[int, ...]) -> Maps:
    """The maps of a parameter of `shape`: `(O, I, kH, kW)` is O x I kernels, a matrix one map.

    Kernels of one cell, `(O, I, 1, 1)`, are a matrix of O rows as well; `(O, I, k)` is O kernels of I x k; of more
    dimensions the last two are a kernel. One of a single dimension is a vector.
    """
    size = math.prod(shape)
    if len(shape) <= 1 or size == 0:
        return as_maps(shape, "")
    if len(shape) == 2 or math.prod(shape[2:]) == 1:
        return Maps("tokens", 1, shape[0], shape[1], size)
    return Maps("kernels", math.prod(shape[:-2]), shape[-2], shape[-1], size, slices=math.prod(shape[1:-2]))


def grid_shape(count: int, height: float = 1, width: float = 1, arrangement: Arrangement = "grid") -> tuple[int, int]:
    """Rows and columns for `count` maps of `height` x `width`, near `ASPECT` and with few empty places.

    >>> grid_shape(6), grid_shape(16), grid_shape(64), grid_shape(7)
    ((2, 3), (4, 4), (8, 8), (2, 4))
    """
    if count <= 1:
        return 1, max(count, 1)
    if arrangement == "row":
        return 1, count

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        aspect = (columns * width) / (rows * height)
        return abs(math.log(aspect / ASPECT)) + EMPTY_PLACE_COST * (rows * columns / count - 1)

    ideal = math.sqrt(count * ASPECT * height / width)
    low, high = max(1, int(ideal / 3)), min(count, math.ceil(ideal * 3) + 1)
    columns = min(range(low, high + 1), key=cost)
    return math.ceil(count / columns), columns


def order_of(values: np.ndarray | None, maps: Maps, sort: Sort, most: int) -> tuple[int, ...]:
    """The maps that an open layer shows, in the order in which they stand; empty for all of them as they are.

    The slices of a volume stay where they are, and so do maps without values. NaN counts as least.

    Args:
        most: how many maps, those of greatest mean; 0 for all.
    """
    if values is None or maps.style not in ("maps", "rows") or (sort == "index" and not 0 < most < maps.count):
        return ()
    means = np.nan_to_num(values.reshape(maps.count, -1).mean(axis=1, dtype=float), nan=-np.inf)
    greatest = np.argsort(-means, kind="stable")[: most or maps.count]
    return tuple((greatest if sort == "activation" else np.sort(greatest)).tolist())


def grid_for(maps: Maps, height: float, width: float, arrangement: Arrangement) -> tuple[int, int]:
    """Rows and columns of the grid of a layer's maps, drawn `height` x `width` each with their gap."""
    if maps.style == "volume" and arrangement == "grid" and max(maps.slices, maps.count // maps.slices) <= LONGEST_LINE:
        return maps.count // maps.slices, maps.slices
    if maps.style == "kernels":
        return _kernel_grid(maps, height, width)
    if maps.style == "rows":
        columns = math.ceil(maps.count / LONGEST_LINE)
        return math.ceil(maps.count / columns), columns
    return grid_shape(maps.count, height, width, arrangement)


def _kernel_grid(maps: Maps, height: float, width: float) -> tuple[int, int]:
    """Rows and columns of kernels: a row holds all that one output has, or several outputs side by side."""
    outputs = maps.count // maps.slices
    rows, columns = grid_shape(outputs, height, width * maps.slices)
    if max(rows, columns * maps.slices) > LONGEST_LINE:
        return grid_shape(maps.count, height, width)
    return rows, columns * maps.slices
