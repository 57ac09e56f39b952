"""The texts in the scene: a name and a shape above every layer, a class and its share beside every output cube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .atlas import pack
from .mesh import Surface, rectangles
from .placement import Placement
from .text import LINE, PIXELS, text_mask, text_width

BUDGET = 1_000_000
LONGEST = 22
VALUE_PIXELS = 26
SMALLEST = 14


@dataclass(frozen=True)
class Label:
    """A text in the scene.

    Attributes:
        corner: top left as seen from +z, `(3,)` in the scene's unit.
        height: of its line, in the scene's unit.
        layer: index of the layer that it belongs to.
    """

    text: str
    corner: tuple[float, float, float]
    height: float
    layer: int
    bold: bool = False


@dataclass(eq=False)
class TextPage:
    """Texts in one page.

    Attributes:
        coverage: `(height, width)` uint8.
        pixels: height of the letters.
        places: `(row, column)` of every text's first texel.
        surface: the rectangles that show the texts.
    """

    coverage: np.ndarray
    pixels: int
    places: list[tuple[int, int]]
    surface: Surface


def shape_text(shape: Sequence[int]) -> str:
    """`6 × 28 × 28`; a scalar is `1`."""
    return " × ".join(map(str, shape)) or "1"


def local_name(name: str, module: str) -> str:
    """A layer's name without the module around it, whose bracket says that; a bare number keeps what it is a part of.

    >>> local_name("layer1.0.conv1", "layer1.0"), local_name("layer1.0.downsample.1", "layer1.0.downsample")
    ('conv1', 'downsample.1')
    """
    inside = bool(module) and name.startswith(module) and name[len(module) : len(module) + 1] in (".", "_")
    short = name[len(module) + 1 :] if inside else name
    if short.partition("#")[0].replace("-", "").isdigit():
        return ".".join(name.rsplit(".", 2)[-2:])
    return short


def class_labels(item: Placement, texts: Sequence[str], tallest: float = math.inf) -> list[Label]:
    """A text to the right of every cube, from top to bottom, in lines of at most that height."""
    cell = item.cell
    x0 = item.centre[0] + cell * 1.55
    top = item.centre[1] + item.size[1] / 2
    z = item.centre[2] + item.size[2] / 2
    height = min(cell * 0.92, tallest)
    return [
        Label(text, (x0, top - k * cell * 1.25 - (cell - height) / 2, z), height, item.layer)
        for k, text in enumerate(texts)
    ]


def text_page(labels: Sequence[Label], pixels: int = PIXELS, widest: Sequence[str] | None = None) -> TextPage:
    """Draw the labels into one page.

    Args:
        pixels: height of the letters; less where the page would burst its budget of `BUDGET` texels. Where even small
            letters would, only every second, third, ... label is drawn.
        widest: for texts that change, a text of every label's greatest width.
    """
    labels = list(labels)
    reserve = list(widest) if widest is not None else [label.text for label in labels]
    letters = [text_width(text, label.bold) for text, label in zip(reserve, labels, strict=True)]
    area = sum(letters) * PIXELS * LINE
    if area > BUDGET * (PIXELS / pixels) ** 2:
        pixels = max(SMALLEST, int(PIXELS * math.sqrt(BUDGET / area)))
    step = math.ceil(area * (pixels / PIXELS) ** 2 / BUDGET) or 1
    labels, reserve = labels[::step], reserve[::step]
    masks = [text_mask(text, pixels, label.bold) for text, label in zip(reserve, labels, strict=True)]
    gutter = max(1, pixels // 10)  # around a text, so that its neighbour does not shine into its smaller levels
    places, height, width = pack([(m.shape[0] + 2 * gutter, m.shape[1] + 2 * gutter) for m in masks])
    places = [(r + gutter, c + gutter) for r, c in places]
    coverage = np.zeros((height, width), dtype=np.uint8)
    for label, mask, place in zip(labels, masks, places, strict=True):
        if widest is None or label.text:
            write_text(coverage, place, mask.shape, label.text, pixels, label.bold)
    return TextPage(coverage, pixels, places, _surface(labels, masks, places, coverage.shape))


def write_text(
    coverage: np.ndarray,
    place: tuple[int, int],
    room: tuple[int, int],
    text: str,
    pixels: int,
    bold: bool = False,
) -> None:
    """Replace the text in a rectangle of the page; what does not fit is cut off."""
    row, column = place
    target = coverage[row : row + room[0], column : column + room[1]]
    mask = text_mask(text, pixels, bold)[:, : room[1]]
    target[:] = 0
    target[: mask.shape[0], : mask.shape[1]] = mask


def _surface(
    labels: Sequence[Label],
    masks: Sequence[np.ndarray],
    places: Sequence[tuple[int, int]],
    page: tuple[int, ...],
) -> Surface:
    corner = np.array([label.corner for label in labels], dtype=float).reshape(-1, 3)
    shape = np.array([m.shape for m in masks], dtype=float).reshape(-1, 2)
    height = np.array([label.height for label in labels])
    size = np.stack([height * shape[:, 1] / shape[:, 0] if len(shape) else height, height], axis=1)
    at = np.array(places, dtype=float).reshape(-1, 2)
    uv = np.concatenate([at[:, ::-1], (at + shape)[:, ::-1]], axis=1) / [page[1], page[0], page[1], page[0]]
    return rectangles(corner, size, uv, np.array([label.layer for label in labels], dtype=np.int32))
