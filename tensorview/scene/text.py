"""Text as pictures: labels are drawn once with Pillow and stand in the scene as textured rectangles."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PIXELS = 40
LINE = 1.25


@functools.lru_cache(maxsize=8)
def font(pixels: int = PIXELS, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which matplotlib carries and which knows Greek, Cyrillic and mathematical signs.

    Only its file is used; matplotlib is not imported. Where it is missing, Pillow's own font stands in.
    """
    spec = importlib.util.find_spec("matplotlib")
    if spec and spec.origin:
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name
        if path.is_file():
            return ImageFont.truetype(str(path), pixels)
    return ImageFont.load_default(pixels)


@functools.lru_cache(maxsize=4096)
def text_width(text: str, bold: bool = False) -> float:
    """Width in texels of one line of text in letters of `PIXELS`."""
    return font(PIXELS, bold).getlength(text) + 4


def width_of(text: str, bold: bool) -> float:
    """Width of a text over the height of its line."""
    return text_width(text, bold) / (PIXELS * LINE)


@functools.lru_cache(maxsize=4096)
def text_mask(text: str, pixels: int = PIXELS, bold: bool = False) -> np.ndarray:
    """`(height, width)` uint8 coverage of one line of text, 0 where there is none, 255 where it is full.

    The height is `round(pixels * LINE)` for every text, so that lines of one size share a baseline. Read-only.
    """
    face = font(pixels, bold)
    width = max(1, round(face.getlength(text))) + 4
    picture = Image.new("L", (width, round(pixels * LINE)))
    ImageDraw.Draw(picture).text((2, round(pixels * 0.04)), text, fill=255, font=face)
    mask = np.asarray(picture)
    mask.setflags(write=False)
    return mask


def shorten(text: str, most: int) -> str:
    """`text`, or its first and last characters around an ellipsis where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
