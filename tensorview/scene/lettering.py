"""Where the names and shapes of layers stand, so that in the first view none is printed over anything else.

All texts face +z, and so do the fronts of boxes. Seen from the camera, which is a point, and drawn on the plane z = 0,
they are rectangles with axis-parallel sides, exactly; so whether one covers another is told by four comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .camera import Camera
from .labels import LONGEST, Label, local_name, shape_text
from .placement import Placement
from .text import LINE, shorten, width_of

# Heights of the letters of names in a picture of `FRAME` lines, where they are smallest: the first at which all
# stands free is taken, and shapes are left out rather than names below `FLOOR`.
FRAME = 720
SIZES = (20.0, 17.5, 15.0, 13.0)
FLOOR = 11.5
SMALL = (8.5, 6.0, 4.0)
# The share of names that may lie on something before smaller ones are tried.
MOST_COVERED = 0.1
SHAPE_SIZE = 0.8
BESIDE = 16.0
# Of a box from its front to its back, as seen.
SLICES = 5
# Shares of a text's width by which it may begin before its layer does; and of a layer's depth, at which it may stand.
SHIFTS = np.linspace(0, 1, 11)
DEPTHS = np.array([-0.5, 0.0, 0.5])
# A name for which there is no room at the size of the others is tried at these shares of it.
SMALLER = (1.0, 0.85, 0.7, 0.55)
# In lines of text: the space around one; what it costs to shift it by a whole width, to stand it before the back of its
# layer, and to leave out a shape; and what a place may cost, less for a layer in a lane, over which other lanes run.
AIR, SHIFT_COST, DEPTH_COST, SHAPE_COST = 0.12, 1.5, 0.8, 2.5
# Names larger than the floor are taken where places cost little on average, so that they stand near their layers.
MOST_COST, MOST_IN_LANE, MOST_ON_AVERAGE = 7.0, 1.8, 1.4
# More layers than this try fewer sizes and places, so that a scene of hundreds is not slow to build.
MANY = 120


def layer_labels(
    items: Sequence[Placement],
    shapes: Sequence[tuple[int, ...]],
    camera: Camera,
    others: Sequence[tuple[Label, str]] = (),
    modules: Sequence[str] = (),
) -> list[Label]:
    """A name above every layer and below it a shape, where in the view of `camera` there is room for it.

    All names have one size in space: the greatest of a few at which every name and shape stands free. Where there is
    none, shapes that would be printed over another layer or text are left out.

    Args:
        others: texts that are there already, each with the widest text that it may show.
        modules: for every layer the innermost module that has a bracket under it, empty for none.
    """
    names = [shorten(local_name(item.name, modules[i] if modules else ""), LONGEST) for i, item in enumerate(items)]
    texts = [(name, shape_text(shape)) for name, shape in zip(names, shapes, strict=True)]
    view = View(camera)
    taken = np.concatenate([view.boxes(items), view.texts(others)])
    unit = min(view.pixels(item) for item in items)
    sizes = (*SIZES, FLOOR, *SMALL) if len(items) <= MANY else (FLOOR, *SMALL)
    for size in sizes:
        lettering = _Lettering(view, taken, size / unit, size > FLOOR, len(items) > MANY)
        allowed = len(items) if size == sizes[-1] else len(items) * MOST_COVERED
        labels = lettering.all(items, texts, allowed)
        if labels is not None:
            break
    return labels or []


def tallest_line(items: Sequence[Placement], camera: Camera) -> float:
    """The greatest height of a line of text beside a layer, so that it is not much larger than names are."""
    view = View(camera)
    return min((BESIDE * LINE / view.pixels(item) for item in items), default=math.inf)


def text_corners(labels: Sequence[Label]) -> np.ndarray:
    """`(2 * N, 3)` float64: the upper left and the lower right corners of texts."""
    size = [(width_of(label.text, label.bold) * label.height, -label.height, 0.0) for label in labels]
    corner = np.array([label.corner for label in labels], dtype=float).reshape(-1, 3)
    return np.concatenate([corner, corner + np.array(size).reshape(-1, 3)])


class View:
    """What the camera sees, on the plane z = 0."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._eye = np.asarray(camera.position, dtype=float)

    def pixels(self, item: Placement) -> float:
        """Lines of a picture of `FRAME` lines that a unit of height takes at the back of a layer's top."""
        foot = np.array(item.centre) + np.array([-item.size[0], item.size[1], -item.size[2]]) / 2
        seen = self._camera.project(np.stack([foot, foot + np.array([0, 1, 0])]), 1.0)
        return float(np.linalg.norm(seen[1] - seen[0])) * FRAME / 2

    def scale(self, z: np.ndarray | float) -> np.ndarray:
        return np.asarray(self._eye[2] / (self._eye[2] - z))

    def seen(self, rectangles: np.ndarray, z: np.ndarray | float) -> np.ndarray:
        """`(..., 4)` rectangles `(left, low, right, high)` in the plane z, as they are seen on the plane 0."""
        eye = self._eye[[0, 1, 0, 1]]
        return eye + (rectangles - eye) * self.scale(z)[..., None]

    def points(self, points: np.ndarray) -> np.ndarray:
        """`(N, 2)`: points `(N, 3)` as they are seen on the plane 0."""
        return self._eye[:2] + (points[:, :2] - self._eye[:2]) * self.scale(points[:, 2])[:, None]

    def boxes(self, items: Sequence[Placement]) -> np.ndarray:
        """`(SLICES * N, 4)`: every box as some slices from its front to its back."""
        centre, size = np.array([p.centre for p in items]), np.array([p.size for p in items])
        flat = np.concatenate([centre[:, :2] - size[:, :2] / 2, centre[:, :2] + size[:, :2] / 2], axis=1)
        z = centre[:, 2, None] + size[:, 2, None] * np.linspace(0.5, -0.5, SLICES)
        return self.seen(flat[:, None, :], z).reshape(-1, 4)

    def texts(self, labels: Sequence[tuple[Label, str]]) -> np.ndarray:
        """`(N, 4)`: the rectangles of texts."""
        if not labels:
            return np.zeros((0, 4))
        corner = np.array([label.corner for label, _ in labels])
        size = np.array([(width_of(text, label.bold) * label.height, label.height) for label, text in labels])
        low, high = corner[:, :2] - [0, 1] * size, corner[:, :2] + [1, 0] * size
        return self.seen(np.concatenate([low, high], axis=1), corner[:, 2])


@dataclass(frozen=True)
class _Spot:
    """A place of a block of text: what it costs, infinite where it is not free, and its lower left corner."""

    cost: float
    corner: tuple[float, float, float]


class _Lettering:
    """Places the texts of one size, one layer after the other.

    Args:
        taken: `(N, 4)` rectangles on the plane z = 0 that are not free.
        letters: the size, in the scene's unit.
        complete: whether every name and shape must stand free.
        many: whether only a few places are tried.
    """

    def __init__(self, view: View, taken: np.ndarray, letters: float, complete: bool, many: bool) -> None:
        self._many = many
        self._shifts, self._depths = (SHIFTS[::5], DEPTHS[:1]) if many else (SHIFTS, DEPTHS)
        self._view, self._line, self._complete = view, letters * LINE, complete
        self._taken = taken

    def all(
        self, items: Sequence[Placement], texts: Sequence[tuple[str, str]], most_covered: float
    ) -> list[Label] | None:
        """The labels of all layers; `None` as soon as there are too many for which there is no room."""
        labels: list[Label] = []
        covered, costs = 0, 0.0
        for item, each in zip(items, texts, strict=True):
            spot, line, with_shape = self._place(item, *each)
            covered += spot.cost == math.inf
            costs += spot.cost
            far = costs > MOST_ON_AVERAGE * len(items)
            if covered > most_covered or (self._complete and (far or not with_shape)):
                return None
            x, y, z = spot.corner
            small = line * SHAPE_SIZE if with_shape else 0.0
            added = [Label(each[0], (x, y + line + small, z), line, item.layer, bold=True)]
            if with_shape:
                added.append(Label(each[1], (x, y + small, z), small, item.layer))
            labels += added
            self._taken = np.concatenate([self._taken, self._view.texts([(label, label.text) for label in added])])
        return labels

    def _place(self, item: Placement, name: str, shape: str) -> tuple[_Spot, float, bool]:
        """Where the texts of a layer stand best, the height of the name's line, and whether the shape has room."""
        for share in SMALLER[:1] if self._complete or self._many else SMALLER:
            line = self._line * share
            small, width = line * SHAPE_SIZE, width_of(name, True) * line
            both = self._spot(item, max(width, width_of(shape, False) * small), line + small)
            if both.cost <= SHAPE_COST or self._complete:
                return both, line, both.cost < math.inf
            alone = self._spot(item, width, line)
            if alone.cost < math.inf:
                with_shape = both.cost <= alone.cost + SHAPE_COST
                return (both if with_shape else alone), line, with_shape
        return alone, line, False

    def _spot(self, item: Placement, width: float, height: float) -> _Spot:
        """The cheapest free place of a block of that size above a layer; at the layer's top, where there is none."""
        z = (item.centre[2] + item.size[2] * self._depths)[:, None]
        left, top = item.centre[0] - item.size[0] / 2, item.centre[1] + item.size[1] / 2 + self._line * AIR
        start, z = np.broadcast_arrays(left - self._shifts * width, z)
        low, high = np.full_like(start, top), np.full_like(start, top + height)
        blocks = self._view.seen(np.stack([start, low, start + width, high], axis=-1), z).reshape(-1, 4)
        scale = self._view.scale(z).reshape(-1)
        line = self._line * scale
        most = MOST_IN_LANE if item.lanes else MOST_COST
        near = self._near(blocks, AIR * line.max(), most * line.max())
        raised = _raised(blocks, near, AIR * float(line.max()))
        cost = raised / line + (self._shifts * SHIFT_COST + (self._depths[:, None] + 0.5) * DEPTH_COST).reshape(-1)
        best = int(cost.argmin())
        if cost[best] > most:
            return _Spot(math.inf, (left, top, float(z[0, 0])))
        corner = float(start.reshape(-1)[best]), top + float(raised[best] / scale[best]), float(z.reshape(-1)[best])
        return _Spot(float(cost[best]), corner)

    def _near(self, blocks: np.ndarray, air: float, reach: float) -> np.ndarray:
        """What is taken where any of the blocks may come to stand."""
        taken, low, high = self._taken, blocks.min(axis=0), blocks.max(axis=0)
        return taken[
            (taken[:, 0] < high[2] + air)
            & (taken[:, 2] > low[0] - air)
            & (taken[:, 3] > low[1] - air)
            & (taken[:, 1] < high[3] + air + reach)
        ]


def _raised(blocks: np.ndarray, near: np.ndarray, air: float) -> np.ndarray:
    """By how much every block must be raised to be off all rectangles of `near`, with `air` around it, `(blocks,)`.

    The lowest free place is where a block begins, or on top of one of the rectangles.
    """
    left, low, right, high = blocks.T[..., None]
    beside = (near[:, 0] >= right + air) | (near[:, 2] <= left - air)
    lows = np.concatenate([low, np.maximum(low, near[:, 3] + air)], axis=1)
    over = near[:, 1] >= lows[..., None] + (high - low)[..., None] + air
    under = near[:, 3] + air * 0.99 <= lows[..., None]
    free = (over | under | beside[:, None, :]).all(axis=2)
    return np.where(free, lows - low, np.inf).min(axis=1)
