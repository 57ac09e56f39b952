"""A scene as a PNG file or a Pillow image."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image

from ..errors import StageError
from ..scene import Camera, Scene
from .overlay import Overlay
from .size import checked_size

SUFFIX = ".png"


def screenshot(
    scene: Scene,
    path: str | os.PathLike[str] | None = None,
    *,
    size: tuple[int, int] = (1920, 1080),
    transparent: bool = False,
    title: str | None = None,
    legend: bool = False,
    colour_bar: bool = False,
    camera: Camera | None = None,
) -> Image.Image:
    """A picture of a scene, made without a browser or a display; twice the same bytes on one machine.

    Args:
        path: a .png file to write as well; one that is there is replaced once the new one is whole.
        size: width and height in pixels, each 16..8192.
        transparent: whether the background is; otherwise it is the theme's.
        title: a line at the top left.
        legend: whether the kinds of layer and their hues stand at the bottom right.
        colour_bar: whether the scale of values does.
        camera: instead of the scene's own. A scene whose camera is its first view is seen by the first view for a
            picture of this size.

    Returns:
        RGBA where transparent, else RGB.

    Raises:
        StageError: the size is out of range, the file cannot be written, or no OpenGL library is found.
    """
    from .picture import render  # VTK is loaded once there is something to draw

    size = checked_size(size)
    target = None if path is None else writable_png(path)
    if camera is None:
        is_first = scene.camera == scene.first_camera()
        camera = scene.first_camera(size[0] / size[1]) if is_first else scene.camera
    picture = Image.fromarray(render(scene, size, camera, transparent))
    Overlay(scene, size).draw(picture, title, legend, colour_bar)
    if not transparent:
        picture = picture.convert("RGB")
    if target is not None:
        _write(picture, target)
    return picture


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file. It says nothing of when it was made, so that the same picture is the same bytes."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def writable_png(path: str | os.PathLike[str]) -> Path:
    """The path of a picture to write, checked before time is spent on it.

    Raises:
        StageError: it does not end in .png, its folder is not there, or no file can be called that.
    """
    target = Path(path)
    if target.suffix.lower() != SUFFIX:
        raise StageError(f"{target} does not end in {SUFFIX}: pictures are written as PNG files only")
    try:
        os.lstat(_unfinished(target))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # too long, or with a NUL
        raise StageError(f"{target} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    if target.is_dir():
        raise StageError(f"{target} is a folder: name a file to write the picture to")
    if not target.parent.is_dir():
        raise StageError(f"there is no folder {target.parent} to write {target.name} into: make it first")
    return target


def _unfinished(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _write(picture: Image.Image, target: Path) -> None:
    unfinished = _unfinished(target)
    try:
        unfinished.write_bytes(png_bytes(picture))
        unfinished.replace(target)
    except OSError as error:
        raise StageError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
