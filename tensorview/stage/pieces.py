"""Small pictures put together to larger ones: how titles, legends and colour bars are made.

A piece is a Pillow image of mode RGBA with straight alpha, transparent where nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from ..scene.palette import RGB
from ..scene.text import text_mask

SMOOTH = 4  # corners are drawn this many times larger, and then made small


def text_piece(text: str, pixels: int, colour: RGB, bold: bool = False) -> Image.Image:
    """One line; `pixels` is the height of the letters."""
    mask = text_mask(text, pixels, bold)
    return solid(colour, Image.fromarray(mask))


def solid(colour: RGB, mask: Image.Image) -> Image.Image:
    """One colour, as opaque as `mask` (mode L) says."""
    piece = Image.new("RGBA", mask.size, (*colour, 0))
    piece.putalpha(mask)
    return piece


def rounded(width: int, height: int, radius: float) -> Image.Image:
    """The mask (mode L) of a rectangle with round corners, anti-aliased."""
    large = Image.new("L", (width * SMOOTH, height * SMOOTH))
    ImageDraw.Draw(large).rounded_rectangle((0, 0, large.width - 1, large.height - 1), round(radius * SMOOTH), fill=255)
    return large.resize((width, height), Image.Resampling.BOX)


def gradient(colours: np.ndarray, width: int, height: int, radius: float) -> Image.Image:
    """A bar that runs through `colours`, `(N, 3)` uint8, from left to right."""
    at = np.linspace(0, len(colours) - 1, width).round().astype(int)
    bar = Image.fromarray(np.ascontiguousarray(np.broadcast_to(colours[at], (height, width, 3)))).convert("RGBA")
    bar.putalpha(rounded(width, height, radius))
    return bar


def beside(pieces: Sequence[Image.Image], gap: int) -> Image.Image:
    """From left to right, their middles on one line."""
    height = max(piece.height for piece in pieces)
    whole = Image.new("RGBA", (sum(p.width for p in pieces) + gap * (len(pieces) - 1), height))
    x = 0
    for piece in pieces:
        whole.alpha_composite(piece, (x, (height - piece.height) // 2))
        x += piece.width + gap
    return whole


def below(pieces: Sequence[Image.Image], gap: int) -> Image.Image:
    """From top to bottom, their left sides on one line."""
    whole = Image.new(
        "RGBA", (max(piece.width for piece in pieces), sum(p.height for p in pieces) + gap * (len(pieces) - 1))
    )
    y = 0
    for piece in pieces:
        whole.alpha_composite(piece, (0, y))
        y += piece.height + gap
    return whole


def spread(pieces: Sequence[Image.Image], width: int) -> Image.Image:
    """Over `width`: the first at the left, the last at the right, the others evenly between."""
    whole = Image.new("RGBA", (width, max(piece.height for piece in pieces)))
    for k, piece in enumerate(pieces):
        middle = width * k / max(1, len(pieces) - 1)
        x = min(max(0, round(middle - piece.width / 2)), max(0, width - piece.width))
        whole.alpha_composite(piece, (x, 0))
    return whole


def table(rows: Sequence[Sequence[Image.Image]], gap: int, align: Sequence[Literal["left", "right"]]) -> Image.Image:
    """Rows of pieces in columns, each aligned to its left or right."""
    widths = [max(row[c].width for row in rows) for c in range(len(align))]
    height = max(piece.height for row in rows for piece in row)
    whole = Image.new("RGBA", (sum(widths) + gap * (len(widths) - 1), height * len(rows)))
    for r, row in enumerate(rows):
        x = 0
        for piece, width, side in zip(row, widths, align, strict=True):
            whole.alpha_composite(piece, (x + (width - piece.width if side == "right" else 0), r * height))
            x += width + gap
    return whole
