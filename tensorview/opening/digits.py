"""Prepare a drawn digit the way MNIST's digits were prepared.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits": the digit is scaled to fit a box of 20 x
20 pixels with its proportions kept and its edges anti-aliased, and laid into 28 x 28 pixels with its centre
of mass in the centre.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 28
BOX = 20
CENTRE = 14.0  # index of row and column where the centres of mass of MNIST's digits lie on average
INK = 0.2  # share of the strongest ink below which a pixel counts as paper


def prepare_digit(array: np.ndarray) -> np.ndarray:
    """The digit in `array`, placed as MNIST places its digits.

    Args:
        array: (H, W), integers in [0, 255] or floating in [0, 1]; 0 is paper, the upper end is ink.

    Returns:
        (28, 28) float32 in [0, 1]. An image without ink gives zeros. A digit that lies as MNIST's do is only
        scaled to full contrast, so preparing twice changes nothing.

    Raises:
        ValueError: `array` is not two-dimensional.
    """
    ink = as_ink(array)
    peak = float(ink.max(initial=0.0))
    if peak <= 0.0:
        return np.zeros((SIDE, SIDE), np.float32)
    ink = ink / np.float32(peak)
    left, top, right, bottom = _bounds(ink)
    row, column = _centre_of_mass(ink)
    longest = max(right - left, bottom - top)
    if ink.shape == (SIDE, SIDE) and abs(longest - BOX) <= 2 and max(abs(row - CENTRE), abs(column - CENTRE)) <= 1:
        return ink
    pitch = longest / BOX  # source pixels to one pixel of the result
    x = _window(column, left, right, pitch)
    y = _window(row, top, bottom, pitch)
    return _resample(ink, x, y, pitch)


def as_ink(array: np.ndarray) -> np.ndarray:
    """(H, W) float32 in [0, 1] of integers in [0, 255] or floating values; what is not a number is paper."""
    array = np.asarray(array)
    if array.ndim != 2:
        raise ValueError(f"A digit is one (H, W) array, not one of shape {array.shape}.")
    if array.dtype.kind in "iu":
        return np.clip(array, 0, 255).astype(np.float32) / np.float32(255)
    return np.clip(np.nan_to_num(array.astype(np.float32), nan=0.0), 0.0, 1.0)


def _bounds(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the ink in pixels, right and bottom exclusive."""
    rows = np.flatnonzero((ink > INK).any(axis=1))
    columns = np.flatnonzero((ink > INK).any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _centre_of_mass(ink: np.ndarray) -> tuple[float, float]:
    """Row and column, as indices, of what counts as ink."""
    weight = np.where(ink > INK, ink, 0.0).astype(np.float64)
    total = weight.sum()
    row = float(weight.sum(axis=1) @ np.arange(ink.shape[0]) / total)
    column = float(weight.sum(axis=0) @ np.arange(ink.shape[1]) / total)
    return row, column


def _window(centre: float, low: int, high: int, pitch: float) -> float:
    """Where the 28 pixels begin, in source pixels: the centre of mass in the centre, and no ink outside."""
    start = centre + 0.5 - (CENTRE + 0.5) * pitch
    return min(max(start, high - SIDE * pitch), float(low))


def _resample(ink: np.ndarray, x: float, y: float, pitch: float) -> np.ndarray:
    """(28, 28) float32: the window at (x, y) in source pixels, in one anti-aliased step."""
    size = SIDE * pitch
    height, width = ink.shape
    before_x, before_y = max(0, int(np.ceil(-x))), max(0, int(np.ceil(-y)))
    after_x, after_y = max(0, int(np.ceil(x + size - width))), max(0, int(np.ceil(y + size - height)))
    padded = np.pad(np.where(ink > INK / 2, ink, 0), ((before_y, after_y), (before_x, after_x)))
    x, y = x + before_x, y + before_y
    box = (x, y, min(x + size, padded.shape[1]), min(y + size, padded.shape[0]))
    image = Image.fromarray(padded.astype(np.float32))
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))
    return np.clip(small / max(float(small.max()), 1e-6), 0.0, 1.0).astype(np.float32)
