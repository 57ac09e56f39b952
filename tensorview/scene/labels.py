"""The texts in the scene: a name and a shape above every layer, a class and its share beside every output cube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .atlas import pack
from .axis import least_gap
from .camera import PITCH, YAW, Vector, fit_camera
from .mesh import Surface, rectangles
from .placement import Placement
from .text import LINE, PIXELS, shorten, text_mask, text_width

BUDGET = 1_000_000
NAME_HEIGHT, SHAPE_HEIGHT = 0.135, 0.1
LONGEST = 22
STAIR = math.tan(math.radians(PITCH))
VALUE_PIXELS = 26
SMALLEST = 14
# The share of a text's width, which is an estimate, that the next one keeps clear of.
REACH = 0.8


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


def layer_labels(
    items: Sequence[Placement], shapes: Sequence[tuple[int, ...]], edge: float, modules: Sequence[str] = ()
) -> list[Label]:
    """A name and below it a shape above every layer, where no nearer layer hides them in the first view.

    Seen from above, layers further along stand higher, so their texts rise like stairs; a text is as large as its step.

    Args:
        modules: for every layer the innermost module that has a bracket under it, empty for none.
    """
    names = [shorten(local_name(item.name, modules[i] if modules else ""), LONGEST) for i, item in enumerate(items)]
    texts = [(name, shape_text(shape)) for name, shape in zip(names, shapes, strict=True)]
    lines = _Lines(items)
    heights = lines.even([_height(lines.step(i, edge), *texts[i], edge) for i in range(len(items))])
    eye = fit_camera(np.concatenate([item.bounds for item in items])).position
    labels: list[Label] = []
    spots: dict[int, _Spot] = {}
    for i, (item, (name, shape), height) in enumerate(zip(items, texts, heights, strict=True)):
        small, width = height * SHAPE_HEIGHT / NAME_HEIGHT, _width(name, shape) * height
        x, z = item.centre[0] - item.size[0] / 2, item.centre[2] - item.size[2] / 2
        before = lines.before(i)
        y = _clear_height(item, [items[k] for k in before], width) + edge * 0.02
        y = max([y, *(_clear_of(spots[k], x, z, eye) for k in before)])
        labels.append(Label(name, (x, y + (small + height) * LINE, z), height * LINE, i, bold=True))
        labels.append(Label(shape, (x, y + small * LINE, z), small * LINE, i))
        spots[i] = _Spot(x, y + (small + height) * LINE, z, width)
    return labels


class _Spot(NamedTuple):
    """Where the text of a layer stands: its top left corner and its width."""

    x: float
    top: float
    z: float
    width: float


def _clear_of(spot: _Spot, x: float, z: float, eye: Vector) -> float:
    """The lowest place at `(x, z)` for a text that begins there and, seen from `eye`, is not on that of `spot`.

    A text runs along x, to the right and, as it comes nearer, downwards.
    """
    yaw = math.atan2(eye[0] - x, eye[2] - z)
    rise = (eye[1] - spot.top) / math.hypot(eye[0] - x, eye[2] - z)
    across, away = math.cos(yaw), math.sin(yaw)
    reached = max(0.0, ((x - spot.x) * across + (spot.z - z) * away) / across)
    if reached > REACH * spot.width:
        return -math.inf
    return spot.top - rise * ((spot.x + reached - x) * away + (spot.z - z) * across)


def _width(name: str, shape: str) -> float:
    """Width of the two lines over the height of the name's letters."""
    return max(len(name) * 0.66, len(shape) * 0.42)


def _height(step: float, name: str, shape: str, edge: float) -> float:
    return min(edge * NAME_HEIGHT, max(step * STAIR / 2.1, 0.8 * step / _width(name, shape)))


class _Lines:
    """The layers of every row and lane, in the order in which they stand along the axis."""

    def __init__(self, items: Sequence[Placement]) -> None:
        self._items = items
        self._lines: dict[float, list[int]] = {}
        self._place: list[int] = []
        for i, item in enumerate(items):
            line = self._lines.setdefault(item.centre[1], [])
            self._place.append(len(line))
            line.append(i)

    def before(self, i: int, most: int = 8) -> list[int]:
        """The layers that stand before layer `i`, at most so many."""
        line = self._lines[self._items[i].centre[1]]
        return line[max(0, self._place[i] - most) : self._place[i]]

    def even(self, heights: list[float]) -> list[float]:
        """No height more than a quarter above that of a neighbour."""
        even = list(heights)
        for line in self._lines.values():
            for k, i in enumerate(line):
                even[i] = min(heights[i], 1.25 * min(heights[j] for j in line[max(0, k - 1) : k + 2]))
        return even

    def step(self, i: int, edge: float) -> float:
        """Distance along the axis to the next layer; the last of a line has that to the one before it.

        Where lanes begin or end, the next one of the same line is too far away to be a measure.
        """
        items, line = self._items, self._lines[self._items[i].centre[1]]
        at = self._place[i]
        other = line[at + 1] if at + 1 < len(line) else line[at - 1] if at else i
        step = abs(items[other].centre[2] - items[i].centre[2])
        alone = max(2 * items[i].size[0], items[i].size[2] + least_gap(edge))
        return min(step or alone, alone if abs(other - i) > 1 else math.inf)


def _clear_height(item: Placement, before: Sequence[Placement], width: float) -> float:
    """The lowest place above a layer at which a text of that width is not behind a nearer one in the first view."""
    across, away = math.cos(math.radians(YAW)), math.sin(math.radians(YAW))
    rise = math.tan(math.radians(PITCH))
    start = (item.centre[0] - item.size[0] / 2) * across - item.centre[2] * away
    height = item.centre[1] + item.size[1] / 2
    for nearer in before:
        right = (nearer.centre[0] + nearer.size[0] / 2) * across - nearer.centre[2] * away
        if right > start and nearer.centre[0] * across - nearer.centre[2] * away < start + width * across:
            top = nearer.centre[1] + nearer.size[1] / 2
            height = max(height, top - (nearer.centre[2] - item.centre[2]) * rise)
    return height


def class_labels(item: Placement, texts: Sequence[str]) -> list[Label]:
    """A text to the right of every cube, from top to bottom."""
    cell = item.cell
    x0 = item.centre[0] + cell * 1.55
    top = item.centre[1] + item.size[1] / 2
    z = item.centre[2] + item.size[2] / 2
    height = cell * 0.92
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
