"""Tell a model's input from its layers."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import OpenError

_SMALL_SIDES = {1: (28, 32, 64, 224), 3: (32, 64, 96, 128, 224, 256, 299)}
_LARGE_SIDES = (224, 299, 256, 384, 512, 128, 64, 32)
_WEIGHTED = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd, nn.modules.rnn.RNNBase, nn.MultiheadAttention)


def first_weighted(module: nn.Module) -> nn.Module | None:
    """The first layer that mixes its inputs, in the order of registration, nearly always that of use."""
    return next((layer for layer in module.modules() if isinstance(layer, _WEIGHTED)), None)


def input_dtype(module: nn.Module) -> str:
    """Name of torch's dtype of the input: int64 for token indices, else that of the first weights."""
    layer = first_weighted(module)
    if isinstance(layer, nn.Embedding):
        return "int64"
    weights = next((value for value in module.parameters() if value.is_floating_point()), None)
    return "float32" if weights is None else str(weights.dtype).removeprefix("torch.")


def tell_input_shape(module: nn.Module, name: str) -> tuple[int, ...]:
    """The shape of one input, without the batch dimension.

    Where the first weights are a 2D convolution's, the usual sides of square images are tried, and the first
    that the model takes is the answer. Where they are a linear layer's, it is (F,), or the square image of F
    pixels if the model takes that.

    Raises:
        OpenError: the layers do not tell it.
    """
    layer = first_weighted(module)
    candidates: list[tuple[int, ...]] = []
    if isinstance(layer, nn.Linear) and not is_lazy(layer.weight):
        candidates = [*_square_images(layer.in_features), (layer.in_features,)]
    elif isinstance(layer, nn.Conv2d) and not is_lazy(layer.weight):
        candidates = [(layer.in_channels, side, side) for side in _sides(module, layer)]
    for shape in candidates:
        if takes(module, shape):
            return shape
    raise _untold(name)


def tell_from_weight(module: nn.Module, name: str) -> tuple[int, ...]:
    """As `tell_input_shape`, of a model whose layers are not torch.nn's own: from the shape of the first weight.

    Raises:
        OpenError: the weight does not tell it.
    """
    weight = next((value for value in module.parameters() if value.ndim > 1), None)
    candidates: list[tuple[int, ...]] = []
    if weight is not None and weight.ndim == 4:
        candidates = [(weight.shape[1], side, side) for side in dict.fromkeys((*_LARGE_SIDES, 28))]
    elif weight is not None and weight.ndim == 2:
        candidates = [*_square_images(weight.shape[1]), (weight.shape[1],)]
    for shape in candidates:
        if takes(module, shape):
            return shape
    raise _untold(name)


def _untold(name: str) -> OpenError:
    return OpenError(
        f"The input shape of {name} cannot be told from its layers: give input_shape, as (3, 224, 224).",
        lacks="input_shape",
    )


def _square_images(features: int) -> list[tuple[int, ...]]:
    """Grey and colour square images of that many numbers."""
    shapes = [(channels, math.isqrt(features // channels)) for channels in (1, 3)]
    return [(channels, side, side) for channels, side in shapes if side > 3 and channels * side**2 == features]


def _sides(module: nn.Module, first: nn.Conv2d) -> tuple[int, ...]:
    """Sides to try. torchvision's models, and those that begin with a stride, are made for large images."""
    is_large = type(module).__module__.startswith("torchvision.models") or max(first.stride) > 1
    return _LARGE_SIDES if is_large else _SMALL_SIDES.get(first.in_channels, _SMALL_SIDES[3])


def takes(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a forward pass on zeros of that shape runs; the module and the random state are left as they were."""
    if any(map(is_lazy, module.parameters())):
        module = copy.deepcopy(module)
    attributes = [
        (held, dict(held)) for layer in module.modules() for held in (layer.__dict__, layer._modules, layer._parameters)
    ]
    modes = [(layer, layer.training) for layer in module.modules()]
    buffers = [
        (layer, name, buffer, buffer.detach().clone())
        for layer in module.modules()
        for name, buffer in layer._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    weights = next(module.parameters(), torch.zeros(()))
    x = torch.zeros(1, *shape, dtype=weights.dtype, device=weights.device)
    try:
        with torch.no_grad(), torch.random.fork_rng([x.device] if x.is_cuda else []):
            module.eval()
            module(x)
        return True
    except Exception:  # a model that does not take this shape can raise anything
        return False
    finally:
        for held, before in attributes:  # such as a layer that is made to fit the first input
            held.clear()
            held.update(before)
        for layer, mode in modes:
            layer.training = mode
        for layer, name, buffer, values in buffers:
            _put_back(buffer, values)
            layer._buffers[name] = buffer


def _put_back(buffer: Tensor, values: Tensor) -> None:
    if not buffer.is_meta and not torch.equal(buffer, values):
        with torch.no_grad(), torch.inference_mode(buffer.is_inference()):
            buffer.resize_as_(values).copy_(values)
