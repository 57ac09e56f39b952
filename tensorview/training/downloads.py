"""MNIST, Fashion-MNIST and CIFAR-10, as torchvision fetches and reads them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import OpenError
from ..opening import InputSpec, Preparation, import_torchvision
from ..opening.mnist import ROOT_VARIABLE as MNIST_VARIABLE
from ..opening.mnist import load_mnist
from .augmentation import Augmentation
from .data import Data, Images, Progress

ROOT_VARIABLE = "TENSORVIEW_DATA"
UNFINISHED = ".unfinished-"
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class _Source:
    """A data set of torchvision.

    Attributes:
        title: its name for people.
        kind: torchvision's class.
        folder: where that puts its files, under the root.
        bytes: how much is downloaded and unpacked.
    """

    title: str
    kind: str
    folder: str
    bytes: int
    preparation: Preparation
    augmentation: Augmentation = field(default_factory=Augmentation)


_SOURCES = {
    "mnist": _Source(
        "MNIST", "MNIST", "MNIST", 66_500_000, Preparation("digit"), Augmentation(rotation=5, scale=0.05, shift=1)
    ),
    "fashion-mnist": _Source(
        "Fashion-MNIST", "FashionMNIST", "FashionMNIST", 85_800_000, Preparation(), Augmentation(flip=True)
    ),
    "cifar10": _Source(
        "CIFAR-10", "CIFAR10", "cifar-10-batches-py", 356_800_000, Preparation(), Augmentation(shift=3, flip=True)
    ),
}


def data_root(name: str) -> Path:
    """The folder that torchvision calls `root`: that of the environment variable TENSORVIEW_DATA, for MNIST also of
    TENSORVIEW_MNIST, or else `~/.cache/tensorview`."""
    named = os.environ.get(ROOT_VARIABLE) or (os.environ.get(MNIST_VARIABLE) if name == "mnist" else None)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "tensorview"


def open_downloaded(name: str, progress: Progress) -> Data:
    """One of torchvision's data sets with its own division into training and test images, which are held out.

    Raises:
        OpenError: it could not be downloaded; the message offers digits.
        MissingExtra: torchvision is not installed.
    """
    source, root = _SOURCES[name], data_root(name)
    parts = _stored(source, root)
    if parts is None:
        _download(source, root, progress)
        parts = _stored(source, root)
    if parts is None:
        raise OpenError(f"{source.title} in {root} is broken: remove {root / source.folder}, or choose digits instead.")
    (train, held_out), class_names = parts
    return Data(
        name=name,
        train=train,
        held_out=held_out,
        class_names=class_names,
        input_spec=InputSpec(tuple(train.pixels.shape[1:])),
        preparation=source.preparation,
        augmentation=source.augmentation,
    )


def _stored(source: _Source, root: Path) -> tuple[tuple[Images, Images], tuple[str, ...]] | None:
    """Training and test images and the class names, from the disk; `None` where they are not there, or not whole."""
    if source.kind == "MNIST":  # needs no torchvision where the files are there
        with contextlib.suppress(OpenError):
            return (_images(*load_mnist(root, True)), _images(*load_mnist(root, False))), tuple("0123456789")
        return None
    # CIFAR-10's files are pickles; torchvision compares their checksums with the originals' before it reads them.
    kind = getattr(import_torchvision().datasets, source.kind)
    try:
        train, test = kind(root, train=True, download=False), kind(root, train=False, download=False)
    except (RuntimeError, OSError, ValueError, EOFError):
        return None
    return (_images(train.data, train.targets), _images(test.data, test.targets)), tuple(train.classes)


def _images(pixels: Any, labels: Any) -> Images:
    """Of (N, H, W) or (N, H, W, 3) uint8 pixels."""
    pixels = np.array(pixels)
    pixels = pixels[:, None] if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return Images(torch.from_numpy(pixels), torch.from_numpy(np.array(labels, dtype=np.int64)))


def _download(source: _Source, root: Path, progress: Progress) -> None:
    """Fetch a data set into a folder beside its place, and move it there when it is whole.

    Raises:
        OpenError: it could not be fetched or written; nothing of it is left.
    """
    datasets = import_torchvision().datasets
    what = f"Downloading {source.title} ({source.bytes / 1e6:.0f} MB unpacked)."
    progress(0.0, what)
    try:
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f"{UNFINISHED}{source.kind}-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{UNFINISHED}{source.kind}-", dir=root) as folder:
            with _told(Path(folder), source.bytes, progress, what):
                getattr(datasets, source.kind)(folder, download=True)
            shutil.rmtree(root / source.folder, ignore_errors=True)
            os.replace(Path(folder) / source.folder, root / source.folder)
    except Exception as error:  # of the network, of the disk, of a broken archive: torchvision wraps none of them
        reason = str(getattr(error, "reason", "") or error).strip().splitlines()
        why = f" ({reason[0].rstrip('.')})" if reason else ""
        raise OpenError(
            f"{source.title} could not be downloaded{why}: try again when there is a network, or choose digits, which "
            "need none."
        ) from error


@contextmanager
def _told(folder: Path, expected: int, progress: Progress, what: str) -> Iterator[None]:
    """Say how much has arrived, which is seen by the size of the folder."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            size = 0
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    size += path.stat().st_size if path.is_file() else 0
            progress(min(0.99, size / expected), what)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
