"""Packing rectangles of texels into one page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import SceneError

MAX_EDGE = 4096


def pack(sizes: Sequence[tuple[int, int]], max_edge: int = MAX_EDGE) -> tuple[list[tuple[int, int]], int, int]:
    """Place rectangles on shelves, the tallest first.

    Args:
        sizes: `(height, width)` of every rectangle, in texels.
        max_edge: longest edge that a page may have, in texels.

    Returns:
        The `(row, column)` of every rectangle's first texel in the order given, and the page's height and width.

    Raises:
        SceneError: the rectangles do not fit into one page.
    """
    if not sizes:
        return [], 1, 1
    area = sum(h * w for h, w in sizes)
    width = max(max(w for _, w in sizes), math.ceil(math.sqrt(area) * 1.06))
    places, height, used = _shelves(sizes, width)
    while height > max_edge and width < max_edge:
        width = min(max_edge, 2 * width)
        places, height, used = _shelves(sizes, width)
    if height > max_edge or used > max_edge:
        raise SceneError(
            f"{len(sizes)} rectangles of {area:,} texels need a page of {height} x {used}; "
            f"at most {max_edge} x {max_edge} fit: open fewer layers or lower the texel budget"
        )
    return places, height, used


def _shelves(sizes: Sequence[tuple[int, int]], width: int) -> tuple[list[tuple[int, int]], int, int]:
    """Places on shelves of at most `width`, and the height and the width that they take together."""
    places = [(0, 0)] * len(sizes)
    row = column = shelf = used = 0
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True):
        h, w = sizes[index]
        if column + w > width:
            row, column, shelf = row + shelf, 0, 0
        places[index] = (row, column)
        column += w
        used = max(used, column)
        shelf = max(shelf, h)
    return places, row + shelf, used
