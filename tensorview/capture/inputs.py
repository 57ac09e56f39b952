"""What a person gives a model: one tensor or several, laid out for `forward` and named after its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import CaptureError
from .values import cloned, named_tensors, tensors_in

Arguments = tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]


def arrange(model: nn.Module, x: Any) -> Arguments:
    """Copy `x` and lay it out as `(args, kwargs)` of the model's `forward`, together with its tensors.

    A tuple or list stands for the positional arguments and a dict, or another mapping with names, for the named ones,
    unless `forward` takes them only as they are, or says of its first parameter that it is a list (of images, in
    torchvision's detectors).
    Raises `CaptureError` for what fits neither way.
    """
    if isinstance(x, Mapping) and all(isinstance(name, str) for name in x):
        x = dict(x)  # a tokenizer's BatchEncoding is none
    nested = next((tensor for tensor in tensors_in(x) if tensor.is_nested), None)
    if nested is not None:
        raise CaptureError(
            "the input is a nested tensor, whose samples differ in shape: give one sample, as x[0][None], "
            "or pad them with torch.nested.to_padded_tensor"
        )
    if isinstance(x, Tensor):
        args = (x.detach().clone(),)
        return args, {}, list(args)
    x = cloned(x)
    parameters = inspect.signature(model.forward)
    if isinstance(x, dict):
        spread: tuple[tuple[Any, ...], dict[str, Any]] = ((), {str(name): value for name, value in x.items()})
    elif isinstance(x, (tuple, list)):
        spread = (tuple(x), {})
    else:
        raise CaptureError(
            f"the input is a {type(x).__name__}: give a tensor whose first dimension is the batch, "
            "or a tuple, list or dict of tensors"
        )
    whole: tuple[tuple[Any, ...], dict[str, Any]] = ((x,), {})
    ways = (whole, spread) if isinstance(x, list) and _takes_a_list(parameters) else (spread, whole)
    for args, kwargs in ways:
        try:
            parameters.bind(*args, **kwargs)
        except TypeError:
            continue
        return args, kwargs, list(tensors_in((args, kwargs)))
    raise CaptureError(
        f"the {type(x).__name__} of {len(x)} inputs does not fit {type(model).__name__}.forward{parameters}"
    )


def taken_whole(model: nn.Module, args: tuple[Any, ...]) -> str:
    """The end of a sentence on inputs that `forward` was given as its first argument, since they fit no other way.

    Empty where each input is an argument of its own.
    """
    if len(args) != 1 or type(args[0]) not in (tuple, list, dict):
        return ""
    kind, given = type(args[0]).__name__, args[0]
    held = f"a dict of {', '.join(map(str, given))}" if kind == "dict" else f"a {kind} of {len(given)}"
    names = list(inspect.signature(model.forward).parameters)
    return f"; {type(model).__name__}.forward takes {', '.join(names)}, and was given {held} as its '{names[0]}'"


def _takes_a_list(parameters: inspect.Signature) -> bool:
    first = next(iter(parameters.parameters.values()), None)
    return first is not None and re.match(r"(typing\.)?(list|List|Sequence)\b", str(first.annotation)) is not None


def name_inputs(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """The tensors among the arguments: `"input"` for a single one, else named after `forward`'s parameters."""
    bound = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    parameters = inspect.signature(model.forward).parameters
    spread: dict[str, Any] = {}
    for name, value in bound.items():
        if parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            spread.update(value)
        else:
            spread[name] = value
    named = [(".".join(path), tensor) for path, tensor in named_tensors(spread)]
    return [("input", named[0][1])] if len(named) == 1 else named


def batch_size(args: tuple[Any, ...], tensors: list[Tensor], sample: int) -> int:
    """The batch size: the first dimension of the first tensor that has any, or the length of a list of images.

    Raises `CaptureError` for no tensor at all, for an empty batch, and for a `sample` that is not in it.
    """
    if not tensors:
        raise CaptureError("the input holds no tensor: give one whose first dimension is the batch")
    images = args[0] if args and isinstance(args[0], list) else []
    if images and all(isinstance(image, Tensor) and image.ndim == 3 and len(image) in (1, 3, 4) for image in images):
        batch = len(images)
    else:
        batch = next((tensor.shape[0] for tensor in tensors if tensor.ndim), 1)
    if batch == 0:
        raise CaptureError(
            f"the input {tuple(tensors[0].shape)} is an empty batch: its first dimension must be at least 1"
        )
    if not 0 <= sample < batch:
        raise CaptureError(f"sample {sample} is not in the batch of {batch}: choose one from 0 to {batch - 1}")
    return batch
