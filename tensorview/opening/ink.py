"""Find the ink in a picture of handwriting, whatever the colours of paper and pen."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .images import plain_mode

LONGEST = 512  # a larger picture is reduced first: it costs less, and averages the noise of a photograph
LEAST_CONTRAST = 12.0  # grey levels of 255 between paper and ink


def find_ink(image: Image.Image) -> np.ndarray:
    """How much ink there is in each pixel.

    The paper's grey is what the border shows; it may change evenly across the picture. Ink is what differs
    from it towards the other end of the picture's range, so black on white and chalk on a board give the
    same. Transparent pixels are paper.

    Args:
        image: any size and mode.

    Returns:
        (H, W) float32 in [0, 1], the longest side at most 512; 1 = the strongest ink, all 0 for a blank
        picture.
    """
    grey = np.asarray(_opaque_grey(_reduced(plain_mode(image))), np.float32)
    paper = _paper(grey)
    ink = paper - grey if np.median(paper) > (grey.min() + grey.max()) / 2 else grey - paper
    ink = np.clip(ink, 0, None)
    peak = float(ink.max(initial=0.0))
    return np.zeros_like(ink) if peak < LEAST_CONTRAST else ink / np.float32(peak)


def _reduced(image: Image.Image) -> Image.Image:
    share = LONGEST / max(image.size)
    if share >= 1:
        return image
    width, height = (max(1, round(side * share)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _opaque_grey(image: Image.Image) -> Image.Image:
    """Mode L; behind transparent pixels stands paper, black or white, that the drawing is seen on."""
    if image.mode not in ("LA", "RGBA"):
        return image.convert("L")
    grey, alpha = image.convert("LA").split()
    drawn = np.asarray(alpha) > 127
    dark = not drawn.any() or np.asarray(grey)[drawn].mean() < 128
    return Image.composite(grey, Image.new("L", image.size, 255 if dark else 0), alpha)


def _paper(grey: np.ndarray) -> np.ndarray:
    """(H, W) float32: the grey of the paper, a plane through the border's pixels in the least-squares sense.

    Pixels of the border that are far from its median, as a stroke that leaves the picture, do not count.
    """
    height, width = grey.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    edge = np.zeros(grey.shape, bool)
    band = max(1, min(height, width) // 32)
    edge[:band] = edge[-band:] = edge[:, :band] = edge[:, -band:] = True
    values = grey[edge]
    middle = np.median(values)
    near = np.abs(values - middle) <= 64
    terms = np.stack([np.ones(edge.sum(), np.float32), rows[edge], columns[edge]], axis=1)
    level, down, across = np.linalg.lstsq(terms[near], values[near], rcond=None)[0]
    return np.clip(level + down * rows + across * columns, 0, 255).astype(np.float32)
