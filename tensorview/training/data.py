"""Labelled images to train on and held-out ones to judge by, opened by a name or a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import OpenError
from ..opening import InputSpec, Preparation
from ..opening.preprocessing import to_input
from .augmentation import Augmentation

DATA = ("digits", "mnist", "fashion-mnist", "cifar10")

# Told how far loading is, in [0, 1] or None where that is not known, and what it is doing.
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, eq=False)
class Images:
    """Images and their classes.

    Attributes:
        pixels: (N, C, H, W) uint8, C is 1 or 3.
        labels: (N,) int64, indices into the class names.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def pictures(self, indices: Any) -> np.ndarray:
        """(K, H, W) or (K, H, W, 3) uint8 of some of them."""
        pixels = self.pixels[indices].numpy()
        return np.ascontiguousarray(pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1))


@dataclass(frozen=True, eq=False)
class Data:
    """A classification of images.

    Attributes:
        name: what it was opened by; of a folder its own name.
        train: what the network learns from.
        held_out: what it never learns from.
        class_names: one for each class.
        input_spec: how pixels become the network's input.
        preparation: how a drawn or foreign image becomes one of these.
        augmentation: how the training images are varied.
        notes: what was left out, as a sentence each.
    """

    name: str
    train: Images
    held_out: Images
    class_names: tuple[str, ...]
    input_spec: InputSpec
    preparation: Preparation = field(default_factory=Preparation)
    augmentation: Augmentation = field(default_factory=Augmentation)
    notes: tuple[str, ...] = ()

    def inputs(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) float32 in the range that the network takes, of uint8 pixels; not augmented."""
        spec = self.input_spec
        values = pixels.float().mul_((spec.high - spec.low) / 255).add_(spec.low)
        if spec.mean:
            values -= torch.tensor(spec.mean, device=values.device).view(-1, 1, 1)
            values /= torch.tensor(spec.std, device=values.device).view(-1, 1, 1)
        return values

    def prepared(self, image: np.ndarray) -> Tensor:
        """(1, C, H, W) float32: an image (H, W) or (H, W, 3) uint8 that a person drew, as the network takes it.

        Raises:
            OpenError: it is no such image.
        """
        image = np.asarray(image)
        if (
            image.dtype != np.uint8
            or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
            or not image.size
        ):
            raise OpenError(f"The image is {image.dtype} of shape {image.shape}; it is uint8 of (H, W) or (H, W, 3).")
        return to_input(image, self.input_spec, self.preparation)

    def fitted(self, spec: InputSpec) -> Data:
        """The same images for a network of another input: resized, grey made coloured or the reverse.

        Raises:
            OpenError: the network takes no images.
        """
        if not spec.is_image or spec.shape[0] not in (1, 3):
            raise OpenError(f"The model takes {spec.shape}; to train it here it must take images of 1 or 3 channels.")
        train, held_out = (
            replace(part, pixels=resized(part.pixels, spec.shape)) for part in (self.train, self.held_out)
        )
        return replace(self, train=train, held_out=held_out, input_spec=spec)


def resized(pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(N, *shape) uint8 of (N, C, H, W) uint8, anti-aliased."""
    channels, *size = shape
    if pixels.shape[1] != channels:
        mean = pixels.float().mean(1, keepdim=True).round_().byte()
        pixels = mean if channels == 1 else mean.expand(-1, channels, -1, -1).contiguous()
    if tuple(pixels.shape[2:]) == tuple(size):
        return pixels
    parts = [
        F.interpolate(part.float(), size, mode="bilinear", antialias=True).round_().clamp_(0, 255).byte()
        for part in pixels.split(1000)
    ]
    return torch.cat(parts)


def check_data(name: str | Path) -> None:
    """Raises OpenError where there are no such data."""
    if str(name) not in DATA and not (str(name) and Path(name).expanduser().is_dir()):
        raise OpenError(f"There are no data {str(name)!r}: name {', '.join(DATA)}, or a folder of images.")


def open_data(name: str | Path = "digits", progress: Progress = lambda share, what: None) -> Data:
    """Labelled images.

    Args:
        name: "digits", scikit-learn's, which need no download; "mnist", "fashion-mnist" or "cifar10", which torchvision
            downloads once; or a folder with a folder of images for each class.
        progress: is told how far it is.

    Raises:
        OpenError: there are no such data; they could not be downloaded; the folder has no two classes.
        MissingExtra: torchvision is not installed.
    """
    check_data(name)
    if name == "digits":
        from .digits import open_digits

        return open_digits()
    if str(name) in DATA:
        from .downloads import open_downloaded

        return open_downloaded(str(name), progress)
    from .image_folder import open_folder

    return open_folder(Path(name).expanduser(), progress)
