"""MNIST's digits where torchvision has put them on disk. Nothing is downloaded here."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from ..errors import OpenError

ROOT_VARIABLE = "TENSORVIEW_MNIST"
_UNSIGNED_BYTE = 0x08


def mnist_root() -> Path | None:
    """The root, in torchvision's sense, that holds MNIST's test images; None where there is none.

    It is the folder that the environment variable TENSORVIEW_MNIST names, or else `~/.cache/tensorview`.
    """
    named = os.environ.get(ROOT_VARIABLE)
    root = Path(named).expanduser() if named else Path.home() / ".cache" / "tensorview"
    return root if _find(root, "t10k-images-idx3-ubyte") else None


def load_mnist(root: str | Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) uint8, 0 = paper, 255 = ink, and labels (N,) uint8 in [0, 9].

    Args:
        root: what torchvision.datasets.MNIST calls its root: the files lie in `root/MNIST/raw`.
        train: the training images; else the test images.

    Raises:
        OpenError: a file is missing or broken.
    """
    split = "train" if train else "t10k"
    images = _read_idx(Path(root), f"{split}-images-idx3-ubyte")
    labels = _read_idx(Path(root), f"{split}-labels-idx1-ubyte")
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise OpenError(f"The MNIST files in {root} do not fit: images {images.shape}, labels {labels.shape}.")
    return images, labels


def _find(root: Path, name: str) -> Path | None:
    folder = root / "MNIST" / "raw"
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx(root: Path, name: str) -> np.ndarray:
    """An array of unsigned bytes in the IDX format: two zeros, the type, the rank, the sizes, the values."""
    path = _find(root, name)
    if path is None:
        raise OpenError(f"{root} holds no MNIST: MNIST/raw/{name} is missing there.")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if data[2] != _UNSIGNED_BYTE:
            raise ValueError("not unsigned bytes")
        shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise OpenError(f"{path} is not a whole MNIST file.") from error
