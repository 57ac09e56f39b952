"""Digits drawn with a round pen along smooth curves: the shipped samples, and styles that MNIST hardly has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

# Strokes as points (x, y) in percent of the canvas, y down; a curve goes through them. "/" lifts the pen,
# a point written twice makes a corner. The first of each digit is the sample that ships.
STYLES: dict[int, tuple[str, ...]] = {
    0: (
        "51,18 40,23 32,39 31,58 38,75 51,81 63,74 69,57 67,38 60,23 51,18",
        "60,25 49,18 37,28 32,50 38,73 52,81 65,70 68,48 62,28 48,20",
    ),
    1: (
        "42,29 49,25 55,18 55,18 53,40 51,60 49,82",
        "50,18 50,50 50,82",
        "32,38 43,29 54,18 54,18 54,50 54,82",
        "30,34 42,27 53,18 53,18 52,50 51,82",
        "40,29 52,18 52,18 52,50 52,81 / 35,81 52,82 69,81",
        "31,36 52,18 52,18 51,50 51,81 / 34,81 51,81 68,81",
    ),
    2: (
        "33,35 37,23 50,17 62,22 65,35 57,50 45,64 33,79 33,79 45,77 57,78 69,77",
        "32,30 45,18 61,23 64,37 53,55 38,74 33,78 38,69 48,71 58,78 69,74",
    ),
    3: (
        "34,25 44,18 57,19 63,29 58,41 46,47 46,47 60,51 67,62 62,75 48,81 33,76",
        "33,20 50,20 66,20 66,20 56,32 46,44 46,44 62,50 67,63 59,77 45,81 32,74",
    ),
    4: (
        "44,19 39,34 32,52 32,52 45,54 58,53 71,51 / 61,33 59,50 57,66 55,83",
        "58,82 58,50 58,18 58,18 44,39 31,60 31,60 50,60 71,60",
        "36,20 35,35 35,50 35,50 50,51 66,49 / 66,18 65,40 64,62 63,82",
    ),
    5: (
        "66,20 53,20 41,21 41,21 39,33 37,45 37,45 50,42 62,48 66,61 60,74 47,80 33,76",
        "39,20 38,32 37,45 37,45 52,42 64,51 65,66 55,78 42,81 32,76 / 39,20 52,20 66,19",
    ),
    6: (
        "59,17 47,27 38,42 34,59 38,74 50,80 62,74 65,62 57,53 45,55 37,66",
        "64,23 52,19 40,32 34,52 36,71 48,81 61,76 65,64 57,55 45,57 36,67",
    ),
    7: (
        "32,24 44,23 56,22 68,20 68,20 62,36 55,51 49,66 45,83",
        "31,20 50,20 69,20 69,20 58,42 49,62 42,82 / 37,51 50,50 64,49",
        "31,29 33,19 33,19 50,20 69,19 69,19 57,46 46,82",
        "31,20 50,20 66,20 66,20 59,50 52,82 / 40,50 54,50 68,50",
    ),
    8: (
        "63,26 52,18 40,22 38,33 47,43 58,52 65,64 60,77 47,81 36,74 37,61 48,50 59,41 64,29 58,20",
        "50,48 38,38 38,25 50,18 62,25 62,38 50,48 37,59 35,71 50,81 65,71 63,59 50,48",
    ),
    9: (
        "63,33 54,44 42,45 35,35 39,23 51,18 62,24 64,36 62,52 59,67 54,82",
        "64,30 53,44 40,43 35,31 43,20 57,19 64,30 66,50 63,68 52,80 37,78",
    ),
}


@dataclass(frozen=True)
class Hand:
    """How one writer draws: the pen's width and the canvas's side in pixels, and a map of the points."""

    canvas: int = 560
    pen: float = 52.0
    turn: float = 0.0  # radians
    slant: float = 0.0  # x per y
    narrow: float = 1.0  # x per x
    waver: float = 0.0  # standard deviation of each point, in percent of the canvas

    def place(self, points: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Points (N, 2) in percent of the canvas -> in pixels."""
        x, y = (points - 50).T
        x = x * self.narrow + y * self.slant
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1) + 50
        # a corner is one point twice, and stays one
        _, place = np.unique(points, axis=0, return_inverse=True)
        noise = generator.normal(0, self.waver, (len(points), 2))[place.ravel()]
        return (turned + noise) * self.canvas / 100


def curve(points: np.ndarray, steps: int = 24) -> np.ndarray:
    """(M, 2) points on the centripetal Catmull-Rom spline through `points` (N, 2); a point given twice is a
    corner.

    After P. J. Barry and R. N. Goldman, "A recursive evaluation algorithm for a class of Catmull-Rom splines"
    (1988).
    """
    corners = np.flatnonzero((np.diff(points, axis=0) == 0).all(axis=1))
    return np.concatenate([_smooth(piece, steps) for piece in np.split(points, corners + 1)])


def _smooth(points: np.ndarray, steps: int) -> np.ndarray:
    ends = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(ends, axis=0), axis=1) ** 0.5)])
    drawn = []
    for i in range(1, len(ends) - 2):
        p, t = ends[i - 1 : i + 3], knots[i - 1 : i + 3]
        at = np.linspace(t[1], t[2], steps)[:, None]
        a = [((t[k + 1] - at) * p[k] + (at - t[k]) * p[k + 1]) / (t[k + 1] - t[k]) for k in range(3)]
        b = [((t[k + 2] - at) * a[k] + (at - t[k]) * a[k + 1]) / (t[k + 2] - t[k]) for k in range(2)]
        drawn.append(((t[2] - at) * b[0] + (at - t[1]) * b[1]) / (t[2] - t[1]))
    return np.concatenate(drawn)


def draw(strokes: str, hand: Hand | None = None, generator: np.random.Generator | None = None) -> np.ndarray:
    """(canvas, canvas) uint8: the strokes in a round pen, 255 = ink."""
    hand = hand or Hand()
    generator = generator or np.random.default_rng(0)
    image = Image.new("L", (hand.canvas, hand.canvas))
    pen, radius = ImageDraw.Draw(image), hand.pen / 2
    for stroke in strokes.split("/"):
        points = np.array([point.split(",") for point in stroke.split()], float)
        for x, y in curve(hand.place(points, generator)):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image)


def random_hand(generator: np.random.Generator, canvas: int = 224) -> Hand:
    """Pens from a hairline to a marker, upright to slanted."""
    return Hand(
        canvas=canvas,
        pen=canvas * generator.uniform(0.03, 0.11),
        turn=generator.uniform(-0.12, 0.12),
        slant=generator.uniform(-0.25, 0.1),
        narrow=generator.uniform(0.7, 1.15),
        waver=1.5,
    )
