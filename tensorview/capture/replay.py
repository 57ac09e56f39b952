"""A later pass: the structure is known; values are copied, and the structure is checked on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from threading import get_ident
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from .aside import AsideMode
from .attention import Attention, Listener, heard_in
from .keeping import Reduced, average
from .plan import Copied, Output, Plan, Step
from .room import Rooms
from .trace import Trace
from .values import copy_sample, tensors_in


class Replay:
    """One pass along a plan.

    The same modules and functions must be called in the same order, return the same shapes, and be given the
    same layer's output as first argument where the plan says so. What a small layer's own forward costs is a
    few microseconds, so that the common case in `_leave` is written out.
    """

    __slots__ = (
        "_at",
        "_broken",
        "_calls",
        "_copied",
        "_ids",
        "_listener",
        "_paused",
        "_plan",
        "_room",
        "_room_of_torch",
        "_sample",
        "_steps",
        "_thread",
        "_watch",
    )

    def __init__(self, plan: Plan, sample: int, rooms: Rooms) -> None:
        self._plan, self._sample = plan, sample
        self._steps = plan.steps
        self._copied: list[Copied] = [None] * plan.size
        # One array for all: copies of their own would come to lie between torch's tensors, which then no
        # longer reuse the memory that is in the cache (a chain of 800 small layers ran a fifth slower).
        self._room = rooms.take(plan.room)
        self._room_of_torch = torch.from_numpy(self._room)
        self._listener: Listener | None = None
        self._ids = [0] * plan.size
        self._at = 0
        self._calls = 0
        self._broken = self._paused = False
        self._thread = get_ident()
        self._watch = _Watch(self) if plan.calls >= 0 else None

    def run(
        self, model: nn.Module, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Trace | None:
        """Call the model. None when it left the plan; whatever the model raises goes through."""
        for output, tensor in zip(self._plan.inputs, inputs, strict=True):
            self._take(output, tensor)
        # `register_forward_hook` and its handle cost 2 µs a module, a sixth of a small layer's forward.
        key, enter, leave = id(self), self._enter, self._leave
        listeners = [step.module for step in self._plan.steps if step.module and step.listens]
        listened = set(map(id, listeners))
        bare = () if _has_hooks_for_all() else self._plan.modules
        stood_in = [module for module in bare if id(module) not in listened and _is_bare(module)]
        ids = set(map(id, stood_in))
        hooked = [module for module in self._plan.modules if id(module) not in ids]
        hooks = [module._forward_hooks for module in hooked]
        before = [module._forward_pre_hooks for module in hooked] if self._watch else []
        listening = [module._forward_pre_hooks for module in listeners]
        try:
            for module in stood_in:
                module.__dict__["forward"] = self._stand_in(module)
            for registered in hooks:
                registered[key] = leave
            for registered in before:
                registered[key] = enter
            for registered in listening:
                registered[key] = self._listen
            with self._watch or nullcontext():
                result = model(*args, **kwargs)
        finally:
            self._watch = None  # it knows this object, which else would hold the values until garbage is collected
            self._hush()
            for module in stood_in:
                module.__dict__.pop("forward", None)
            for registered in (*hooks, *before, *listening):
                registered.pop(key, None)
        return self._finish(result)

    def _stand_in(self, module: nn.Module) -> Callable[..., Any]:
        """What takes the place of a module's `forward`: torch's hooks make a call 5 µs longer."""
        forward, enter, leave = module.forward, self._enter, self._leave

        def stood_in_for(*args: Any, **kwargs: Any) -> Any:
            enter(module, args)
            out = forward(*args, **kwargs)
            other = leave(module, args, out)
            return out if other is None else other

        return stood_in_for

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._watch is not None and get_ident() == self._thread:
            self._watch.put_aside()

    def _leave(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        """Check a call, and copy what is kept of its result. What is returned here, unless None, takes its place."""
        if get_ident() != self._thread:
            return None
        at = self._at
        self._at = at + 1
        if at >= len(self._steps):
            self._broken = True
            return None
        step = self._steps[at]
        expected, _, _, fed_by, _, plain, _, listens = step
        self._paused = True
        if module is not expected:
            self._broken = True
        elif (
            plain is not None
            and out.__class__ is Tensor
            and out.shape == plain[1]
            and out.dtype is plain[2]
            and (fed_by < 0 or (args and id(args[0]) == self._ids[fed_by]))
        ):
            node, _, _, part, start, stop, averaged = plain
            self._ids[node] = id(out)
            if averaged:
                average(out[self._sample].reshape(part[0], -1), self._room_of_torch[start:stop])
                self._copied[node] = Reduced(self._room[start:stop].reshape(part[1:]), None)
            elif start >= 0:
                self._copied[node] = values = self._room[start:stop].reshape(part)
                np.copyto(values, out.numpy()[self._sample])
        else:
            self._check(step, args, out, self._hush() if listens else None)
        if self._watch is not None:
            self._watch.take_up()
        self._paused = False
        return None

    def _listen(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if get_ident() == self._thread:
            self._enter(module, args)
            self._hush()
            self._listener = Listener()
            self._listener.__enter__()

    def _hush(self) -> Attention | None:
        listener, self._listener = self._listener, None
        if listener is None:
            return None
        listener.__exit__(None, None, None)
        return listener.heard

    def _check(self, step: Step, args: tuple[Any, ...], out: Any, heard: Attention | None) -> None:
        """Compare a call with its step and copy what it returned."""
        found = list(tensors_in(out))
        # A function's further tensors (the indices of a maximum) are no layers.
        fits = len(found) == len(step.outputs) or (step.func is not None and len(found) > len(step.outputs))
        if not fits or (step.fed_by >= 0 and (not args or id(args[0]) != self._ids[step.fed_by])):
            self._broken = True
            return
        for output, tensor in zip(step.outputs, found, strict=False):
            self._take(output, tensor)
        if step.listens:
            if heard is None:
                self._broken = True
                return
            self._copied[step.maps] = heard.of_sample(self._plan.batch, self._sample)

    def _take(self, output: Output, tensor: Tensor) -> None:
        if tensor.shape != output.shape or tensor.dtype is not output.dtype:
            self._broken = True
            return
        self._ids[output.node] = id(tensor)
        if output.kept == "exact":
            self._copied[output.node] = copy_sample(tensor, output.pick, self._sample)
        elif output.kept is not None:
            self._copied[output.node] = Reduced.of(tensor, output.pick, self._sample, output.kept)

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a torch function and copy its result where the plan says so. The mode is off in here."""
        if self._paused:
            return func(*args, **kwargs)
        self._calls += 1
        at = self._at
        if at >= len(self._steps) or self._steps[at].position != self._calls:
            return func(*args, **kwargs)
        self._at = at + 1
        step, heard = self._steps[at], None
        if step.func is not func:
            self._broken = True
            return func(*args, **kwargs)
        if step.listens:
            out, heard = heard_in(func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        out = self._handed_on(out)
        self._check(step, args, out, heard)
        return out

    def _handed_on(self, out: Any) -> Any:
        """What the model goes on with in place of a layer's result."""
        return out

    def _finish(self, result: Any) -> Trace | None:
        """The trace, if the pass followed the plan to its end."""
        returned = list(tensors_in(result))
        if self._broken or self._at != len(self._steps) or len(returned) != len(self._plan.returned):
            return None
        if self._plan.calls not in (-1, self._calls):
            return None
        for output, tensor in zip(self._plan.returned, returned, strict=True):
            if not self._ids[output.node]:  # no step's own
                self._take(output, tensor)
            elif id(tensor) != self._ids[output.node]:
                return None
        return None if self._broken else self._plan.filled(self._copied)


def _has_hooks_for_all() -> bool:
    """Whether there are hooks that torch calls before or after the `forward` of every module."""
    return bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)


def _is_bare(module: nn.Module) -> bool:
    """Whether calling a module is calling its `forward`, as its class has that, and no more."""
    kind = type(module)
    return (
        not isinstance(module, torch.jit.ScriptModule)  # whose class has no `forward`
        and kind.__call__ is nn.Module.__call__
        and isinstance(kind.forward, FunctionType)
        and "forward" not in module.__dict__
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and module._compiled_call_impl is None
    )


class _Watch(AsideMode):
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
