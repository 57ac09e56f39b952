"""Open TorchScript: the program is read and run step by step in Python, where its layers can be watched."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import OpenError
from .preprocessing import InputSpec
from .shapes import tell_from_weight
from .subject import Subject
from .torch_layers import layer_of_class, tie_parameters, torch_class
from .wired import identifier

_MOST_STEPS = 10_000_000  # of a loop
_FORWARD = re.compile(r"forward(__)?\d*")  # further calls of a traced module have numbers, overloads "__" before them


def open_torchscript(path: Path, input_shape: tuple[int, ...] | None) -> Subject:
    """The model in a file that `torch.jit.save` wrote, traced or scripted.

    Raises:
        OpenError: the file is broken, or its weights do not tell the shape of its input and none is given.
    """
    unit = torch._C.CompilationUnit()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            read: Any = torch._C.import_ir_module  # torch's own stub of it is out of date
            script = torch.jit._recursive.wrap_cpp_module(read(unit, str(path), torch.device("cpu"), {}, False))
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200].rstrip(" .")
        raise OpenError(f"{path} is not a whole TorchScript file: {reason}.") from error
    module = read_script(script.eval(), unit)
    module.eval()
    tie_parameters(module)
    shape = input_shape or tell_from_weight(module, path.name)
    return Subject(path.name, module, InputSpec(shape), title=path.stem)


def read_script(script: Any, unit: Any) -> nn.Module:
    """A module that runs a script module's program.

    Args:
        script: a `torch.jit.ScriptModule`.
        unit: the compilation unit that holds the functions it calls.
    """
    name = str(script.original_name)
    made: Script = type(identifier(name) or "Script", (Script,), {})()
    object.__setattr__(made, "_script", script)
    made._unit = unit
    made.method = _forward_of(script)
    made._children = {}
    for key, child in script.named_children():
        made._children[key] = _child(child, unit)
        made.add_module(key, made._children[key])
    for key, parameter in script.named_parameters(recurse=False):
        made.register_parameter(key, nn.Parameter(parameter.detach(), parameter.requires_grad))
    for key, buffer in script.named_buffers(recurse=False):
        made.register_buffer(key, buffer)
    return made


def _child(script: Any, unit: Any) -> nn.Module:
    known = torch_class(_qualified_name(script).removeprefix("__torch__."))
    if known is None:
        return read_script(script, unit)
    parameters = dict(script.named_parameters())
    # Fused, attention returns an undefined tensor in the place of its weights, which torch does not hand to Python.
    run = read_script(script, unit) if known[0] == "MultiheadAttention" else Method(script)
    return layer_of_class(known, run, parameters, _arguments(script).get)


def _arguments(script: Any) -> dict[str, Any]:
    """The constants that the first operator of a layer is given, by the names in its schema."""
    method = _forward_of(script)
    if not script._c._has_method(method):
        return {}
    graph = script._c._get_method(method).graph.copy()
    torch._C._jit_pass_inline(graph)
    for node in graph.nodes():
        if node.kind().startswith("aten::") and node.schema() != "(no schema)":
            names = [argument.name for argument in torch._C.parse_schema(node.schema()).arguments]
            found = {name: _known(each) for name, each in zip(names, node.inputs(), strict=True)}
            if "weight" in names or "kernel_size" in names or "output_size" in names:
                return found
    return {}


def _forward_of(script: Any) -> str:
    """The name of what runs when a module is called; a traced one that was never called has no such method."""
    return next(filter(_FORWARD.fullmatch, script._c._method_names()), "forward")


def _known(value: Any) -> Any:
    """What a value of a graph is, if it is a constant or a list of them."""
    node = value.node()
    if node.kind() == "prim::ListConstruct":
        return [_known(each) for each in node.inputs()]
    return value.toIValue() if node.kind() == "prim::Constant" else None


def _qualified_name(script: Any) -> str:
    """ "torch.nn.modules.conv.Conv2d" of a script module's class, which the compiler mangles."""
    return ".".join(part for part in script._c._type().qualified_name().split(".") if "torch_mangle" not in part)


class Method:
    """Runs the method of a script module whose name stands in `method`."""

    def __init__(self, script: Any) -> None:
        self._script, self.method = script, _forward_of(script)

    def __call__(self, *given: Any) -> Any:
        return self.call(self.method, given)

    def call(self, method: str, given: Sequence[Any]) -> Any:
        """What a method returns."""
        return getattr(self._script, method)(*given)

    def __repr__(self) -> str:
        return str(self._script.original_name)


class Script(nn.Module):
    """A module whose methods are TorchScript's. See `read_script`."""

    _script: Any
    _unit: Any
    _children: dict[str, nn.Module]
    method = "forward"

    def forward(self, *given: Any) -> Any:
        """What the program returns."""
        return self.call(self.method, given)

    def call(self, method: str, given: Sequence[Any]) -> Any:
        """What one of the module's methods returns."""
        found = self._script._c._get_method(method)
        defaults = [argument.default_value for argument in found.schema.arguments[1:]]
        arguments = [*given, *defaults[len(given) :]]
        return self._graph(found.graph, [self, *arguments])

    def attribute(self, name: str) -> Any:
        """A child, a weight or a constant."""
        if name in self._children:
            return self._children[name]
        return getattr(self, name) if name in self._parameters or name in self._buffers else getattr(self._script, name)

    def _graph(self, graph: Any, given: Sequence[Any]) -> Any:
        values = {each.debugName(): x for each, x in zip(graph.inputs(), given, strict=True)}
        self._steps(graph.nodes(), values)
        results = [values[each.debugName()] for each in graph.outputs()]
        return results[0] if len(results) == 1 else tuple(results)

    def _steps(self, nodes: Any, values: dict[str, Any]) -> None:
        for node in nodes:
            names = [each.debugName() for each in node.outputs()]
            given = [values[each.debugName()] for each in node.inputs()]
            result = self._step(node, given, values)
            values.update(zip(names, result if len(names) != 1 else (result,), strict=False))

    def _step(self, node: Any, given: list[Any], values: dict[str, Any]) -> Any:
        kind = node.kind()
        if kind == "prim::Constant":
            return self._constant(node)
        if kind == "prim::GetAttr":
            return _attribute(given[0], node.s("name"))
        if kind == "prim::CallMethod":
            return _call_method(given[0], node.s("name"), given[1:])
        if kind == "prim::CallFunction" and given[0].name == "get_fastpath_enabled":
            return False  # a fused transformer layer would run without the layers in it
        if kind == "prim::CallFunction":
            return self._graph(given[0].graph, given[1:])
        if kind == "prim::If":
            block = list(node.blocks())[0 if given[0] else 1]
            self._steps(block.nodes(), values)
            found = [values[each.debugName()] for each in block.outputs()]
            return found[0] if len(found) == 1 else found
        if kind == "prim::Loop":
            return self._loop(node, given, values)
        return _PLAIN[kind](*given) if kind in _PLAIN else _operator(node, given)

    def _constant(self, node: Any) -> Any:
        kind = node.output().type()
        return (
            self._unit.find_function(kind.annotation_str) if kind.kind() == "FunctionType" else node.output().toIValue()
        )

    def _loop(self, node: Any, given: list[Any], values: dict[str, Any]) -> Any:
        most, goes_on, *carried = given
        block = next(iter(node.blocks()))
        names = [each.debugName() for each in block.inputs()]
        step = 0
        while goes_on and step < min(most, _MOST_STEPS):
            values.update(zip(names, (step, *carried), strict=True))
            self._steps(block.nodes(), values)
            goes_on, *carried = (values[each.debugName()] for each in block.outputs())
            step += 1
        return carried[0] if len(carried) == 1 else carried


def _attribute(owner: Any, name: str) -> Any:
    """What a program reads of a module; of a layer also what its script alone knows, a child or a constant."""
    runner = owner if isinstance(owner, Script) else getattr(owner, "_run", None)
    if isinstance(runner, Script):
        return runner.attribute(name)
    if isinstance(runner, Method) and name not in owner._parameters:
        return getattr(runner._script, name)
    return getattr(owner, name)


def _call_method(owner: Any, name: str, given: list[Any]) -> Any:
    """Call a method. Hooks are to see every form of `forward`."""
    runner = owner if isinstance(owner, Script) else getattr(owner, "_run", None)
    if not isinstance(runner, (Script, Method)):
        return getattr(owner, name)(*given)
    if not _FORWARD.fullmatch(name):
        return runner.call(name, given)
    before, runner.method = runner.method, name
    try:
        return owner(*given)
    finally:
        runner.method = before


def _fail(message: Any, *_: Any) -> Any:
    raise RuntimeError(str(message))


def _append(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


_PLAIN: dict[str, Callable[..., Any]] = {
    "prim::ListConstruct": lambda *items: list(items),
    "prim::TupleConstruct": lambda *items: tuple(items),
    "prim::DictConstruct": lambda *items: dict(zip(items[::2], items[1::2], strict=True)),
    "prim::ListUnpack": list,
    "prim::TupleUnpack": list,
    "prim::TupleIndex": lambda items, index: items[index],
    "prim::NumToTensor": torch.tensor,
    "prim::RaiseException": _fail,
    "prim::unchecked_cast": lambda value: value,
    "prim::Uninitialized": lambda: None,
    "prim::Print": lambda *_: None,
    "prim::device": lambda x: x.device,
    "prim::data": lambda x: x.data,
    "aten::append": _append,
    "aten::__getitem__": lambda items, index: items[index],
    "aten::len": len,
    "aten::list": list,
    "aten::dim": lambda x: x.dim(),
    "aten::__is__": lambda a, b: a is b,
    "aten::__isnot__": lambda a, b: a is not b,
    "aten::__not__": lambda a: not a,
    "aten::__contains__": lambda items, item: item in items,
    "aten::warn": lambda *_: None,
    "aten::format": lambda text, *items: text.replace("{}", "%s") % items,
    "aten::Int": int,
    "aten::Float": float,
    "aten::Bool": bool,
    "aten::keys": lambda items: list(items),
    "aten::values": lambda items: list(items.values()),
}


def _operator(node: Any, given: list[Any]) -> Any:
    """Call an operator of torch's by its schema, in the form that capture knows by its plain name."""
    if node.schema() == "(no schema)":
        raise RuntimeError(f"TorchScript's {node.kind()} is not known here: export the model with torch.export")
    space, name = node.kind().split("::")
    packet = getattr(getattr(torch.ops, space), name)
    schema = torch._C.parse_schema(node.schema())
    arguments = schema.arguments
    if "Tensor" not in node.schema():  # of several forms for numbers torch takes the first: "eq" of bools for integers
        packet = getattr(packet, schema.overload_name or "default")
    plain = [x for argument, x in zip(arguments, given, strict=True) if not argument.kwarg_only]
    named = {argument.name: x for argument, x in zip(arguments, given, strict=True) if argument.kwarg_only}
    return packet(*plain, **named)
