"""Pictures without a browser or a display."""

from __future__ import annotations

import math

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkRenderingCore import vtkRenderWindow

from ..scene import Camera, Scene
from .gl import require_opengl
from .size import checked_size
from .stage import LINE_WIDTH, Stage

SAMPLES = 8  # a pixel; OpenGL takes fewer where it has fewer
REFERENCE = (1600, 900)  # the picture for which `LINE_WIDTH` is meant
TILE = 4096
MARGIN = 24  # wide lines are cut at the edge of what is drawn, so that tiles overlap by this many pixels


def render(scene: Scene, size: tuple[int, int], camera: Camera | None = None, transparent: bool = False) -> np.ndarray:
    """Draw a scene. Pictures of more than `TILE` pixels a side are drawn in tiles, so that memory stays bounded.

    Args:
        size: width and height in pixels, each 16..8192.
        camera: instead of the scene's own.
        transparent: whether the background has alpha 0.

    Returns:
        `(height, width, 4)` uint8 RGBA with straight alpha.

    Raises:
        StageError: the size is out of range, or no OpenGL library is found.
    """
    width, height = checked_size(size)
    require_opengl()
    stage = Stage(scene)
    if camera is not None:
        stage.set_camera(camera)
    scale = min(width / REFERENCE[0], height / REFERENCE[1])
    for lines in stage.lines.values():
        lines.actor.GetProperty().SetLineWidth(max(1.0, LINE_WIDTH * scale))
    if transparent:
        stage.renderer.SetBackground(0, 0, 0)
        stage.renderer.SetBackgroundAlpha(0)
    stage.window.SetMultiSamples(SAMPLES)
    stage.window.SetAlphaBitPlanes(True)
    stage.renderer.ResetCameraClippingRange()
    picture = _draw_tiles(stage, width, height)
    stage.window.Finalize()
    if transparent:
        _make_straight(picture)
    else:
        picture[..., 3] = 255
    return picture


def _draw_tiles(stage: Stage, width: int, height: int) -> np.ndarray:
    """`(height, width, 4)` uint8, as it stands in the frame buffer, top row first."""
    picture = np.empty((height, width, 4), dtype=np.uint8)
    columns, rows = _spans(width), _spans(height)
    view = stage.renderer.GetActiveCamera()
    whole = vtkMatrix4x4()
    whole.DeepCopy(view.GetProjectionTransformMatrix(width / height, -1, 1))  # VTK writes over the one it returns
    stage.window.SetSize(columns[0][3] - columns[0][2], rows[0][3] - rows[0][2])
    view.UseExplicitProjectionTransformMatrixOn()
    for left, right, x0, x1 in columns:
        for top, bottom, y0, y1 in rows:
            view.SetExplicitProjectionTransformMatrix(_part(whole, x0 / width, x1 / width, y0 / height, y1 / height))
            stage.window.Render()
            picture[top:bottom, left:right] = _read(stage.window)[top - y0 : bottom - y0, left - x0 : right - x0]
    view.UseExplicitProjectionTransformMatrixOff()
    return picture


def _spans(length: int) -> list[tuple[int, int, int, int]]:
    """`(start, stop, drawn from, drawn to)` of every tile along one side, all drawn equally wide."""
    if length <= TILE:
        return [(0, length, 0, length)]
    count = math.ceil(length / (TILE - 2 * MARGIN))
    step = math.ceil(length / count)
    starts = range(0, length, step)
    return [(s, min(s + step, length), s - MARGIN, s + step + MARGIN) for s in starts]


def _part(whole: vtkMatrix4x4, left: float, right: float, top: float, bottom: float) -> vtkMatrix4x4:
    """The projection of a part of the picture; the sides are shares of its width and height, from the top left."""
    zoom = vtkMatrix4x4()
    zoom.SetElement(0, 0, 1 / (right - left))
    zoom.SetElement(0, 3, -(left + right - 1) / (right - left))
    zoom.SetElement(1, 1, 1 / (bottom - top))
    zoom.SetElement(1, 3, (top + bottom - 1) / (bottom - top))
    part = vtkMatrix4x4()
    vtkMatrix4x4.Multiply4x4(zoom, whole, part)
    return part


def _read(window: vtkRenderWindow) -> np.ndarray:
    width, height = window.GetSize()
    pixels = vtkUnsignedCharArray()
    window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
    return vtk_to_numpy(pixels).reshape(height, width, 4)[::-1]


def _make_straight(picture: np.ndarray) -> None:
    """Undo, in place, the multiplication by alpha that drawing over a black, transparent background has done."""
    for rows in np.array_split(picture, max(1, len(picture) // 256)):
        alpha = np.maximum(rows[..., 3:], 1).astype(np.float32)
        rows[..., :3] = np.minimum(np.rint(rows[..., :3] * (255 / alpha)), 255)
        rows[rows[..., 3] == 0] = 0
