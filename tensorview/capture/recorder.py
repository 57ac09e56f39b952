"""The first pass: find every layer, what feeds it, and its values."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .failure import Failure
from .info import function_info, module_info
from .kinds import AXIS_MOVES, CONSTANTS, function_kind, function_name, is_atomic, module_kind
from .layers import ModuleInfo
from .plan import Node, Output, Step
from .provenance import NOT_DIRECT, Provenance, Sources, version
from .values import Pick, batch_axis, copy_sample, named_tensors, pick_for, sample_shape, tensors_in

Wanted = Callable[[str, "nn.Module | None"], bool]


class Frame(NamedTuple):
    """A module call that is under way."""

    module: nn.Module
    path: str
    atomic: bool
    given: tuple[Tensor, ...] = ()
    versions: tuple[int, ...] = ()
    sources: Sources = ()
    operands: int = 0
    fed_by: int = NOT_DIRECT


class Recorder:
    """Records one forward pass of `model`.

    Hooks on every module say which module is running; the ones on atomic modules copy what it returned. A
    `TorchFunctionMode` sees the functions between them.

    Attributes:
        nodes, steps: what was found, in execution order, the inputs first among the nodes.
        warnings: sentences about what could not be shown.
        failure: the innermost module or function that raised.
        unbatched: the first convolution that was given no batch dimension.
    """

    def __init__(self, model: nn.Module, batch: int, sample: int, wanted: Wanted) -> None:
        self.nodes: list[Node] = []
        self.steps: list[Step] = []
        self.warnings: list[str] = []
        self.failure: Failure | None = None
        self.unbatched: Failure | None = None
        self._model, self._batch, self._sample, self._wanted = model, batch, sample, wanted
        self._paths = {id(module): _plain_path(path) for path, module in model.named_modules()}
        self._parameters = {id(parameter): name for name, parameter in model.named_parameters()}
        self._infos: dict[int, ModuleInfo] = {}
        self._provenance = Provenance()
        self._frames: list[Frame] = []
        self._inside = 0  # how many atomic modules, one within the other, are running
        self._paused = False
        self._position = 0
        self._calls: Counter[str] = Counter()
        self._thread = threading.get_ident()
        self._ambient = sys.exc_info()[1]

    def add_input(self, name: str, tensor: Tensor) -> Output:
        """Make `tensor` an input called `name`."""
        return self._add_output(Node(name, "input", "Input", "", (), "", ()), tensor, tensor, 0, None)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Output, ...]:
        """Call the model and return what it returned, as outputs of nodes. Whatever the model raises goes through."""
        handles = []
        try:
            for module in self._model.modules():
                handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave, with_kwargs=True, always_call=True))
            with _Watch(self):
                result = self._model(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        return self._returned(result)

    @property
    def copied(self) -> dict[int, Any]:
        """What was copied, by node."""
        return {number: node.copied for number, node in enumerate(self.nodes)}

    def calls_of(self, base: str) -> int:
        """How many finished calls there are of a module's or function's name."""
        return self._calls[base]

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() != self._thread:
            return
        path = self._paths.get(id(module), "")
        if self._inside:
            self._inside += 1
            self._frames.append(Frame(module, path, False))
            return
        self._paused = True
        given = tuple(tensors_in((args, kwargs)))
        atomic = is_atomic(module) and (path != "" or type(module).__module__.startswith("torch.nn."))
        self._inside += atomic
        first = args[0] if args else None
        self._frames.append(
            Frame(
                module,
                path,
                atomic,
                given,
                tuple(map(version, given)),
                self._provenance.of_all(given),
                self._operands(given),
                self._provenance.direct(first) if isinstance(first, Tensor) else NOT_DIRECT,
            )
        )
        if (
            isinstance(module, nn.modules.conv._ConvNd)
            and given
            and given[0].ndim == len(module.kernel_size) + 1
        ):
            self.unbatched = self.unbatched or Failure(None, path, module, (tuple(given[0].shape),))
        self._paused = False

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        if threading.get_ident() != self._thread:
            return None
        frame = self._frames.pop()
        self._paused = True
        try:
            error = sys.exc_info()[1]
            if out is None and error is not None and error is not self._ambient:
                shapes = tuple(tuple(tensor.shape) for tensor in tensors_in((args, kwargs)))
                self._note_failure(error, frame.path, module, shapes)
            elif frame.atomic:
                return self._add_module(frame, out)
            return None
        finally:
            self._inside -= self._inside > 0
            self._paused = False

    def _note_failure(
        self, error: BaseException, base: str, what: Any, shapes: tuple[tuple[int, ...], ...]
    ) -> None:
        if self.failure is None or self.failure.error is not error:
            self.failure = Failure(error, base, what, shapes)

    def _add_module(self, frame: Frame, out: Any) -> Tensor | None:
        """Record what an atomic module returned; the result, if any, stands in for it."""
        module, base = frame.module, frame.path or type(frame.module).__name__.lower()
        changed = [t for t, v in zip(frame.given, frame.versions, strict=True) if version(t) != v]
        # A module that hands its argument on would otherwise become the source of the argument's other users.
        unchanged = isinstance(out, Tensor) and not changed and any(out is tensor for tensor in frame.given)
        if unchanged:
            out = out.detach()
        kind = module_kind(module)
        kind = "merge" if kind == "other" and frame.operands > 1 else kind
        info = self._infos.get(id(module)) or self._infos.setdefault(id(module), module_info(module))
        outputs: list[Output] = []
        for position, (path, tensor) in enumerate(named_tensors(out)):
            node = Node(base, kind, type(module).__name__, frame.path, (), "", frame.sources, info)
            if outputs:
                node.first = outputs[0].node
                node.suffix = path[0] if isinstance(out, dict) else str(position)
            outputs.append(self._add_output(node, tensor, tensor, batch_axis(module, position), module))
        for tensor in changed:
            self._provenance.written(tensor, tuple(output.node for output in outputs[:1]))
        for output, tensor in zip(outputs, tensors_in(out), strict=True):
            self._provenance.set(tensor, (output.node,), True)
        if not outputs:
            returned = type(out).__name__
            self.warnings.append(
                f"layer '{base}' ({type(module).__name__}) returned {returned}, which is not drawn"
            )
        self.steps.append(Step(module, None, -1, frame.fed_by, tuple(outputs)))
        return out if unchanged else None

    def _add_output(
        self, node: Node, tensor: Tensor, named: Tensor, axis: int, module: nn.Module | None
    ) -> Output:
        """Append `node` with the shape and values of `tensor`."""
        shape = tensor.shape
        pick = pick_for(shape, self._batch, axis)
        if pick.axis < 0 and self._batch > 1:
            self.warnings.append(
                f"layer '{node.base}' returned {tuple(shape)}, which has no batch dimension of {self._batch}, and is shown whole"
            )
        node.shape, node.dtype = sample_shape(shape, pick), str(tensor.dtype).removeprefix("torch.")
        number = len(self.nodes)
        self._calls[node.base] += node.first < 0
        call = self._calls[node.base]
        name = node.base if call == 1 else f"{node.base}#{call}"
        kept = node.kind == "input" or self._wanted(name, module)
        if kept:
            node.copied = copy_sample(tensor, pick, self._sample)
            if node.copied is None:
                self.warnings.append(f"layer '{name}' returned {node.dtype} values, which are not drawn")
                kept = False
        self.nodes.append(node)
        self._provenance.set(tensor, (number,), True)
        plain = pick == Pick(0) and len(shape) > 1 and is_plain(tensor)
        return Output(number, shape, tensor.dtype, pick, kept, plain)

    def _operands(self, given: tuple[Tensor, ...]) -> int:
        """How many different sources the tensors come from, each tensor's taken together."""
        return len({sources for tensor in given if (sources := self._provenance.of(tensor))})

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a torch function, follow its tensors and record it if it is a layer. The mode is off in here."""
        if self._paused:
            return func(*args, **kwargs)
        position = self._position
        self._position += 1
        if self._inside:
            return func(*args, **kwargs)
        name = function_name(func)
        given = tuple(tensors_in((args, kwargs)))
        versions, sources, operands = (
            [version(t) for t in given],
            self._provenance.of_all(given),
            self._operands(given),
        )
        fed_by = self._provenance.direct(args[0]) if args and isinstance(args[0], Tensor) else NOT_DIRECT
        owner = self._frames[-1].path if self._frames else ""
        base = f"{owner}.{name}" if owner else name
        shapes = tuple(tuple(tensor.shape) for tensor in given)
        try:
            out = func(*args, **kwargs)
        except Exception as error:
            if not name.startswith("get"):  # a missing attribute is not a layer's failure
                self._note_failure(error, base, name, shapes)
            raise
        if not sources or name in CONSTANTS:
            return out
        changed = [t for t, v in zip(given, versions, strict=True) if version(t) != v]
        first = next(tensors_in(out), None)
        kind = None if first is None or first.ndim == 0 else function_kind(name, args, kwargs, operands)
        if (
            kind == "reshape"
            and self._sample_shape(first) == self._sample_shape(given[0])
            and name not in AXIS_MOVES
        ):
            kind = None
        for tensor in changed:
            self._provenance.written(tensor, sources)
        unchanged = [tensor for tensor in given if not any(tensor is other for other in changed)]
        if kind is None:
            for tensor in tensors_in(out):
                if not any(tensor is other for other in unchanged):
                    self._provenance.set(tensor, sources, False)
            return out
        if any(out is tensor for tensor in unchanged):
            out = first = out.detach()
        info = function_info(name, func, args, kwargs, self._parameters)
        node = Node(base, kind, name, owner, (), "", sources, info, function=True)
        output = self._add_output(node, first, first, 0, None)
        for tensor in changed:
            self._provenance.written(tensor, (output.node,))
        for tensor in tensors_in(out):
            self._provenance.set(tensor, (output.node,), tensor is first)
        self.steps.append(Step(None, func, position, fed_by, (output,)))
        return out

    def _sample_shape(self, tensor: Tensor) -> tuple[int, ...]:
        return sample_shape(tensor.shape, pick_for(tensor.shape, self._batch))

    def _returned(self, result: Any) -> tuple[Output, ...]:
        """The model's result as outputs; what no layer returned as it is becomes a layer called `output`."""
        outputs = []
        for path, tensor in named_tensors(result):
            number = self._provenance.direct(tensor)
            if number >= 0:
                outputs.append(Output(number, tensor.shape, tensor.dtype, Pick(-1), False, False))
            else:
                sources = self._provenance.of(tensor)
                base = ".".join(("output", *path))
                node = Node(base, "other", "output", "", (), "", sources, ModuleInfo("output"))
                outputs.append(self._add_output(node, tensor, tensor, 0, None))
        if not outputs:
            self.warnings.append(f"the model returned {type(result).__name__}, in which there is no tensor")
        return tuple(outputs)


class _Watch(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self._recorder.call(func, args, kwargs or {})


def is_plain(tensor: Tensor) -> bool:
    """Whether the short way of copying serves: a strided CPU tensor of a dtype that numpy has."""
    return (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and tensor.dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
    )


def _plain_path(path: str) -> str:
    """A module's path without the wrappers that torch.compile puts around it."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")
