"""Running the probe through a model in training without leaving a trace in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..capture import Trace, Tracer
from ..capture.gradients import Loss
from ..capture.values import cloned
from ..errors import CaptureError
from .contents import with_layer_gradients


class Probe:
    """An input that is looked at again and again.

    The pass runs in eval mode unless told otherwise: dropout would flicker, batch norm would judge the probe by
    itself, and synchronised batch norm would wait for other processes. The mode of every module is put back.

    Args:
        model: the model in training; wrappers of `torch.nn.parallel` are taken off, whose forward waits for the other
            processes.
        x: the input with its batch dimension, as `capture` takes it; the first sample is recorded.
        in_eval: whether the pass runs in eval mode; False leaves the mode as it is.
        budget: most bytes of the activations, see `Tracer`; and as many of their gradients.
        loss: of what the model returns, whose gradients with respect to the layers' outputs are taken too.
    """

    def __init__(
        self, model: nn.Module, x: Any, in_eval: bool = True, budget: int | None = None, loss: Loss | None = None
    ) -> None:
        self.model = unwrapped(model)
        self._tracer = Tracer(self.model, budget=budget)
        self._x = cloned(_tensors(x))
        self._in_eval, self._loss = in_eval, loss

    def __call__(self) -> Trace:
        """What the model makes of the probe now. Raises CaptureError."""
        device = next((value.device for value in self.model.parameters()), None)
        x = self._x if device is None else _moved(self._x, device)
        with _eval_mode(self.model) if self._in_eval else _as_it_is():
            if self._loss is None:
                return self._tracer(x)
            return with_layer_gradients(*self._tracer.with_gradients(x, self._loss))

    def changed(self, x: Any, loss: Loss | None = None) -> Probe:
        """Another input of the same model, with another loss if one is given. Raises CaptureError."""
        probe = copy.copy(self)
        probe._x = cloned(_tensors(x))
        probe._loss = loss or self._loss
        return probe


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without `DataParallel`, `DistributedDataParallel` and `torch.compile` around it."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def name_of(model: nn.Module) -> str:
    """The model's class, as it was before it was sharded."""
    kind = type(getattr(model, "_fsdp_wrapped_module", model))
    # `fully_shard` gives a module a class made of its own and another.
    made = [base for base in kind.__bases__ if base.__name__ != "FSDPModule"]
    return (made[0] if len(made) < len(kind.__bases__) else kind).__name__


def is_sharded(model: nn.Module) -> bool:
    """Whether parameters lie in pieces on several processes, so that one of them alone cannot run the model."""
    names = {kind.__name__ for module in model.modules() for kind in type(module).__mro__}
    return bool(names & {"FullyShardedDataParallel", "FSDPModule"})


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode; flags are set one by one, since `train()` may do more in somebody's class."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Mapping):  # as what a tokenizer returns
        return {str(key): _tensors(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_tensors(item) for item in value)
    if not isinstance(value, Tensor):
        raise CaptureError(f"the probe is a {type(value).__name__}; it must be a tensor with its batch dimension")
    return value


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return type(value)(_moved(item, device) for item in value)
