"""What a step records besides activations, as layers of the same trace.

A parameter `conv1.weight` is the layer "weights/conv1.weight", its gradient "gradients/conv1.weight"; the gradient of a
loss with respect to what the layer `conv1` returned is "activation_gradients/conv1".
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..capture import Layer, ModuleInfo, Trace
from ..capture.recorder import plain_path

CONTENTS = ("activations", "weights", "gradients", "activation_gradients")
OF_LAYERS = "activation_gradients/"
BYTES = 4  # of a number; parameters of float64 have 8, which their share of the budget does not know


def with_parameters(trace: Trace, model: nn.Module, content: Collection[str], budget: int | None = None) -> Trace:
    """The trace, with the parameters of the model where `content` asks for them; without its own layers where not.

    Args:
        budget: most bytes of the weights, and of the gradients. Large ones keep their first rows, since an average
            of them would say nothing; the trace's warnings say which.
    """
    layers = tuple(n for n in trace.layers if "activations" in content or n.name.startswith(OF_LAYERS))
    outputs = trace.outputs if layers else ()
    kinds = {layer.module_name: layer.kind for layer in reversed(trace.layers)}
    named = [(plain_path(name), parameter) for name, parameter in model.named_parameters()]
    most = math.inf if budget is None else largest([p.numel() for _, p in named], budget // BYTES)
    notes: list[str] = []
    for part in ("weights", "gradients"):
        if part in content:
            layers += tuple(_layer(part, name, kinds, parameter, most, notes) for name, parameter in named)
    return replace(trace, layers=layers, outputs=outputs, warnings=(*trace.warnings, *notes))


def largest(sizes: Sequence[int], budget: int) -> int:
    """How many numbers each may have at most so that all of them together stay within the budget."""
    left, ordered = budget, sorted(sizes)
    for i, size in enumerate(ordered):
        if size * (len(ordered) - i) > left:
            return left // (len(ordered) - i)
        left -= size
    return max(ordered, default=0)


def _layer(
    content: str, name: str, kinds: dict[str, str], parameter: nn.Parameter, most: float, notes: list[str]
) -> Layer:
    tensor = parameter if content == "weights" else parameter.grad
    shape = tuple(parameter.shape)
    if parameter.numel() > most:
        rows = int(most // max(1, math.prod(shape[1:])))
        what = f"the first {rows} of {shape[0]} rows" if rows else "nothing"
        notes.append(f"of {content}/{name} {what} is kept: all of its values exceed the budget")
        tensor = tensor[:rows] if tensor is not None and rows else None
        shape = (rows, *shape[1:]) if rows else shape
    owner = name.rpartition(".")[0]
    return Layer(
        name=f"{content}/{name}",
        kind=kinds.get(owner, "other"),
        module_type=content.removesuffix("s"),
        module_name=owner,
        call=1,
        shape=shape,
        dtype=str(parameter.dtype).removeprefix("torch."),
        values=None if tensor is None else _values(tensor),
        info=ModuleInfo(text=f"{content.removesuffix('s')} {name}"),
    )


def _values(tensor: Tensor) -> np.ndarray | None:
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        return None
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    return np.array(tensor.cpu().numpy(), order="C")


def with_layer_gradients(trace: Trace, gradients: Trace) -> Trace:
    """The trace, with those of another of the same structure as further layers, the inputs' among them."""

    def named(layer: Layer) -> Layer:
        parents = tuple(OF_LAYERS + parent for parent in layer.parents)
        return replace(layer, name=OF_LAYERS + layer.name, parents=parents)

    further = tuple(map(named, (*gradients.inputs, *gradients.layers)))
    warnings = dict.fromkeys((*trace.warnings, *gradients.warnings))
    return replace(trace, layers=trace.layers + further, warnings=tuple(warnings))


def _layer_gradients(trace: Trace) -> Trace:
    """What `with_layer_gradients` added, as a trace of its own with the names and the graph of the activations."""

    def named(layer: Layer) -> Layer:
        parents = tuple(parent.removeprefix(OF_LAYERS) for parent in layer.parents)
        return replace(layer, name=layer.name.removeprefix(OF_LAYERS), parents=parents)

    found = [named(layer) for layer in trace.layers if layer.name.startswith(OF_LAYERS)]
    inputs = tuple(layer for layer in found if layer.kind == "input")
    return replace(trace, inputs=inputs, layers=tuple(layer for layer in found if layer.kind != "input"))


def only(trace: Trace, content: str) -> Trace:
    """One content of a recorded trace.

    Weights and gradients are named as the model names them, and those of two dimensions or more are outputs. The
    gradients of activations have the layers, the inputs and the graph of the activations, with gradients as values.
    """
    if content == "activations":
        others = tuple(f"{name}/" for name in CONTENTS[1:])
        return replace(trace, layers=tuple(layer for layer in trace.layers if not layer.name.startswith(others)))
    if content == "activation_gradients":
        return _layer_gradients(trace)
    start = f"{content}/"
    layers = tuple(
        replace(layer, name=layer.name.removeprefix(start)) for layer in trace.layers if layer.name.startswith(start)
    )
    # What stands for a closed module is a matrix or kernels, not the bias behind them.
    return replace(trace, layers=layers, outputs=tuple(layer.name for layer in layers if len(layer.shape) > 1))
