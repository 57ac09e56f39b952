"""Open an image or an array that a person names or uploads; refuse what would hurt before it is decoded."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import OpenError
from .local import local

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000

# The readers are called directly: Image.open warns or raises about many pixels before it tells the size.
_READERS: tuple[tuple[bytes, Callable[[Any], Image.Image]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", jpeg_factory),
    (b"RIFF", WebPImageFile),
    (b"BM", BmpImageFile),
    (b"GIF8", GifImageFile),
)


def open_image(source: str | Path | bytes, name: str = "The image") -> Image.Image:
    """A PNG, JPEG, WebP, BMP or GIF image, decoded and upright.

    Args:
        source: a path, or the bytes of a file. At most 32 MiB and 64 megapixels.
        name: what to call bytes that cannot be opened.

    Returns:
        An image of mode L, LA, RGB or RGBA; the first frame of an animation, turned as its EXIF data ask.

    Raises:
        OpenError: the file is missing, no image, broken, or too large.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        _check_bytes(name, len(data))
    else:
        name, data = str(source), _read(Path(source))
    image = _decode(name, data)
    return plain_mode(_upright(image))


def open_array(path: str | Path) -> np.ndarray:
    """The numbers in a .npy file, in this machine's byte order, floats of 64 bits at most. It is read without pickle.

    Raises:
        OpenError: the file is missing, broken, over 32 MiB, or does not hold numbers.
    """
    _read(Path(path), check_only=True)
    try:
        # A memory map fails where the header claims more than the file holds, before memory is taken.
        array = np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # numpy's reader evaluates the header, and raises whatever a broken one brings it to
        raise OpenError(f"{path} is not a whole .npy file of numbers.") from error
    if array.dtype.kind not in "biuf":
        raise OpenError(f"{path} holds {array.dtype}, not numbers.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def open_input(path: str | Path) -> Image.Image | np.ndarray:
    """What `open_array` returns for a .npy file, what `open_image` returns for any other."""
    return open_array(path) if Path(local(path)).suffix.lower() == ".npy" else open_image(path)


def plain_mode(image: Image.Image) -> Image.Image:
    """The image in the nearest of the modes L, LA, RGB, RGBA, 8 bits a channel."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_bytes(np.asarray(image)))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """uint8 of pixels of more than 8 bits: of [0, 1], [0, 255] or [0, 65535], whichever first holds them all."""
    values = np.nan_to_num(values.astype(np.float64))
    high = float(values.max(initial=0.0))
    limit = next((limit for limit in (1.0, 255.0, 65535.0) if high <= limit), high)
    return np.round(np.clip(values / limit, 0, 1) * 255).astype(np.uint8)


def _read(path: Path, check_only: bool = False) -> bytes:
    try:
        if path.is_dir():
            raise OpenError(f"{path} is a folder, not a file.")
        if not stat.S_ISREG(path.stat().st_mode):  # reading one could take for ever
            raise OpenError(f"{path} is a device or a pipe, not a file.")
        _check_bytes(str(path), path.stat().st_size)
        return b"" if check_only else path.read_bytes()
    except OpenError:
        raise
    except FileNotFoundError as error:
        raise OpenError(f"There is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise OpenError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _check_bytes(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise OpenError(f"{name} has {size / 2**20:,.1f} MiB; at most {MAX_BYTES // 2**20} MiB open.")


def _decode(name: str, data: bytes) -> Image.Image:
    reader = next((reader for start, reader in _READERS if data.startswith(start)), None)
    if reader is None:
        raise OpenError(f"{name} is not an image that opens here: PNG, JPEG, WebP, BMP and GIF do.")
    try:
        image = reader(io.BytesIO(data))
        size = image.size
        if size[0] * size[1] <= MAX_PIXELS:
            image.load()
    except Exception as error:  # Pillow's readers raise whatever a broken file brings them to
        raise OpenError(f"{name} cannot be read as an image: it is broken or cut short.") from error
    if size[0] * size[1] > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise OpenError(f"{name} is {size[0]:,} x {size[1]:,} pixels; at most {limit} megapixels open.")
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF data say nothing about the pixels
        return image
