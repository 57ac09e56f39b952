"""Long rows of layers without modules, folded into boxes: by their names, else by where maps change their size.

ONNX and Keras files have no modules, and some modules hold all their layers in one row, as VGG's `features`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..capture import Layer

FEW_LAYERS = 30  # of a network, which then stands as it is
LONG = 16  # layers in a row that are folded
FEW_FUNCTIONS = 4  # between two modules, which are folded where there are too many boxes
MOST_PIECES = 20
SEPARATORS = re.compile(r"[_/]")
Piece = tuple[int, int, str]  # first, end, name


def folded(layers: Sequence[Layer], paths: Sequence[Sequence[str]]) -> list[list[str]]:
    """The modules around every layer, the outermost first, with boxes for parts of long rows as the innermost.

    Args:
        layers: inputs first, in execution order.
        paths: for each the modules that it truly lies in.
    """
    found = [list(path) for path in paths]
    if len(layers) <= FEW_LAYERS:
        return found
    taken = {layer.name for layer in layers}
    rows = _rows(layers, paths)
    for first, end in rows:
        _fold(layers, first, end, 1, found, taken)
    between = [(first, end) for first, end in rows if not paths[first]]
    if len(between) > 1 and _count(found) > FEW_LAYERS:
        # A loop over modules with functions between them: what stands between two modules is one box.
        for first, end in between:
            if end - first >= FEW_FUNCTIONS:
                for i in range(first, end):
                    found[i].insert(0, free_name(f"{layers[first].name}-{layers[end - 1].name}", taken))
    return found


def _rows(layers: Sequence[Layer], paths: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """First and end of every row of layers, other than inputs, that lie in the same module."""
    every = groupby(range(len(layers)), lambda i: (layers[i].kind == "input", list(paths[i])))
    rows = [list(row) for (is_input, _), row in every if not is_input]
    return [(row[0], row[-1] + 1) for row in rows]


def _count(paths: Sequence[Sequence[str]]) -> int:
    """How many boxes stand where all modules are closed."""
    return sum(1 for _ in groupby(range(len(paths)), lambda i: paths[i][0] if paths[i] else i))


def free_name(name: str, taken: Collection[str]) -> str:
    """The name of a box, other than those of all layers."""
    return f"{name}_" if name in taken else name


def _fold(layers: Sequence[Layer], start: int, stop: int, level: int, found: list[list[str]], taken: set[str]) -> None:
    """Fold `layers[start:stop]`, if they are many, and again what is long in that; `level` is of the parts of names."""
    if stop - start < LONG:
        return
    pieces = _by_name(layers, start, stop, level)
    by_name = 1 < len(pieces) <= (stop - start) * 2 / 3
    if not by_name:
        pieces = _by_size(layers, start, stop)
    if not 1 < len(pieces) <= 2 * MOST_PIECES:
        by_name, pieces = False, _evenly(layers, start, stop)
    for first, end, name in pieces:
        if end - first > 1:
            for i in range(first, end):
                found[i].append(free_name(name, taken))
        _fold(layers, first, end, level + by_name, found, taken)


def _by_name(layers: Sequence[Layer], start: int, stop: int, level: int) -> list[Piece]:
    """Parts whose names begin alike up to their first number, or the one of that level."""
    return _pieces(layers, start, stop, lambda i: numbered_part(layers[i].name, level) or i)


def numbered_part(name: str, level: int) -> str:
    """A name up to the `level`th of its parts that has a number; empty where nothing follows that.

    >>> numbered_part("block_1_expand", 1), numbered_part("conv2_block1_1_relu", 2), numbered_part("conv_1", 1)
    ('block_1', 'conv2_block1', '')
    """
    owner, dot, base = name.rpartition(".")
    parts = SEPARATORS.split(base)
    numbered = [k for k, part in enumerate(parts[:-1]) if any(map(str.isdigit, part))]
    if len(numbered) < level:
        return ""
    length = sum(map(len, parts[: numbered[level - 1] + 1])) + numbered[level - 1]
    return owner + dot + base[:length]


def _by_size(layers: Sequence[Layer], start: int, stop: int) -> list[Piece]:
    """Parts of one size of maps; what pools is the last of its part."""
    part, parts = 0, [0]
    for before, i in pairwise(range(start, stop)):
        changes = _cells(layers[before]) != _cells(layers[i])
        ends = (
            layers[before].kind == "pooling" and before > start and _cells(layers[before - 1]) != _cells(layers[before])
        )
        if ends or (changes and layers[i].kind != "pooling"):
            part += 1
        parts.append(part)
    return _pieces(layers, start, stop, lambda i: parts[i - start])


def _cells(layer: Layer) -> tuple[int, ...]:
    return layer.shape[1:] if len(layer.shape) > 2 else (len(layer.shape),)


def _evenly(layers: Sequence[Layer], start: int, stop: int) -> list[Piece]:
    size = max(8, -(-(stop - start) // MOST_PIECES))
    return _pieces(layers, start, stop, lambda i: (i - start) // size)


def _pieces(layers: Sequence[Layer], start: int, stop: int, key: Callable[[int], object]) -> list[Piece]:
    """The parts of equal keys that follow each other; a part whose key is no name is named after its ends."""
    pieces = []
    for value, row in groupby(range(start, stop), key):
        numbers = list(row)
        first, last = numbers[0], numbers[-1]
        name = f"{layers[first].name}-{layers[last].name.rpartition('.')[2]}"
        pieces.append((first, last + 1, value if isinstance(value, str) else name))
    return pieces
