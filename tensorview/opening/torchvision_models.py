"""torchvision's models by their name, with their own preprocessing and class names."""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..errors import MissingExtra, ModelNotFound, OpenError
from .draws import same_draws
from .preprocessing import InputSpec, Preparation
from .subject import Subject
from .torchvision_shim import import_torchvision

_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.load's own switch
FRAMES = 16  # of a clip, as torchvision's video models were trained on
_SLOW_START = ("googlenet", "inception_v3")  # their own random start takes scipy many seconds


def open_torchvision(name: str, pretrained: bool, input_shape: tuple[int, ...] | None) -> Subject:
    """The model `torchvision:NAME`, in `eval` mode.

    Args:
        name: any that `torchvision.models.list_models()` has: "resnet18", "fcn_resnet50", "r3d_18".
        pretrained: load torchvision's default weights, downloaded to its cache if need be; else the weights
            are random, the same each time.
        input_shape: another input than that of the default weights.

    Raises:
        ModelNotFound: torchvision has no such model; near names are offered.
        OpenError: the weights can be neither found nor downloaded.
        MissingExtra: torchvision is not installed.
    """
    models = import_torchvision().models
    if name not in models.list_models():
        offer = " or ".join(near_names(name)) or "torchvision:resnet18, for one"
        raise ModelNotFound(f"torchvision has no model {name!r}: did you mean {offer}?")
    weights = models.get_model_weights(name).DEFAULT
    task = next(task for task in _TASKS if name in models.list_models(module=getattr(models, task.module, models)))
    options = {"weights_backbone": None} if task.has_backbone else {}
    module = _pretrained(models, name, weights) if pretrained else _random(models, name, options)
    if task.takes_list:
        module = _taking_a_batch(module)
    spec, preparation = task.input(weights, input_shape)
    return Subject(
        name=f"torchvision:{name}",
        module=module.eval(),
        input_spec=spec,
        inputs=dict.fromkeys(task.inputs, spec),
        class_names=tuple(weights.meta.get("categories") or ()),
        title=name,
        description=task.description,
        preparation=preparation,
    )


def near_names(name: str) -> list[str]:
    """torchvision's models with a name like that, as "torchvision:resnet18"; none if it is not installed."""
    try:
        models = import_torchvision().models
    except MissingExtra:
        return []
    near = difflib.get_close_matches(name, models.list_models(), n=3, cutoff=0.6)
    return [f"torchvision:{other}" for other in near]


def _image(weights: Any, shape: tuple[int, ...] | None) -> tuple[InputSpec, Preparation]:
    """A photograph as the transforms of the weights crop it."""
    transform = weights.transforms()
    own = (3, transform.crop_size[0], transform.crop_size[0])
    spec = InputSpec(shape or own, mean=tuple(transform.mean), std=tuple(transform.std))
    return spec, Preparation("image", None if shape else _rgb(transform))


def _whole_image(weights: Any, shape: tuple[int, ...] | None) -> tuple[InputSpec, Preparation]:
    """A photograph whose shorter side has the length that the weights were trained for; of it the square centre."""
    transform = weights.transforms()
    own = (3, transform.resize_size[0], transform.resize_size[0])
    return InputSpec(shape or own, mean=tuple(transform.mean), std=tuple(transform.std)), Preparation()


def _clip(weights: Any, shape: tuple[int, ...] | None) -> tuple[InputSpec, Preparation]:
    """Frames, (3, T, H, W); a picture becomes a clip in which nothing moves."""
    transform = weights.transforms()
    own = (3, max(FRAMES, weights.meta.get("min_temporal_size") or 0), *transform.crop_size)

    def still(image: Image.Image) -> torch.Tensor:
        frame = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        clip: torch.Tensor = transform(frame.expand(own[1], *frame.shape))
        return clip

    return InputSpec(shape or own), Preparation("image", None if shape else still)


def _two_frames(weights: Any, shape: tuple[int, ...] | None) -> tuple[InputSpec, Preparation]:
    """Pictures from 0 to 1, which the model wants from -1 to 1."""
    return InputSpec(shape or (3, 128, 128), mean=(0.5,) * 3, std=(0.5,) * 3), Preparation()


def _photograph(weights: Any, shape: tuple[int, ...] | None) -> tuple[InputSpec, Preparation]:
    """A picture from 0 to 1, which the model itself resizes and normalises."""
    return InputSpec(shape or (3, 320, 320)), Preparation()


class _Task(NamedTuple):
    """What models of a task take.

    Attributes:
        module: where torchvision has them, `torchvision.models.MODULE`; empty for `torchvision.models` itself.
        description: a sentence about them.
        input: makes the input's spec and preparation of the weights and the shape that was asked for.
        inputs: the names of the arguments of `forward`, where there are several.
        has_backbone: whether there are weights of a part of it, which torchvision would download by default.
        takes_list: whether `forward` takes a list of images in place of a batch.
    """

    module: str
    description: str
    input: Callable[[Any, tuple[int, ...] | None], tuple[InputSpec, Preparation]]
    inputs: tuple[str, ...] = ()
    has_backbone: bool = False
    takes_list: bool = False


_TASKS = (
    _Task("", "Names what a photograph shows, one of ImageNet's 1,000 classes.", _image),
    _Task("quantization", "Names what a photograph shows, one of ImageNet's 1,000 classes.", _image),
    _Task("segmentation", "Names what every pixel of a photograph shows.", _whole_image, has_backbone=True),
    _Task("detection", "Finds things in a photograph.", _photograph, has_backbone=True, takes_list=True),
    _Task("video", "Names what is done in a short clip, one of 400 actions.", _clip),
    _Task("optical_flow", "Tells how pixels move between two pictures.", _two_frames, ("image1", "image2")),
)


def _taking_a_batch(module: nn.Module) -> nn.Module:
    """The same model, whose `forward` takes (N, 3, H, W) in place of a list of N images."""
    kind = type(module)

    def forward(self: nn.Module, images: torch.Tensor) -> Any:
        return kind.forward(self, list(images))

    module.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return module


def _rgb(transform: Callable[[Image.Image], torch.Tensor]) -> Callable[[Image.Image], torch.Tensor]:
    """torchvision's transforms keep the image's channels, but its models take three."""

    def apply(image: Image.Image) -> torch.Tensor:
        return transform(image.convert("RGB"))

    return apply


def _random(models: ModuleType, name: str, options: dict[str, Any]) -> nn.Module:
    if name.endswith(_SLOW_START):
        options = {"init_weights": False}
    with same_draws():
        return models.get_model(name, weights=None, **options)


def _pretrained(models: ModuleType, name: str, weights: Any) -> nn.Module:
    quantized = {"quantize": True} if name.startswith("quantized_") else {}
    try:
        with _weights_only():
            return models.get_model(name, weights=weights, **quantized)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise OpenError(f"The file of {name}'s weights in torch's cache is broken, delete it: {reason}.") from error
    except OSError as error:
        reason = str(getattr(error, "reason", error))
        raise OpenError(
            f"The weights of {name} could not be downloaded ({reason}): connect to the network once, or "
            "open it with --random-weights (random_weights=True)."
        ) from error


@contextmanager
def _weights_only() -> Iterator[None]:
    """torchvision's loader does not ask torch.load for `weights_only`; meanwhile the environment does."""
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before
