"""What a step records besides activations: weights and their gradients, as layers of the same trace.

A parameter `conv1.weight` is the layer "weights/conv1.weight", its gradient "gradients/conv1.weight".
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..capture import Layer, ModuleInfo, Trace

CONTENTS = ("activations", "weights", "gradients")


def with_parameters(trace: Trace, model: nn.Module, content: Collection[str]) -> Trace:
    """The trace, with the parameters of the model where `content` asks for them; without its own layers where not."""
    kinds = {layer.module_name: layer.kind for layer in reversed(trace.layers)}
    layers = trace.layers if "activations" in content else ()
    for name, parameter in model.named_parameters():
        kind = kinds.get(name.rpartition(".")[0], "other")
        if "weights" in content:
            layers += (_layer("weights", name, kind, parameter, parameter),)
        if "gradients" in content:
            layers += (_layer("gradients", name, kind, parameter, parameter.grad),)
    outputs = trace.outputs if "activations" in content else ()
    return replace(trace, layers=layers, outputs=outputs)


def _layer(content: str, name: str, kind: str, parameter: torch.Tensor, tensor: torch.Tensor | None) -> Layer:
    return Layer(
        name=f"{content}/{name}",
        kind=kind,
        module_type=content.removesuffix("s"),
        module_name=name.rpartition(".")[0],
        call=1,
        shape=tuple(parameter.shape),
        dtype=str(parameter.dtype).removeprefix("torch."),
        values=None if tensor is None else _values(tensor),
        info=ModuleInfo(text=f"{content.removesuffix('s')} {name}"),
    )


def _values(tensor: torch.Tensor) -> np.ndarray | None:
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        return None
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    return np.array(tensor.cpu().numpy(), order="C")


def only(trace: Trace, content: str) -> Trace:
    """One content of a recorded trace; weights and gradients are named as the model names them."""
    if content == "activations":
        layers = tuple(layer for layer in trace.layers if not layer.name.startswith(("weights/", "gradients/")))
        return replace(trace, layers=layers)
    start = f"{content}/"
    layers = tuple(
        replace(layer, name=layer.name.removeprefix(start)) for layer in trace.layers if layer.name.startswith(start)
    )
    return replace(trace, layers=layers, outputs=())
