"""The example inputs that come with a model."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np

from ..errors import OpenError
from .mnist import load_mnist, mnist_root
from .subject import Sample

_log = logging.getLogger(__name__)


class Samples(Sequence[Sample]):
    """Samples over two arrays, made when they are asked for.

    Args:
        images: (N, H, W) or (N, H, W, 3) uint8.
        labels: (N,) integers.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Samples: ...

    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return Samples(self.images[index], self.labels[index])
        return Sample(int(self.labels[index]), self.images[index])


def read_samples(path: Path) -> tuple[tuple[Sample, ...], Callable[[], Sequence[Sample]]]:
    """The samples in a .npz file, and what gives those that random ones are drawn from.

    Args:
        path: arrays `images` (N, H, W[, 3]) uint8 and `labels` (N,); perhaps `pool_images` and `pool_labels`
            too.

    Raises:
        OpenError: the file is missing, broken, or its arrays do not fit.
    """
    arrays = _read(path)
    samples = tuple(_paired(arrays, "images", "labels", path))
    pool = _paired(arrays, "pool_images", "pool_labels", path) if "pool_images" in arrays else samples
    return samples, lambda: pool


def digits_pool(shipped: Callable[[], Sequence[Sample]]) -> Callable[[], Sequence[Sample]]:
    """MNIST's test images where they are on disk when it is called, else the shipped ones."""
    return partial(_mnist_or, shipped)


def _mnist_or(shipped: Callable[[], Sequence[Sample]]) -> Sequence[Sample]:
    root = mnist_root()
    if root is None:
        return shipped()
    try:
        return Samples(*load_mnist(root, train=False))
    except OpenError as error:
        _log.warning("%s The digits that come with tensorview are used.", error)
        return shipped()


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise OpenError(f"There is no file {path} with the model's samples.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise OpenError(f"{path} is not a whole .npz file of samples.") from error


def _paired(arrays: dict[str, np.ndarray], images: str, labels: str, path: Path) -> Samples:
    if images not in arrays or labels not in arrays:
        raise OpenError(f"{path} needs the arrays {images} and {labels}.")
    a, b = arrays[images], arrays[labels]
    if a.dtype != np.uint8 or a.ndim not in (3, 4) or b.ndim != 1 or b.dtype.kind not in "iu" or len(a) != len(b):
        raise OpenError(
            f"{path} has {images} {a.shape} {a.dtype} and {labels} {b.shape} {b.dtype}; "
            "they are (N, H, W) or (N, H, W, 3) uint8 and (N,) integers."
        )
    return Samples(a, b)
