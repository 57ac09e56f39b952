"""Pictures without a browser or a display."""

from __future__ import annotations

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

from ..errors import StageError
from ..scene import Camera, Scene
from .stage import LINE_WIDTH, Stage

MAX_EDGE = 8192
SAMPLES = 8


def render(scene: Scene, size: tuple[int, int], camera: Camera | None = None, transparent: bool = False) -> np.ndarray:
    """Draw a scene.

    Args:
        size: width and height in pixels, each 16..8192.
        camera: instead of the scene's own.
        transparent: whether the background has alpha 0.

    Returns:
        `(height, width, 4)` uint8 RGBA with straight alpha.

    Raises:
        StageError: the size is out of range, or no OpenGL library is found.
    """
    width, height = size
    if not (16 <= width <= MAX_EDGE and 16 <= height <= MAX_EDGE):
        raise StageError(f"a picture of {width} x {height} pixels cannot be made; each side must be 16 to {MAX_EDGE}")
    stage = Stage(scene)
    if camera is not None:
        stage.set_camera(camera)
    scale = min(width / 1600, height / 900)
    for lines in stage.lines.values():
        lines.actor.GetProperty().SetLineWidth(max(1.0, LINE_WIDTH * scale))
    window = stage.window
    window.SetMultiSamples(SAMPLES)
    window.SetAlphaBitPlanes(True)
    window.SetSize(width, height)
    if transparent:
        stage.renderer.SetBackground(0, 0, 0)
        stage.renderer.SetBackgroundAlpha(0)
    stage.renderer.ResetCameraClippingRange()
    window.Render()
    picture = _read(window)
    window.Finalize()
    return _straight(picture) if transparent else _opaque(picture)


def _read(window: object) -> np.ndarray:
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGBA()
    grab.ReadFrontBufferOff()
    grab.ShouldRerenderOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 4)[::-1].copy()


def _straight(picture: np.ndarray) -> np.ndarray:
    """Undo the multiplication by alpha that drawing over a black, transparent background has done."""
    alpha = picture[..., 3:].astype(np.float32)
    colour = np.divide(picture[..., :3] * 255.0, alpha, out=np.zeros_like(alpha.repeat(3, axis=2)), where=alpha > 0)
    return np.concatenate([np.clip(np.rint(colour), 0, 255).astype(np.uint8), picture[..., 3:]], axis=2)


def _opaque(picture: np.ndarray) -> np.ndarray:
    picture[..., 3] = 255
    return picture
