"""From any image to the input of a model, and back to a picture of that input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from ..errors import OpenError
from .digits import as_ink, prepare_digit
from .images import plain_mode
from .ink import find_ink

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

MOST_NUMBERS = 2**28  # 1 GiB of float32

Picture = Image.Image | np.ndarray
Transform = Callable[[Image.Image], "torch.Tensor | np.ndarray"]


def check_count(shape: Sequence[int]) -> None:
    """Raises OpenError where an input of that shape has more numbers than a model is shown."""
    count = math.prod(shape)
    if count > MOST_NUMBERS:
        sizes = ", ".join(str(size) if size < 10**30 else "..." for size in shape)
        total = f"{count:,}" if count < 10**30 else "over 10**30"
        raise OpenError(
            f"An input of the shape ({sizes}) has {total} numbers, but at most {MOST_NUMBERS:,} open: give a smaller "
            "input_shape (--input-shape)."
        )


@dataclass(frozen=True)
class InputSpec:
    """One input of a model, without the batch dimension.

    Attributes:
        shape: (C, H, W) for images.
        dtype: name of torch's dtype.
        low, high: value range of the image as it is displayed, before any normalisation.
        mean, std: one for each channel: the normalisation (value - mean) / std that follows; empty for none.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises OpenError for an input that no machine's memory holds."""
        check_count(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether it is pixels of 1, 3 or 4 channels."""
        return len(self.shape) == 3 and self.shape[0] in _MODES


@dataclass(frozen=True)
class Preparation:
    """How a model wants its images.

    Attributes:
        kind: "digit", placed as MNIST's digits are; "image", the shorter side resized and the centre cropped.
        transform: the model's own way, a Pillow image -> (C, H, W) or (1, C, H, W); it comes before `kind`.
    """

    kind: str = "image"
    transform: Transform | None = None


def to_input(image: Picture, spec: InputSpec, preparation: Preparation, prepare: bool = True) -> torch.Tensor:
    """(1, *spec.shape) of `spec.dtype`: see `Subject.preprocess`."""
    if isinstance(image, np.ndarray):
        if image.dtype.kind not in "biuf":
            raise OpenError(f"An array of {image.dtype} is no input; give it numbers.")
        if image.dtype.kind in "iu" and spec.is_image:
            image = np.clip(image, 0, 255).astype(np.uint8)
        image = _channels_first(image, spec)
        is_placed = preparation.kind == "digit" and preparation.transform is None and prepare
        if image.dtype != np.uint8 and image.shape == spec.shape and not is_placed:
            return _to_tensor(image, spec)
    if preparation.transform is not None and prepare:
        return _own(preparation.transform, _to_picture(image, spec), spec)
    if not spec.is_image:
        raise OpenError(f"The model takes {spec.shape}, which is no image; give it a .npy file of that shape.")
    if preparation.kind == "digit":
        ink = _drawn(image, spec)
        values = _fit(Image.fromarray(prepare_digit(ink) if prepare else ink), spec)
    else:
        values = _fit(_in_mode(_to_picture(image, spec), _MODES[spec.shape[0]]), spec) / 255
    return _to_tensor(spec.low + np.clip(values, 0, 1) * (spec.high - spec.low), spec)


def from_file(content: Picture, spec: InputSpec, preparation: Preparation, file: str) -> torch.Tensor:
    """(1, *spec.shape) of `spec.dtype` of what a file holds: see `Subject.read`.

    Args:
        content: a Pillow image, or the array of a .npy file.
        file: its name, for messages.
    """
    if isinstance(content, np.ndarray):
        takes_pictures = spec.is_image or preparation.transform is not None
        if content.dtype != np.uint8 or not takes_pictures:
            return _numbers(content, spec, file)
        if not content.size:
            raise OpenError(f"{file} has the shape {content.shape}, which holds no pixels.")
    return to_input(content, spec, preparation)


def _numbers(array: np.ndarray, spec: InputSpec, file: str) -> torch.Tensor:
    """The numbers of a file as they are, in the layout (C, H, W) where they are (H, W) or (H, W, C)."""
    layouts = [array]
    if spec.is_image and array.ndim in (2, 3):
        layouts.append(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    fitting = next((each for each in layouts if each.shape == spec.shape), None)
    if fitting is None:
        hint = "; a picture of another size is one of uint8" if spec.is_image else ""
        raise OpenError(f"{file} holds {array.dtype} of the shape {array.shape}, but the input is {spec.shape}{hint}.")
    dtype = getattr(torch, spec.dtype)
    is_real = dtype.is_floating_point or dtype.is_complex
    if array.dtype.kind == "f" and not is_real and not (np.isfinite(array) & (np.trunc(array) == array)).all():
        raise OpenError(f"{file} holds {array.dtype}, and not all of it is whole: the input is {spec.dtype}.")
    if array.dtype.kind != "f":  # torch has no arithmetic for most unsigned integers
        fitting = fitting.astype(np.float64 if is_real else np.int64)
    return _to_tensor(fitting, spec)


def to_picture(x: torch.Tensor | np.ndarray, spec: InputSpec) -> np.ndarray:
    """uint8 (H, W) or (H, W, C) of an input (C, H, W) or (1, C, H, W): see `Subject.preview`."""
    values = np.asarray(x.detach().cpu().float().numpy() if isinstance(x, torch.Tensor) else x, np.float32)
    values = values[0] if values.ndim == 4 else values
    if values.ndim != 3 or values.shape[0] not in _MODES:
        raise OpenError(f"An input of shape {tuple(values.shape)} has no picture.")
    if spec.mean:
        values = values * _per_channel(spec.std) + _per_channel(spec.mean)
    values = (values - spec.low) / (spec.high - spec.low)
    pixels = np.round(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def _per_channel(values: tuple[float, ...]) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(-1, 1, 1)


def _channels_first(array: np.ndarray, spec: InputSpec) -> np.ndarray:
    """(H, W) and (H, W, C) as (C, H, W); what has the shape asked for is left."""
    if array.shape == spec.shape or not spec.is_image:
        return array
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.shape[2] in _MODES and array.shape[0] not in _MODES:
        return array.transpose(2, 0, 1)
    if array.ndim == 3 and array.shape[0] in _MODES:
        return array
    raise OpenError(f"An array of shape {array.shape} is no image for an input of shape {spec.shape}.")


def _to_tensor(values: np.ndarray, spec: InputSpec) -> torch.Tensor:
    """(1, *spec.shape), normalised where the model wants that."""
    if spec.mean:
        values = (values - _per_channel(spec.mean)) / _per_channel(spec.std)
    return torch.from_numpy(np.array(values)).to(getattr(torch, spec.dtype))[None]


def _own(transform: Transform, image: Image.Image, spec: InputSpec) -> torch.Tensor:
    """What the model's own preprocessing makes of the image, checked."""
    try:
        made = torch.as_tensor(transform(image))
    except Exception as error:  # somebody else's code
        raise OpenError(f"The model's own preprocess raised {type(error).__name__}: {error}.") from error
    if made.shape == (1, *spec.shape):
        made = made[0]
    if made.shape != spec.shape:
        raise OpenError(f"The model's own preprocess gave {tuple(made.shape)}, but its input is {spec.shape}.")
    return made.to(getattr(torch, spec.dtype))[None]


def _to_picture(image: Picture, spec: InputSpec) -> Image.Image:
    """A Pillow image in a plain mode of a Pillow image or of an array (C, H, W)."""
    if isinstance(image, Image.Image):
        return plain_mode(image)
    if image.ndim != 3 or image.shape[0] not in _MODES:
        raise OpenError(f"An array of shape {image.shape} is no image for an input of shape {spec.shape}.")
    if image.dtype != np.uint8:
        image = to_picture(image, InputSpec(spec.shape, low=spec.low, high=spec.high))
        return Image.fromarray(image)
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def _drawn(image: Picture, spec: InputSpec) -> np.ndarray:
    """(H, W) float32 in [0, 1], 1 = ink. An array of one channel has bright ink already."""
    if isinstance(image, np.ndarray) and len(image) == 1:
        if image.dtype == np.uint8:
            return as_ink(image[0])
        return as_ink((image[0].astype(np.float32) - spec.low) / (spec.high - spec.low))
    return find_ink(_to_picture(image, spec))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode != "RGBA" and image.mode in ("LA", "RGBA"):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)


def _fit(image: Image.Image, spec: InputSpec) -> np.ndarray:
    """(C, H, W) float32 in the units of the image: the shorter side resized, the centre cropped."""
    size = (spec.shape[2], spec.shape[1])
    if image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    values = np.asarray(image, np.float32)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
