"""A later pass: the structure is known; values are copied, and the structure is checked on the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .aside import AsideMode
from .attention import Attention, Listener, heard_in
from .keeping import Reduced, average
from .plan import Copied, Output, Plain, Plan, Step
from .room import Rooms
from .standing import StandIns
from .trace import Trace
from .values import copy_sample, tensors_in


class Replay:
    """One pass along a plan.

    The same modules and functions must be called in the same order, return the same shapes, and be given the
    outputs of the same layers, or of the same functions between them. What a small layer's own forward costs is a
    few microseconds, so that the common case, `_fits`, is written out.

    Args:
        rooms: where the memory for values comes from.
        stand_ins: for the plan's modules.

    Attributes:
        thread: in which the pass runs; what other threads call is none of it.
        watch: sees the functions between layers; None where none of them is one.
    """

    __slots__ = (
        "_at",
        "_broken",
        "_calls",
        "_copied",
        "_hooked",
        "_ids",
        "_listener",
        "_paused",
        "_plains",
        "_plan",
        "_rows",
        "_sample",
        "_stand_ins",
        "_steps",
        "_values",
        "thread",
        "watch",
    )

    def __init__(self, plan: Plan, sample: int, rooms: Rooms, stand_ins: StandIns) -> None:
        self._plan, self._sample, self._stand_ins = plan, sample, stand_ins
        self._steps, self._plains = plan.steps, plan.plains
        self._copied: list[Copied] = [None] * plan.size
        # One array for all: copies of their own would come to lie between torch's tensors, which then no
        # longer reuse the memory that is in the cache (a chain of 800 small layers ran a fifth slower).
        room = rooms.take(plan.room)
        self._values = [room[place.start : place.stop].reshape(place.shape) for place in plan.places]
        if any(place.averaged for place in plan.places):
            self._rows = torch.from_numpy(room).split([place.stop - place.start for place in plan.places])
        self._listener: Listener | None = None
        self._ids = [0] * plan.size
        self._hooked: set[int] = set()
        self._at = 0
        self._calls = 0
        self._broken = self._paused = False
        self.thread = get_ident()
        self.watch = _Watch(self) if plan.calls >= 0 else None

    def run(
        self, model: nn.Module, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Trace | None:
        """Call the model. None when it left the plan; whatever the model raises goes through."""
        for output, tensor in zip(self._plan.inputs, inputs, strict=True):
            self._take(output, tensor)
        # `register_forward_hook` and its handle cost 2 µs a module, a sixth of a small layer's forward.
        key = id(self)
        listening = [step.module._forward_pre_hooks for step in self._steps if step.listens and step.module]
        listened = {id(step.module) for step in self._steps if step.listens}
        before: list[dict[int, Any]] = []
        hooks: list[dict[int, Any]] = []
        try:
            for module in self._stand_ins.set(self, listened):
                self._hooked.add(id(module))
                hooks.append(module._forward_hooks)
                module._forward_hooks[key] = self._hook_after
                if self.watch:
                    before.append(module._forward_pre_hooks)
                    module._forward_pre_hooks[key] = self._hook_before
            for registered in listening:
                registered[key] = self._listen
            with self.watch or nullcontext():
                result = model(*args, **kwargs)
        finally:
            self.watch = None  # it knows this object, which else would hold the values until garbage is collected
            self._hush()
            self._stand_ins.remove()
            self._hooked.clear()
            for registered in (*hooks, *before, *listening):
                registered.pop(key, None)
        return self._finish(result)

    def __deepcopy__(self, memo: dict[int, Any]) -> Replay:
        """The same: a model that copies a part of itself copies the hooks of that part along."""
        return self

    def _sees(self, module: nn.Module) -> bool:
        """Whether a call of a module with hooks is one of this pass, and not that of a copy of the module."""
        return get_ident() == self.thread and id(module) in self._hooked

    def _hook_before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self.watch is not None and self._sees(module):
            self.watch.put_aside()

    def _hook_after(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        return self.leave(module, args, out) if self._sees(module) else None

    def leave(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        """Check a call, and copy what is kept of its result. What is returned here, unless None, takes its place."""
        at = self._at
        if at >= len(self._steps):
            self._broken = True
            return None
        self._at = at + 1
        self._paused = True
        if not self._fits(self._plains[at], module, args, out):
            step = self._steps[at]
            if step.module is module:
                self._check(step, args, out, self._hush() if step.listens else None)
            else:
                self._broken = True
        if self.watch is not None:
            self.watch.take_up()
        self._paused = False
        return None

    def _fits(self, plain: Plain | None, called: Any, args: tuple[Any, ...], out: Any) -> bool:
        """Whether a call is the plain one that was expected; if so, its output is kept."""
        if plain is None:
            return False
        expected, fed_by, node, shape, dtype, place, shares = plain
        if (
            called is not expected
            or out.__class__ is not Tensor
            or out.shape != shape
            or out.dtype is not dtype
            or (fed_by >= 0 and (not args or id(args[0]) != self._ids[fed_by]))
        ):
            return False
        self._ids[node] = id(out)
        if shares is not None:
            average(out, self._sample, shares, self._rows[place])
        elif place >= 0:
            np.copyto(self._values[place], out.numpy()[self._sample])
        return True

    def _listen(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._sees(module):
            self._hook_before(module, args)
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
        fed = step.fed_by < 0 or (args and id(args[0]) == self._ids[step.fed_by])
        if not fits or not fed or (step.func is None and not self._is_fed(step.also, args, {})):
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
            return self._hand_on(func, args, kwargs)
        self._at = at + 1
        step, heard = self._steps[at], None
        if step.func is not func or not self._is_fed(step.also, args, kwargs):
            self._broken = True
            return func(*args, **kwargs)
        if step.listens:
            out, heard = heard_in(func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        out = self._handed_on(out)
        if not self._fits(self._plains[at], func, args, out):
            self._check(step, args, out, heard)
        return out

    def _hand_on(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function that is no layer, and note which tensors it makes of which."""
        link = self._plan.links.get(self._calls)
        if link is None:
            return func(*args, **kwargs)
        if not self._is_fed(link.fed, args, kwargs):
            self._broken = True
        out = func(*args, **kwargs)
        if out.__class__ is Tensor:
            self._ids[link.slots[0]] = id(out)
        else:
            results = [tensor for tensor in tensors_in(out) if not any(tensor is each for each in tensors_in(args))]
            for slot, tensor in zip(link.slots, results, strict=False):
                self._ids[slot] = id(tensor)
        return out

    def _is_fed(self, slots: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the tensors among the arguments are those in the slots; -1 is any."""
        if not slots:
            return True
        plain = not kwargs and all(arg.__class__ is Tensor for arg in args)
        given = args if plain else tuple(tensors_in((args, kwargs)))
        ids = self._ids
        return len(given) == len(slots) and all(
            slot < 0 or ids[slot] == id(tensor) for slot, tensor in zip(slots, given, strict=True)
        )

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
        if self._broken:
            return None
        for place, values in zip(self._plan.places, self._values, strict=True):
            if self._copied[place.node] is None:  # else it took the long way
                self._copied[place.node] = Reduced(values, None) if place.averaged else values
        return self._plan.filled(self._copied)


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
