"""Long rows of layers without modules, folded into boxes: by their names, else by where maps change their size.

ONNX and Keras files have no modules, and some modules hold all their layers in one row, as VGG's `features`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..capture import Layer

FEW_LAYERS = 30  # of a network, which then stands as it is
LONG = 16  # layers in a row that are folded
MOST_BOXES, FEWEST_PIECES = 26, 8
FEW_BESIDE = 8  # layers before the first and behind the last box, as a stem and a head
SPINE = 0.8  # of all layers lie in a module that is nearly the whole network
MOST_PIECES = 20
SEPARATORS = re.compile(r"[_/]")
Piece = tuple[int, int, str]  # first, end, name


def folded(layers: Sequence[Layer], paths: Sequence[Sequence[str]]) -> tuple[list[list[str]], frozenset[str]]:
    """The modules around every layer, the outermost first, with boxes for parts of long rows as the innermost.

    Where too many boxes would stand side by side, some are joined to larger ones, whose names are returned as well.

    Args:
        layers: inputs first, in execution order.
        paths: for each the modules that it truly lies in.
    """
    found = without_containers(paths)
    if len(layers) <= FEW_LAYERS:
        return found, frozenset()
    taken = {layer.name for layer in layers}
    rows = _rows(layers, found)
    for first, end in rows:
        _fold(layers, first, end, 1, found, taken)
    return found, _join(layers, found, taken)


def without_containers(paths: Sequence[Sequence[str]]) -> list[list[str]]:
    """Paths without modules that only hold others, as a `ModuleList` whose parts run with something else between.

    Each run of such a module is of one module in it, which it is then called after.

    >>> without_containers([["down", "down.0"]] * 2 + [[]] + [["down", "down.1"]] * 2)
    [['down.0'], ['down.0'], [], ['down.1'], ['down.1']]
    """
    found = [list(path) for path in paths]
    for depth in range(max(map(len, found), default=0)):
        runs: dict[str | int, list[list[int]]] = {}
        for name, row in groupby(range(len(found)), partial(_box_or_layer, found, depth)):
            runs.setdefault(name, []).append(list(row))
        for name, every in runs.items():
            long = [run for run in every if len(run) > 1]
            inside = [{_box_or_layer(found, depth + 1, i) for i in run} for run in long]
            if name and len(every) > 1 and long and all(len(names) == 1 for names in inside):
                for i in (i for run in long for i in run):
                    found[i][depth] = ""
    return [[name for name in path if name] for path in found]


def _rows(layers: Sequence[Layer], paths: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """First and end of every row of layers, other than inputs, that lie in the same module."""
    every = groupby(range(len(layers)), lambda i: (layers[i].kind == "input", list(paths[i])))
    rows = [list(row) for (is_input, _), row in every if not is_input]
    return [(row[0], row[-1] + 1) for row in rows]


def _join(layers: Sequence[Layer], found: list[list[str]], taken: Collection[str]) -> frozenset[str]:
    """Join what stands side by side where it is too much: at the top, or in the module that holds nearly all layers.

    Returns:
        The names of the boxes that are new.
    """
    joined = set()
    units, depth, around = _crowd(layers, found)
    first, end = _with_boxes(layers, found, units, depth)
    around += len(units) - (end - first)
    groups = _with_functions(layers, units[first:end])
    size = 1 if around + len(groups) <= MOST_BOXES else -(-len(groups) // max(FEWEST_PIECES, MOST_PIECES - around))
    for k in range(0, len(groups), size):
        piece = [unit for group in groups[k : k + size] for unit in group]
        if len(piece) > 1:
            names = [found[i][depth] if end - i > 1 else layers[i].name for i, end in (piece[0], piece[-1])]
            name = free_name(f"{names[0]}-{names[1].rpartition('.')[2]}", taken)
            joined.add(name)
            for i in range(piece[0][0], piece[-1][1]):
                found[i].insert(depth, name)
    return frozenset(joined)


def _crowd(layers: Sequence[Layer], found: Sequence[Sequence[str]]) -> tuple[list[tuple[int, int]], int, int]:
    """First and end of boxes, or layers of their own, where they are too many; the modules around; what is beside."""
    start, stop, depth = sum(layer.kind == "input" for layer in layers), len(layers), 0
    around = start
    while True:
        rows = groupby(range(start, stop), partial(_box_or_layer, found, depth))
        units = [(numbers[0], numbers[-1] + 1) for numbers in (list(row) for _, row in rows)]
        if around + len(units) > (MOST_BOXES if depth else FEW_LAYERS):
            return units, depth, around
        start, stop = max(units, key=lambda unit: unit[1] - unit[0], default=(0, 0))
        if stop - start < SPINE * len(layers) or depth == len(found[start]):
            return [], depth, around
        around += len(units) - 1
        depth += 1


def _box_or_layer(found: Sequence[Sequence[str]], depth: int, i: int) -> str | int:
    return found[i][depth] if len(found[i]) > depth else i


def _with_boxes(
    layers: Sequence[Layer], found: Sequence[Sequence[str]], units: Sequence[tuple[int, int]], depth: int
) -> tuple[int, int]:
    """Which of the units are joined: those from the first box to the functions behind the last, or else all."""
    boxes = [k for k, (first, _) in enumerate(units) if len(found[first]) > depth]
    if not boxes or len(units) - (boxes[-1] + 1 - boxes[0]) > FEW_BESIDE:
        return 0, len(units)
    behind = (k for k in range(boxes[-1] + 1, len(units)) if layers[units[k][0]].module_name)
    return boxes[0], next(behind, len(units))


def _with_functions(layers: Sequence[Layer], units: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Boxes and modules, each with the functions behind it, as the sum of a skip; functions alone stay as they are."""
    groups: list[list[tuple[int, int]]] = []
    functions = [end - first == 1 and not layers[first].module_name for first, end in units]
    for (first, end), is_function in zip(units, functions, strict=True):
        if groups and is_function and not all(functions):
            groups[-1].append((first, end))
        else:
            groups.append([(first, end)])
    return groups


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
