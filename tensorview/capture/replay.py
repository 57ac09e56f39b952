"""A later pass: the structure is known, so that only values are copied and the structure is checked on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .plan import Output, Plan, Step
from .trace import Trace
from .values import copy_sample, tensors_in


class Replay:
    """One pass along a plan.

    The same modules and functions must be called in the same order, return the same shapes, and be given the same layer's
    output as first argument where the plan says so.
    """

    __slots__ = (
        "_at",
        "_broken",
        "_copied",
        "_ids",
        "_paused",
        "_plan",
        "_position",
        "_sample",
        "_steps",
        "_thread",
    )

    def __init__(self, plan: Plan, sample: int) -> None:
        self._plan, self._steps, self._sample = plan, plan.steps, sample
        self._copied: dict[int, np.ndarray | Tensor | None] = {}
        self._ids: dict[int, int] = {}
        self._at = 0
        self._position = -1
        self._broken = self._paused = False
        self._thread = threading.get_ident()

    def run(
        self, model: nn.Module, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Trace | None:
        """Call the model. None when the pass did not follow the plan; whatever the model raises goes through."""
        for output, tensor in zip(self._plan.inputs, inputs, strict=True):
            self._take(output, tensor)
        handles = []
        try:
            for module in self._plan.modules:
                handles.append(module.register_forward_hook(self._leave))
            if self._plan.functions:
                with _Watch(self):
                    result = model(*args, **kwargs)
            else:
                result = model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        return self._finish(result)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        if threading.get_ident() != self._thread or self._broken:
            return
        step = self._next()
        if step is None or step.module is not module:
            self._broken = True
            return
        self._paused = True
        self._check(step, args, out)
        self._paused = False

    def _next(self) -> Step | None:
        at = self._at
        self._at = at + 1
        return self._steps[at] if at < len(self._steps) else None

    def _check(self, step: Step, args: tuple[Any, ...], out: Any) -> None:
        if step.fed_by >= 0 and (not args or id(args[0]) != self._ids[step.fed_by]):
            self._broken = True
        elif isinstance(out, Tensor):
            if len(step.outputs) == 1:
                self._take(step.outputs[0], out)
            else:
                self._broken = True
        else:
            found = list(tensors_in(out))
            # A function's further tensors (the indices of a maximum) are no layers.
            if len(found) < len(step.outputs) or (step.func is None and len(found) != len(step.outputs)):
                self._broken = True
            else:
                for output, tensor in zip(step.outputs, found, strict=False):
                    self._take(output, tensor)

    def _take(self, output: Output, tensor: Tensor) -> None:
        node, shape, dtype, pick, kept, plain = output
        if tensor.shape != shape or tensor.dtype is not dtype:
            self._broken = True
            return
        self._ids[node] = id(tensor)
        if kept:
            self._copied[node] = (
                tensor.detach().numpy()[self._sample].copy()
                if plain
                else copy_sample(tensor, pick, self._sample)
            )

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a torch function and copy its result where the plan says so. The mode is off in here."""
        if self._paused:
            return func(*args, **kwargs)
        self._position += 1
        position = self._position
        out = func(*args, **kwargs)
        at = self._at
        if at < len(self._steps) and self._steps[at].position == position:
            step = self._steps[at]
            self._at = at + 1
            if step.func is func:
                self._check(step, args, out)
            else:
                self._broken = True
        return out

    def _finish(self, result: Any) -> Trace | None:
        """The trace, if the pass followed the plan to its end."""
        returned = list(tensors_in(result))
        if self._broken or self._at != len(self._steps) or len(returned) != len(self._plan.returned):
            return None
        for output, tensor in zip(self._plan.returned, returned, strict=True):
            if output.kept:
                self._take(output, tensor)
            elif tensor.shape != output.shape:
                return None
        return None if self._broken else self._plan.filled(self._copied)


class _Watch(TorchFunctionMode):
    def __init__(self, replay: Replay) -> None:
        super().__init__()
        self._replay = replay

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self._replay.call(func, args, kwargs or {})
