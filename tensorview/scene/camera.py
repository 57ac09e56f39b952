"""The camera: where it stands, what it has in frame, and the ray under a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Vector = tuple[float, float, float]

NEAREST = 1e-3
# Left, bottom, right and top of a whole picture, in normalised device coordinates.
WHOLE = (-1.0, -1.0, 1.0, 1.0)

# The first view comes from the right front and from above: the input is near and to the left, the output far and to
# the right. The normal of every map (+z) is 46 degrees off that direction.
YAW, PITCH, VIEW_ANGLE = 42.0, 20.0, 14.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position, focal_point: in the scene's unit (an edge of a full-size cell).
        view_up: unit vector.
        view_angle: the whole vertical angle, in degrees, 1..120.
    """

    position: Vector
    focal_point: Vector
    view_up: Vector = (0.0, 1.0, 0.0)
    view_angle: float = VIEW_ANGLE

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors to the right, upwards, and from the scene to the camera, each `(3,)` float64."""
        back = np.subtract(self.position, self.focal_point, dtype=float)
        back /= np.linalg.norm(back)
        right = np.cross(self.view_up, back)
        right /= np.linalg.norm(right)
        return right, np.cross(back, right), back

    def project(self, points: np.ndarray, aspect: float) -> np.ndarray:
        """`(N, 3)` points to `(N, 2)` normalised device coordinates: -1..1 from left to right and bottom to top."""
        right, up, back = self.axes()
        relative = np.asarray(points, dtype=float) - self.position
        depth = -(relative @ back)
        scale = 1 / (depth * math.tan(math.radians(self.view_angle) / 2))
        return np.stack([relative @ right * scale / aspect, relative @ up * scale], axis=1)

    def ray(self, x: float, y: float, width: float, height: float) -> Ray:
        """The ray through a pixel; `x` runs from the left and `y` from the top, both in pixels."""
        right, up, back = self.axes()
        tangent = math.tan(math.radians(self.view_angle) / 2)
        across = (2 * x / width - 1) * tangent * width / height
        upward = (1 - 2 * y / height) * tangent
        direction = right * across + up * upward - back
        return Ray(np.asarray(self.position, dtype=float), direction / np.linalg.norm(direction))


@dataclass(frozen=True, eq=False)
class Ray:
    """A half-line: `origin` and unit `direction`, each `(3,)` float64 in the scene's unit."""

    origin: np.ndarray
    direction: np.ndarray


def fit_camera(
    corners: np.ndarray,
    aspect: float = 16 / 9,
    yaw: float = YAW,
    pitch: float = PITCH,
    view_angle: float = VIEW_ANGLE,
    fill: float = 0.95,
    inside: tuple[float, float, float, float] = WHOLE,
) -> Camera:
    """The camera of a given direction that has all `corners` in frame, centred.

    Args:
        corners: `(N, 3)` points in the scene's unit.
        aspect: width over height of the picture.
        yaw: degrees to the right of the maps' normal.
        pitch: degrees above the horizontal.
        fill: share of the frame that the longer side of the network takes, 0..1.
        inside: left, bottom, right and top of the frame in the picture, -1..1, where part of that is covered.
    """
    a, b = math.radians(yaw), math.radians(pitch)
    back = np.array([math.sin(a) * math.cos(b), math.sin(b), math.cos(a) * math.cos(b)])
    focal = (corners.min(axis=0) + corners.max(axis=0)) / 2
    distance = 4 * float(np.linalg.norm(np.ptp(corners, axis=0))) + 1.0
    camera = Camera(_vector(focal + back * distance), _vector(focal), view_angle=view_angle)
    frame = np.array(inside).reshape(2, 2)
    room = np.ptp(frame, axis=0)
    for _ in range(12):
        seen = camera.project(corners, aspect)
        low, high = seen.min(axis=0), seen.max(axis=0)
        right, up, _back = camera.axes()
        half = distance * math.tan(math.radians(view_angle) / 2)
        middle = (low + high) / 2 - frame.mean(axis=0)
        focal = focal + right * middle[0] * half * aspect + up * middle[1] * half
        nearest = float(((corners - focal) @ back).max())
        distance = nearest + max((distance - nearest) * float(((high - low) / room).max()) / fill, NEAREST)
        camera = replace(camera, position=_vector(focal + back * distance), focal_point=_vector(focal))
    return camera


def _vector(array: np.ndarray) -> Vector:
    return float(array[0]), float(array[1]), float(array[2])
