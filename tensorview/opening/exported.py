"""Open what `torch.export.save` wrote, with the modules that it was exported from as boxes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import OpenError
from .preprocessing import InputSpec
from .subject import Subject
from .torch_layers import layer_of_class, tie_parameters, torch_class
from .wired import identifier


def open_exported(path: Path, input_shape: tuple[int, ...] | None) -> Subject:
    """The model in a `.pt2` file.

    Raises:
        OpenError: the file is broken, its program does not fit this version of torch, or the batch is fixed above 1.
    """
    try:
        with warnings.catch_warnings(), _unlogged():
            warnings.simplefilter("ignore")  # of pickles that a newer torch would write otherwise
            program = torch.export.load(path)
            module = torch.export.unflatten(program)
    except Exception as error:  # unpicklers, the schema's checks and zip readers each have exceptions of their own
        said = (str(error).strip() or type(error).__name__).splitlines()[0].partition(" Please check the warnings")[0]
        reason = said[:200].rstrip(" .")
        raise OpenError(f"{path} is not a whole torch.export file for torch {torch.__version__}: {reason}.") from error
    shape, dtype = _input(program, path, input_shape)
    _name_layers(module)
    tie_parameters(module)
    return Subject(path.name, _named(module, program), InputSpec(shape, dtype), title=path.stem)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keeps torch from logging the traceback of what it raises as well."""
    log = logging.getLogger("torch.export")
    log.addFilter(_nothing)
    try:
        yield
    finally:
        log.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _input(program: Any, path: Path, given: tuple[int, ...] | None) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of the first input; its free sizes are those that it was exported with."""
    names = program.graph_signature.user_inputs
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    x = next((values[name] for name in names if isinstance(values.get(name), torch.Tensor)), None)
    if x is None:
        raise OpenError(f"{path} takes no tensor.")
    dtype = str(x.dtype).removeprefix("torch.")
    sizes = [size if isinstance(size, int) else None for size in x.shape]
    if sizes and sizes[0] not in (1, None):
        raise OpenError(
            f"{path} was exported for batches of {sizes[0]}: export it with a batch of 1, or with a dynamic first "
            "dimension (torch.export.Dim)."
        )
    own = tuple(sizes[1:])
    if given is not None:
        if len(given) != len(own) or any(size not in (None, other) for size, other in zip(own, given, strict=True)):
            told = ", ".join("?" if size is None else str(size) for size in own)
            raise OpenError(f"{path} takes an input of ({told}), not {given}.")
        return given, dtype
    hints = [_hint(size) for size in x.shape[1:]]
    if None in hints:
        raise OpenError(f"{path} leaves sizes of its input open: give input_shape, as (3, 224, 224).")
    return tuple(int(size) for size in hints if size is not None), dtype


def _hint(size: Any) -> int | None:
    if isinstance(size, int):
        return size
    hint = getattr(size.node, "hint", None)
    return int(hint) if isinstance(hint, int) else None


def _name_layers(module: nn.Module) -> None:
    """Put layers with the kind and the arguments of torch.nn's in the place of what `unflatten` makes of them."""
    for key, child in list(module.named_children()):
        known = torch_class(str(getattr(child, "_ty", "")))
        if known is None:
            _plain_operators(child)
            _name_layers(child)
            continue
        arguments = _arguments(child)
        layer = layer_of_class(known, child, dict(child.named_parameters()), arguments.get)
        module._modules[key] = layer
    if isinstance(module, torch.export.UnflattenedModule):
        _plain_operators(module)


def _arguments(module: Any) -> dict[str, Any]:
    """What the first operator in a module is given besides tensors, by the names in its schema."""
    node = next((node for node in module.graph.nodes if node.op == "call_function"), None)
    schema = getattr(getattr(node, "target", None), "_schema", None)
    if node is None or schema is None:
        return {}
    given = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
    given.update(zip((argument.name for argument in schema.arguments), node.args, strict=False))
    given.update(node.kwargs)
    return {name: value for name, value in given.items() if not isinstance(value, torch.fx.Node)}


def _plain_operators(module: Any) -> None:
    """Call operators by their plain names, "add" for "add.Tensor", by which capture knows them."""
    for node in getattr(module, "graph", torch.fx.Graph()).nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            node.target = node.target.overloadpacket


def _named(module: nn.Module, program: Any) -> nn.Module:
    """The module with the class's name that it was exported from."""
    stacks = (node.meta.get("nn_module_stack") or {} for node in program.graph.nodes)
    names = (str(kind) for stack in stacks for path, kind in stack.values() if path == "")
    name = identifier(next(names, "").rpartition(".")[2]) or "Exported"
    module.__class__ = type(name, (type(module),), {})
    return module
