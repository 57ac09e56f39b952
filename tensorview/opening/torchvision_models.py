"""torchvision's classification models by their name, with their own preprocessing and class names."""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import nn

from ..errors import MissingExtra, ModelNotFound, OpenError
from .draws import same_draws
from .preprocessing import InputSpec, Preparation
from .subject import Subject
from .torchvision_shim import import_torchvision

_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch.load's own switch
_SLOW_START = ("googlenet", "inception_v3")  # their own random start takes scipy many seconds


def open_torchvision(name: str, pretrained: bool, input_shape: tuple[int, ...] | None) -> Subject:
    """The model `torchvision:NAME`, in `eval` mode.

    Args:
        name: one of torchvision's classification models, "resnet18".
        pretrained: load torchvision's default weights, downloaded to its cache if need be; else the weights
            are random, the same each time.
        input_shape: another input than that of the default weights.

    Raises:
        ModelNotFound: torchvision has no such model; near names are offered.
        OpenError: the weights can be neither found nor downloaded.
        MissingExtra: torchvision is not installed.
    """
    models = import_torchvision().models
    if name not in models.list_models(module=models):
        offer = " or ".join(near_names(name)) or "torchvision:resnet18, for one"
        raise ModelNotFound(f"torchvision has no classification model {name!r}: did you mean {offer}?")
    weights = models.get_model_weights(name).DEFAULT
    module = _pretrained(models, name, weights) if pretrained else _random(models, name)
    transform = weights.transforms()
    return Subject(
        name=f"torchvision:{name}",
        module=module.eval(),
        input_spec=_input_spec(transform, input_shape),
        class_names=tuple(weights.meta["categories"]),
        title=name,
        description="Names what a photograph shows, one of ImageNet's 1,000 classes.",
        preparation=Preparation("image", None if input_shape else _rgb(transform)),
    )


def near_names(name: str) -> list[str]:
    """torchvision's models with a name like that, as "torchvision:resnet18"; none if it is not installed."""
    try:
        models = import_torchvision().models
    except MissingExtra:
        return []
    near = difflib.get_close_matches(name, models.list_models(module=models), n=3, cutoff=0.6)
    return [f"torchvision:{other}" for other in near]


def _input_spec(transform: Any, shape: tuple[int, ...] | None) -> InputSpec:
    own = (3, transform.crop_size[0], transform.crop_size[0])
    return InputSpec(shape or own, mean=tuple(transform.mean), std=tuple(transform.std))


def _rgb(transform: Callable[[Image.Image], torch.Tensor]) -> Callable[[Image.Image], torch.Tensor]:
    """torchvision's transforms keep the image's channels, but its models take three."""

    def apply(image: Image.Image) -> torch.Tensor:
        return transform(image.convert("RGB"))

    return apply


def _random(models: ModuleType, name: str) -> nn.Module:
    options = {"init_weights": False} if name in _SLOW_START else {}
    with same_draws():
        return models.get_model(name, weights=None, **options)


def _pretrained(models: ModuleType, name: str, weights: Any) -> nn.Module:
    try:
        with _weights_only():
            return models.get_model(name, weights=weights)
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
