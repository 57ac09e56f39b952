"""The structure of a model before there is any data: layers, shapes and edges, without values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import UninitializedBuffer, is_lazy

from .info import module_info
from .kinds import is_atomic, module_kind, module_type
from .layers import Layer
from .trace import Trace
from .values import cloned


def is_uninitialised(model: nn.Module) -> bool:
    """Whether a forward pass would first decide on the shapes of weights (`nn.LazyLinear` and the like)."""
    return any(map(is_lazy, (*model.parameters(), *model.buffers())))


def copy_of(model: nn.Module) -> nn.Module:
    """A copy of a model that is not initialised; torch copies such parameters, but not such buffers."""
    buffers = [buffer for buffer in model.buffers() if isinstance(buffer, UninitializedBuffer)]
    made: Callable[..., UninitializedBuffer] = UninitializedBuffer
    return copy.deepcopy(model, {id(b): made(device=b.device, dtype=b.dtype) for b in buffers})


def is_without_data(model: nn.Module) -> bool:
    """Whether the weights have shapes only, on torch's meta device."""
    return any(parameter.is_meta for parameter in model.parameters())


def shapes_only() -> FakeTensorMode:
    """A context in which torch computes shapes, dtypes and devices, but no values."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def stand_in(model: nn.Module, x: Any, dtype: str | None, values: bool = False) -> Any:
    """Zeros in place of an input, on the device of the model's weights.

    Args:
        x: an input, or the shape of one sample.
        dtype: of an input that is given by its shape; None for that of the first weights, or int64 where they are
            an embedding's.
        values: whether an input that has values keeps them.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if isinstance(x, (tuple, list)) and x and all(isinstance(size, int) for size in x):
        return torch.zeros(1, *x, dtype=getattr(torch, dtype) if dtype else _dtype(model), device=device)
    return cloned(x, lambda t: t.to(device) if values and not t.is_meta else torch.zeros_like(t, device=device))


def unconnected(model: nn.Module) -> Trace:
    """All that a model says by itself: its layers in the order of registration, of unknown shape, without edges."""
    layers = []
    inside: set[int] = set()
    for path, module in model.named_modules():
        if id(module) in inside or not is_atomic(module):
            continue
        inside.update(map(id, module.modules()))
        name = path or module_type(module).lower()
        layers.append(Layer(name, module_kind(module), module_type(module), path, 1, (), "", info=module_info(module)))
    said = "without an input the layers stand in the order of registration, without shapes and connections"
    return Trace((), tuple(layers), (), (f"{said}: give the shape of one sample",), None, type(model).__name__)


def _dtype(model: nn.Module) -> torch.dtype:
    leaves = (module for module in model.modules() if next(module.children(), None) is None)
    first = next((module for module in leaves if next(module.parameters(), None) is not None), None)
    if isinstance(first, nn.Embedding | nn.EmbeddingBag):
        return torch.int64
    weights = (p.dtype for p in model.parameters() if p.dtype.is_floating_point or p.dtype.is_complex)
    return next(weights, torch.float32)
