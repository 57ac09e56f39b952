"""The functions that run between a model's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from .aside import AsideMode
from .attention import FUNCTIONS, SUFFIX, Attention, heard_in
from .info import function_info
from .kinds import AXIS_MOVES, CELLWISE, CONCATENATIONS, feeding, function_kind, function_name
from .ledger import Ledger
from .plan import Node, Step, also, is_plain
from .provenance import UNKNOWN, Sources, version
from .values import apart, tensors_in

if TYPE_CHECKING:
    from .recorder import Recorder


class Call(NamedTuple):
    """A torch function and what it was given.

    Attributes:
        given: the tensors among the arguments, and `versions` of them before the call.
        sources: the nodes that they come from together.
        operands: how many different sources there are, each tensor's taken together.
        fed: the slots of `given`.
        fed_by: the slot of the first argument; -1 if it has none.
        position: its number among the torch functions called outside of layers, from 1.
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: tuple[Tensor, ...]
    versions: tuple[int, ...]
    sources: Sources
    operands: int
    fed: tuple[int, ...]
    fed_by: int
    position: int

    def changed(self) -> list[Tensor]:
        """The arguments that were written to in place."""
        return [tensor for tensor, old in zip(self.given, self.versions, strict=True) if version(tensor) != old]


class FunctionWatch(AsideMode):
    """Follows tensors through every torch function and records those functions that are layers.

    Inside here the mode is off, so that what a function calls in its turn is not seen.
    """

    def __init__(self, recorder: Recorder, ledger: Ledger, parameters: dict[int, str]) -> None:
        super().__init__()
        self._recorder, self._ledger, self._parameters = recorder, ledger, parameters

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._recorder.paused or self._recorder.inside_layer:
            return func(*args, **kwargs)
        self._ledger.calls += 1
        call = self._before(func, args, kwargs, self._ledger.calls)
        attention = None
        try:
            if call.name in FUNCTIONS:
                out, attention = heard_in(func, args, kwargs)
            else:
                out = func(*args, **kwargs)
        except Exception as error:
            # Python asks for attributes that may be missing; that is no layer's failure.
            if call.name not in ("get", "getattr"):
                shapes = tuple(tuple(tensor.shape) for tensor in call.given)
                self._ledger.fail(error, self._recorder.name_of(call.name), call.name, shapes)
            raise
        if not call.sources:
            return out
        if call.name in ("numpy", "array"):
            layer = self._ledger.nodes[call.sources[0]].base
            self._ledger.warn(f"values of '{layer}' go to NumPy, where what is made of them is not followed")
        return self._follow(call, out, attention)

    def _before(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], position: int) -> Call:
        provenance = self._ledger.provenance
        name = function_name(func)
        given = tuple(tensors_in((args, kwargs)))
        entering = feeding(name, func, given)
        first = args[0] if args else None
        return Call(
            name,
            func,
            args,
            kwargs,
            given,
            tuple(map(version, given)),
            provenance.of_all(entering),
            provenance.operands(entering),
            provenance.slots(given),
            provenance.slots([first])[0] if isinstance(first, Tensor) else UNKNOWN,
            position,
        )

    def _follow(self, call: Call, out: Any, attention: Attention | None) -> Any:
        """Say where the results come from; what is returned stands in for `out`."""
        provenance, changed = self._ledger.provenance, call.changed()
        kind = self._kind(call, out)
        cellwise = call.name in CELLWISE and isinstance(out, Tensor) and provenance.cellwise(call.given, out.shape)
        unchanged = [tensor for tensor in call.given if not any(tensor is other for other in changed)]
        if kind is None:
            sources = call.sources
        else:
            if any(out is tensor for tensor in unchanged):  # as dropout does in eval mode
                out = apart(out)
            sources = (self._record(call, kind, out, attention),)
        for tensor in changed:
            provenance.written(tensor, sources)
        results = [tensor for tensor in tensors_in(out) if not any(tensor is other for other in unchanged)]
        slots = (UNKNOWN,) * len(results)
        if kind is None:
            slots = self._ledger.add_link(call.position, call.fed, len(results))
        for tensor, slot in zip(results, slots, strict=True):
            provenance.set(tensor, sources, kind is not None and tensor is results[0], cellwise, slot)
        return out

    def _kind(self, call: Call, out: Any) -> str | None:
        first = next(tensors_in(out), None)
        if first is None or first.ndim == 0 or torch._C._functorch.is_functorch_wrapped_tensor(first):
            return None
        operands = max(call.operands, 2) if self._joins_a_constant(call, first) else call.operands
        kind = function_kind(call.name, call.args, call.kwargs, operands)
        if kind == "reshape" and call.name not in AXIS_MOVES:
            before, after = map(self._ledger.shape_of_sample, (call.given[0], first))
            return None if before == after else kind
        return kind

    def _joins_a_constant(self, call: Call, result: Tensor) -> bool:
        """Whether a parameter or a constant is what a call is about: a class token, an embedding of positions."""
        constants = [tensor for tensor in call.given if not self._ledger.provenance.of(tensor)]
        if call.name in CONCATENATIONS:
            return any(tensor.numel() for tensor in constants)
        whole = any(tensor.shape[1:] == result.shape[1:] for tensor in constants)
        return call.name == "add" and result.ndim > 2 and whole

    def _record(self, call: Call, kind: str, out: Any, attention: Attention | None) -> int:
        info = function_info(call.name, call.func, call.args, call.kwargs, self._parameters)
        base = self._recorder.name_of(call.name)
        node = Node(base, kind, call.name, self._recorder.owner, call.sources, info, function=True)
        output = self._ledger.add(node, next(tensors_in(out)))
        maps, listens = -1, False
        if attention is not None:
            looked_at = self._ledger.provenance.of_all(call.given[:2])  # query and key
            further = Node(base, kind, call.name, self._recorder.owner, looked_at, info, True, output.node, SUFFIX)
            maps, listens = self._ledger.add_attention(further, attention, None)
        plain = maps < 0 and is_plain(out, output)
        self._ledger.steps.append(
            Step(None, call.func, call.position, call.fed_by, (output,), plain, maps, listens, also(call.fed))
        )
        return output.node
