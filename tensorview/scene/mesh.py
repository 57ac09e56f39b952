"""Geometry as plain arrays: boxes with a picture on their fronts, rectangles with text, and lines.

Every generator returns vertices layer after layer and says which layer a vertex belongs to, so that whoever draws them
can move a layer as a whole, and can sort layers by their distance from the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SLAB = np.dtype([
    ("centre", "f4", 3),
    ("size", "f4", 3),
    ("uv", "f4", 4),
    ("side", "f4", 2),
    ("page", "i2"),
    ("layer", "i4"),
    ("channel", "i4"),
])  # fmt: skip
"""One box. `uv` is `(u0, v0, u1, v1)` of its picture, `v` from the page's first row downwards; `side` the texel of its
other faces; `channel` the feature map or unit that it shows, -1 where it shows several."""

# The eight corners as signs, and the four corners of every face, counter-clockwise as seen from outside:
# front (+z), back (-z), right (+x), left (-x), top (+y), bottom (-y).
_SIGNS = np.array([[x, y, z] for z in (1, -1) for y in (1, -1) for x in (-1, 1)], dtype=np.float32) / 2
_FACES = np.array([[2, 3, 1, 0], [7, 6, 4, 5], [3, 7, 5, 1], [6, 2, 0, 4], [0, 1, 5, 4], [6, 7, 3, 2]])
_EDGES = np.array([[0, 1], [1, 3], [3, 2], [2, 0], [4, 5], [5, 7], [7, 6], [6, 4], [0, 4], [1, 5], [2, 6], [3, 7]])


@dataclass(frozen=True, eq=False)
class Surface:
    """Textured quads.

    Attributes:
        points: `(V, 3)` float32, in the scene's unit.
        tcoords: `(V, 2)` float32, 0..1; `v = 0` is the page's first row.
        quads: `(Q, 4)` int32 indices of points, counter-clockwise from outside, layer after layer.
        layer: `(V,)` int32, the layer of every point; never falling.
    """

    points: np.ndarray
    tcoords: np.ndarray
    quads: np.ndarray
    layer: np.ndarray


@dataclass(frozen=True, eq=False)
class Lines:
    """Line segments.

    Attributes:
        points: `(V, 3)` float32; segments: `(S, 2)` int32 indices; colours: `(V, 3)` uint8; layer: `(V,)` int32.
    """

    points: np.ndarray
    segments: np.ndarray
    colours: np.ndarray
    layer: np.ndarray


def box_corners(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """`(N, 8, 3)` float32 corners of `N` boxes, centres and sizes `(N, 3)`."""
    return (np.asarray(centre)[:, None] + _SIGNS * np.asarray(size)[:, None]).astype(np.float32)


def boxes(slabs: np.ndarray) -> Surface:
    """Six quads for every slab: its picture on the front and on the back, the side texel on the other four."""
    count = len(slabs)
    points = box_corners(slabs["centre"], slabs["size"])[:, _FACES.reshape(-1)]
    u0, v0, u1, v1 = (slabs["uv"][:, i] for i in range(4))
    front = np.stack([u0, v1, u1, v1, u1, v0, u0, v0], axis=1).reshape(count, 1, 4, 2)
    back = np.stack([u1, v1, u0, v1, u0, v0, u1, v0], axis=1).reshape(count, 1, 4, 2)
    sides = np.broadcast_to(slabs["side"][:, None, None, :], (count, 4, 4, 2))
    tcoords = np.concatenate([front, back, sides], axis=1)
    return Surface(
        points.reshape(-1, 3),
        np.ascontiguousarray(tcoords.reshape(-1, 2), dtype=np.float32),
        np.arange(count * 24, dtype=np.int32).reshape(-1, 4),
        np.repeat(slabs["layer"].astype(np.int32), 24),
    )


def rectangles(corner: np.ndarray, size: np.ndarray, uv: np.ndarray, layer: np.ndarray) -> Surface:
    """Two quads for every rectangle, one for each side, so that text is never seen mirrored.

    Args:
        corner: `(N, 3)`, the top left as seen from +z.
        size: `(N, 2)` width and height.
        uv: `(N, 4)`, `(u0, v0, u1, v1)`.
        layer: `(N,)`.
    """
    count = len(corner)
    across, down = np.zeros((count, 3)), np.zeros((count, 3))
    across[:, 0], down[:, 1] = size[:, 0], -size[:, 1]
    corners = np.stack([corner + down, corner + down + across, corner + across, corner], axis=1)
    points = np.stack([corners, corners[:, [1, 0, 3, 2]]], axis=1)
    u0, v0, u1, v1 = (uv[:, i] for i in range(4))
    face = np.stack([u0, v1, u1, v1, u1, v0, u0, v0], axis=1).reshape(count, 1, 4, 2)
    return Surface(
        points.reshape(-1, 3).astype(np.float32),
        np.ascontiguousarray(np.repeat(face, 2, axis=1).reshape(-1, 2), dtype=np.float32),
        np.arange(count * 8, dtype=np.int32).reshape(-1, 4),
        np.repeat(np.asarray(layer, dtype=np.int32), 8),
    )


def wireframes(centre: np.ndarray, size: np.ndarray, colours: np.ndarray, layer: np.ndarray) -> Lines:
    """The twelve edges of `N` boxes. `colours` is `(N, 3)` uint8."""
    count = len(centre)
    segments = (np.arange(count)[:, None, None] * 8 + _EDGES).reshape(-1, 2)
    return Lines(
        box_corners(centre, size).reshape(-1, 3),
        segments.astype(np.int32),
        np.repeat(np.asarray(colours, dtype=np.uint8), 8, axis=0),
        np.repeat(np.asarray(layer, dtype=np.int32), 8),
    )


def polylines(paths: list[np.ndarray], colours: list[tuple[int, int, int]], layers: list[np.ndarray]) -> Lines:
    """Joined segments through the points of every path `(K, 3)`; `layers` has `(K,)` for each."""
    if not paths:
        none = np.zeros((0, 3), dtype=np.float32)
        return Lines(none, np.zeros((0, 2), np.int32), none.astype(np.uint8), np.zeros(0, np.int32))
    starts = np.cumsum([0, *(len(p) for p in paths)])
    segments = [
        np.stack([np.arange(len(p) - 1), np.arange(1, len(p))], axis=1) + s for p, s in zip(paths, starts, strict=False)
    ]
    shades = [np.broadcast_to(np.asarray(c, dtype=np.uint8), (len(p), 3)) for p, c in zip(paths, colours, strict=True)]
    return Lines(
        np.concatenate(paths).astype(np.float32),
        np.concatenate(segments).astype(np.int32),
        np.concatenate(shades),
        np.concatenate(layers).astype(np.int32),
    )


def back_to_front(depth: np.ndarray, eye: float) -> np.ndarray:
    """Layers in the order in which translucent planes must be drawn: the furthest from the camera along the axis first.

    Args:
        depth: `(L,)` place of every layer on the axis.
        eye: the camera's place on the same axis.
    """
    return np.argsort(-np.abs(depth - eye), kind="stable")
