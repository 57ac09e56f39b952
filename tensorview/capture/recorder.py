"""The first pass: find every layer, what feeds it, and its values."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .attention import SUFFIX, Attention, Listener, listens_to
from .failure import Failure
from .functions import FunctionWatch
from .info import module_info
from .kinds import is_atomic, module_kind, module_type
from .layers import ModuleInfo
from .ledger import Ledger
from .plan import Node, Output, Step, also, is_plain
from .products import Products, Uncounted, has_formula
from .provenance import UNKNOWN, Sources, version
from .values import apart, batch_axis, cloned, named_tensors, tensors_in

# Of torch.compile, of FSDP, and of activation checkpointing.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


Counting = type[Products] | type[Uncounted]
# Types of results in which an argument that is handed on can be replaced by another tensor of the same memory.
_CLONED = (Tensor, nn.Parameter, tuple, list, dict)


class Frame(NamedTuple):
    """A module call that is under way.

    Attributes:
        path: the module's dotted path.
        atomic: whether the call is a layer.
        given: the tensors among the arguments, and `versions` of them before the call.
        sources, operands, fed_by: as in `functions.Call`.
    """

    module: nn.Module
    path: str
    atomic: bool = False
    given: tuple[Tensor, ...] = ()
    versions: tuple[int, ...] = ()
    sources: Sources = ()
    operands: int = 0
    fed_by: int = UNKNOWN


class Recorder:
    """Records one forward pass of `model` in a ledger.

    Hooks on every module say which module is running; those on atomic modules record what it returned. A
    `FunctionWatch` sees the functions between them.

    Args:
        counter: counts the multiply-adds of each layer of which no formula tells them; None for no counting.

    Attributes:
        paused: while hooks work on tensors themselves.
        unbatched: the first convolution that was given no batch dimension.
    """

    def __init__(self, model: nn.Module, ledger: Ledger, counter: Counting | None = None) -> None:
        self.paused = False
        self.unbatched: Failure | None = None
        self._model, self._ledger = model, ledger
        self._paths = {id(module): plain_path(path) for path, module in model.named_modules()}
        self._several = _of_several_paths(model)
        self._infos: dict[int, ModuleInfo] = {}
        self._frames: list[Frame] = []
        self._listener: Listener | None = None
        self._counter = counter
        self._products: Products | Uncounted | None = None
        self._depth = 0  # of modules under way since an atomic one was entered, itself included
        self._thread = get_ident()
        self._ambient = sys.exc_info()[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        """The same: a model that copies a part of itself copies the hooks of that part along."""
        return self

    @property
    def inside_layer(self) -> bool:
        """Whether an atomic module is running, whose inner calls are its own affair."""
        return self._depth > 0

    @property
    def owner(self) -> str:
        """The path of the module whose `forward` is running."""
        return self._frames[-1].path if self._frames else ""

    def name_of(self, function: str) -> str:
        """What a function's call is named after."""
        return f"{self.owner}.{function}" if self.owner else function

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Output, ...]:
        """Call the model and return what it returned, as nodes' outputs. What the model raises goes through."""
        parameters = {id(parameter): name for name, parameter in self._model.named_parameters()}
        modules = list(_open_modules(self._model))
        self._watch = FunctionWatch(self, self._ledger, parameters)
        try:
            for module in modules:
                self._hook(module)
            with self._watch:
                result = self._model(*args, **kwargs)
        finally:
            self._hush()
            self._paths = {}  # copies that are kept have these hooks for ever
            del self._watch  # it knows this object, which else would hold the values until garbage is collected
            for module in modules:
                for registered in _registers(module):
                    registered.pop(id(self), None)
        return self._ledger.add_returned(result)

    def _hook(self, module: nn.Module) -> None:
        """What `register_forward_hook` does; scripted modules have that method closed, but do call their hooks."""
        before, before_flags, after, after_flags, always = _registers(module)
        before[id(self)], after[id(self)] = self._enter, self._leave
        before_flags[id(self)] = after_flags[id(self)] = always[id(self)] = True

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        path = self._path(module)
        if get_ident() != self._thread or path is None:  # of a copy that the model has made of a part of itself
            return
        self.paused = True
        if self.inside_layer:
            self._depth += 1
            self._frames.append(Frame(module, path))
        else:
            frame = self._frame(module, path, args, kwargs)
            if isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor and not module.training:
                self._mind_padding(path, args, kwargs)
            self._depth += frame.atomic
            self._frames.append(frame)
            if frame.atomic and listens_to(module):
                self._listener = Listener()
                self._listener.__enter__()
            if frame.atomic and self._counter is not None and not has_formula(module):
                self._products = self._counter()
                self._products.__enter__()
            if frame.atomic:
                self._watch.put_aside()
        self.paused = False

    def _mind_padding(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note that hooks see no values of torch's fused path, which puts zeros in the place of padding."""
        mask = kwargs.get("src_key_padding_mask", args[2] if len(args) > 2 else None)
        if type(mask) is Tensor and not mask.is_meta and mask.dtype == torch.bool and bool(mask.any()):
            said = "has at padded places the values that torch computes with gradients; without, torch puts zeros there"
            self._ledger.warn(f"layer '{path}' {said}")

    def _path(self, module: nn.Module) -> str | None:
        """Where the module lies; of its paths, if it has several, the one in the module that calls it."""
        if self._frames and id(module) in self._several:
            caller = self._frames[-1]
            near = chain(caller.module.named_children(), caller.module.named_modules())
            if path := next((path for path, other in near if other is module), ""):
                return plain_path(f"{caller.path}.{path}" if caller.path else path)
        return self._paths.get(id(module))

    def _frame(self, module: nn.Module, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
        provenance = self._ledger.provenance
        given = tuple(tensors_in((args, kwargs)))
        first = args[0] if args else None
        fed_by = provenance.slots([first])[0] if isinstance(first, Tensor) else UNKNOWN
        # A model without modules of its own is opened, so that its functions are seen.
        atomic = is_atomic(module) and (module is not self._model or type(module).__module__.startswith("torch."))
        if isinstance(module, nn.modules.conv._ConvNd) and given and given[0].ndim == len(module.kernel_size) + 1:
            self.unbatched = self.unbatched or Failure(None, path, module, (tuple(given[0].shape),))
        versions = tuple(map(version, given))
        # In the place of parameters torch.func.functional_call puts what a model has computed.
        computed = (value for value in module._parameters.values() if value is not None and type(value) is Tensor)
        feeding = (*given, *computed)
        sources, operands = provenance.of_all(feeding), provenance.operands(feeding)
        return Frame(module, path, atomic, given, versions, sources, operands, fed_by)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """Called after each module, also when it raised; a result replaces what the module returned."""
        if get_ident() != self._thread or id(module) not in self._paths:
            return None
        self.paused = True
        frame = self._frames.pop()
        products = self._products
        heard = self._hush() if frame.atomic else None
        try:
            error = sys.exc_info()[1]
            if out is None and error is not None and error is not self._ambient:
                shapes = tuple(tuple(tensor.shape) for tensor in tensors_in((args, kwargs)))
                self._ledger.fail(error, frame.path, module, shapes)
                return None
            if not frame.atomic or self._is_mapped(frame, out):
                return None
            return self._record(frame, args, kwargs, out, heard, products)
        finally:
            self._depth -= self._depth > 0
            self.paused = False
            if not self._depth:
                self._watch.take_up()

    def _is_mapped(self, frame: Frame, out: Any) -> bool:
        """Whether this runs inside torch.vmap or torch.func.grad, where tensors stand for many and hold no values."""
        mapped = any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors_in(out)))
        if mapped:
            self._ledger.warn(f"layer '{frame.path}' runs inside torch.vmap or torch.func, and is not drawn")
        return mapped

    def _hush(self) -> Attention | None:
        """Stop listening and counting: the attention that was heard."""
        if self._products is not None:
            self._products.__exit__(None, None, None)
            self._products = None
        listener, self._listener = self._listener, None
        if listener is None:
            return None
        listener.__exit__(None, None, None)
        return listener.heard

    def _record(
        self,
        frame: Frame,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        heard: Attention | None,
        products: Products | Uncounted | None,
    ) -> Any:
        """Record what an atomic module returned."""
        module, provenance = frame.module, self._ledger.provenance
        fed = provenance.slots(tensors_in(args))
        changed = [t for t, old in zip(frame.given, frame.versions, strict=True) if version(t) != old]
        # A module that hands an argument on would otherwise become the source of the argument's other users.
        kept = [tensor for tensor in frame.given if not any(tensor is other for other in changed)]
        handed_on = [tensor for tensor in tensors_in(out) if any(tensor is other for other in kept)]
        replaced = bool(handed_on) and (type(out) in _CLONED or hasattr(out, "_fields"))
        if replaced:
            out = cloned(out, lambda tensor: apart(tensor) if any(tensor is other for other in kept) else tensor)
        before = [] if replaced else provenance.entries(handed_on)
        outputs = self._add_outputs(frame, out)
        if outputs and products is not None:
            self._add_count(outputs[0], products.count)
        for tensor in changed:
            provenance.written(tensor, tuple(output.node for output in outputs[:1]))
        for output, tensor in zip(outputs, tensors_in(out), strict=True):
            provenance.set(tensor, (output.node,), True)
        provenance.put_back(before)
        known = (*frame.given, *tensors_in(out))
        written = [t for t in tensors_in((args, kwargs)) if not any(t is other for other in known)]
        for tensor in written:  # to a dict or a list that it was given
            provenance.set(tensor, tuple(output.node for output in outputs[:1]) or frame.sources, False)
        if not outputs and (out is not None or written):
            did = f"returned {type(out).__name__}" if out is not None else "only wrote into its arguments"
            self._ledger.warn(f"layer '{frame.path}' ({module_type(module)}) {did}, which is not drawn")
        maps, listens = -1, False
        if heard is not None and outputs:
            node = self._node(frame, outputs[0].node, SUFFIX)
            maps, listens = self._ledger.add_attention(node, heard, module)
        plain = maps < 0 and len(outputs) == 1 and is_plain(out, outputs[0])
        more = also(fed)
        step = Step(module, None, -1, frame.fed_by, tuple(outputs), plain and not more, maps, listens, more)
        self._ledger.steps.append(step)
        return out if replaced else None

    def _add_outputs(self, frame: Frame, out: Any) -> list[Output]:
        """A node for each tensor: the first has the layer's name, others are `"lstm:1"`, `"backbone:key"`."""
        outputs: list[Output] = []
        for position, (path, tensor) in enumerate(named_tensors(out)):
            suffix = ".".join(path) if isinstance(out, dict) else str(position)
            node = self._node(frame, outputs[0].node if outputs else -1, suffix)
            outputs.append(self._ledger.add(node, tensor, frame.module, batch_axis(frame.module, position)))
        return outputs

    def _add_count(self, output: Output, count: int | None) -> None:
        """Note the multiply-adds of a call: a sample's share, or all where what came of them belongs to no sample."""
        node = self._ledger.nodes[output.node]
        share = count if count is None or output.pick.axis < 0 else count // self._ledger.batch
        node.info = replace(node.info, hyper={**node.info.hyper, "multiply_adds": share})

    def _node(self, frame: Frame, first: int, suffix: str) -> Node:
        """A node of a module's call; a further one if `first` is the node of its first tensor."""
        module = frame.module
        base = frame.path or module_type(module).lower()
        kind = module_kind(module)
        if kind == "other" and frame.operands > 1:
            kind = "merge"
        info = self._infos.get(id(module)) or self._infos.setdefault(id(module), module_info(module))
        node = Node(base, kind, module_type(module), frame.path, frame.sources, info)
        if first >= 0:
            node.first, node.suffix = first, suffix
        return node


def _registers(module: nn.Module) -> tuple[dict[int, Any], ...]:
    return (
        module._forward_pre_hooks,
        module._forward_pre_hooks_with_kwargs,
        module._forward_hooks,
        module._forward_hooks_with_kwargs,
        module._forward_hooks_always_called,
    )


def _open_modules(module: nn.Module, seen: set[int] | None = None) -> Iterator[nn.Module]:
    """`module` and all in it, each once, but for what is inside scripted ones."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    yield module
    if not isinstance(module, torch.jit.ScriptModule):
        for child in module.children():
            yield from _open_modules(child, seen)


def _of_several_paths(model: nn.Module) -> set[int]:
    """The `id` of every module that is registered in more than one place, or lies in one that is."""
    places = Counter(id(child) for module in model.modules() for child in module.children())
    shared = [module for module in model.modules() if places[id(module)] > 1]
    return {id(inner) for module in shared for inner in module.modules()}


def plain_path(path: str) -> str:
    """A module's path without the wrappers that torch puts around it."""
    return ".".join(part for part in path.split(".") if part not in _WRAPPERS)
