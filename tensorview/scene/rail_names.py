"""Where the names of brackets stand: under their brackets, over no other bracket or name in the first view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .camera import Camera
from .labels import Label
from .lettering import View
from .placement import Placement
from .rail_room import LETTERS
from .rails import TICK, Rail
from .text import LINE, width_of

# Height of their letters over that of the layers' names, at most; and at least where there is room, which was made for
# less in lanes.
LARGEST, LEAST, LEAST_IN_LANE = 1.3, 0.6, 0.85
# Sizes that are tried where there is no room; where none fits a name is left out.
SIZES = (1.0, 0.8, 0.65, 0.5, 0.4)
# Shares of a bracket at which its name may begin, and of the name's width by which it may begin before that.
ALONG = np.array([0, 0.06, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
BEFORE = np.array([0, 0.5, 1.0])
BEFORE_COST = 0.35
# Between a bracket and its name, over the unit; around a name, over its line.
UNDER, AIR = 0.01, 0.06


def rail_labels(
    found: Sequence[Rail],
    items: Sequence[Placement],
    camera: Camera,
    letters: float | None = None,
    others: Sequence[tuple[Label, str]] = (),
) -> list[Label]:
    """The names of brackets, as near to their near ends as there is room.

    Args:
        items: the layers, which hide what stands behind them.
        camera: of the first view.
        letters: height of the lines of layers' names, where it is known.
        others: texts that are there already, each with the widest text that it may show.
    """
    if not found:
        return []
    view = View(camera)
    taken = np.concatenate([view.boxes(items), view.texts(others)])
    room = _Room(view, taken, _segments(found, view))
    labels = []
    for rail in found:
        line = rail.unit * LETTERS * LINE
        if letters is not None:
            least = LEAST_IN_LANE if items[rail.first].lanes else LEAST
            line = min(max(line, least * letters), LARGEST * letters)
        label = room.place(rail, line)
        if label is not None:
            labels.append(label)
    return labels


def are_too_large(labels: Sequence[Label], letters: float | None) -> bool:
    """Whether names of brackets are larger than they may be beside layers' names of such a line."""
    return letters is not None and any(label.height > LARGEST * letters for label in labels)


def _segments(found: Sequence[Rail], view: View) -> np.ndarray:
    """`(3 * N, 4)`: the lines of brackets and their ticks, `(x0, y0, x1, y1)` as seen on the plane z = 0."""
    start, end = (np.array([getattr(rail, end) for rail in found], dtype=float) for end in ("start", "end"))
    up = np.zeros_like(start)
    up[:, 1] = [rail.unit * TICK for rail in found]
    pairs = np.concatenate([np.stack(pair, axis=1) for pair in ((start, end), (start + up, start), (end + up, end))])
    flat = view.points(pairs.reshape(-1, 3))
    return flat.reshape(-1, 4)


@dataclass
class _Room:
    """What is taken: `rectangles` and `segments`, each `(N, 4)` on the plane z = 0."""

    view: View
    rectangles: np.ndarray
    segments: np.ndarray

    def place(self, rail: Rail, line: float) -> Label | None:
        """The name at the best free place, which is taken from then on; `None` where there is none."""
        for share in SIZES:
            height = line * share
            along, before = (grid.reshape(-1) for grid in np.meshgrid(ALONG, BEFORE, indexing="ij"))
            width = width_of(rail.text, False) * height
            x = rail.start[0] - before * width
            y = rail.start[1] - rail.unit * UNDER
            z = rail.start[2] + along * (rail.end[2] - rail.start[2])
            flat = np.stack([x, np.full_like(x, y - height), x + width, np.full_like(x, y)], axis=1)
            blocks = self.view.seen(flat, z)
            cost = np.where(self._free(blocks, AIR * height), along + before * BEFORE_COST, np.inf)
            best = int(cost.argmin())
            if cost[best] < np.inf:
                self.rectangles = np.concatenate([self.rectangles, blocks[best : best + 1]])
                return Label(rail.text, (float(x[best]), y, float(z[best])), height, rail.first)
        return None

    def _free(self, blocks: np.ndarray, air: float) -> np.ndarray:
        low, high = blocks[:, None, :2], blocks[:, None, 2:]
        over = np.all((self.rectangles[:, :2] < high + air) & (self.rectangles[:, 2:] > low - air), axis=2)
        return np.array(~np.any(np.concatenate([over, _met(blocks, self.segments)], axis=1), axis=1))


def _met(blocks: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """`(blocks, segments)` bool: which segments enter which rectangles."""
    start, step = segments[:, :2], segments[:, 2:] - segments[:, :2]
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    low, high = blocks[:, None, :2], blocks[:, None, 2:]
    one, other = (low - start) / step, (high - start) / step
    enter = np.minimum(one, other).max(axis=2)
    leave = np.maximum(one, other).min(axis=2)
    return np.array(np.maximum(enter, 0) < np.minimum(leave, 1))
