"""A model as a list of calls, for formats that hold a graph and no Python."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

import torch
from torch import Tensor, nn

from .preprocessing import InputSpec


@dataclass(frozen=True, eq=False)
class Call:
    """One step of a graph.

    Attributes:
        path: dotted path of the layer, "layer1.0.conv1".
        module: what computes it. The same module in two calls is one layer that is called twice.
        inputs: names of the values that it takes; "" for one that is left out.
        outputs: names of the values that it returns, one or several; "" for one that nobody uses.
        quiet: it is arithmetic on the way and no layer, as a cast is.
    """

    path: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    quiet: bool = False


@dataclass(frozen=True, eq=False)
class Entry:
    """One input of a graph.

    Attributes:
        name: of the value.
        shape: without the batch dimension, as `forward` takes it.
        dtype: torch's.
        arrange: makes the graph's value of what `forward` takes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    arrange: Callable[[Tensor], Tensor] | None = None


class Wired(nn.Module):
    """Runs calls in their order. Its layers are named after the calls' paths, which nest as modules do.

    `forward` takes one tensor for each entry, with its batch dimension; further ones that are left out are zeros. It
    returns the tensor that is the only output, or a tuple.
    """

    entries: tuple[Entry, ...]
    _steps: tuple[tuple[Call, tuple[str, ...]], ...]
    _returned: tuple[str, ...]
    _constants: dict[str, Tensor]

    def _run(self, given: Mapping[str, Tensor | None]) -> Any:
        batch, device = next((x.shape[0], x.device) for x in given.values() if x is not None)
        if any(constant.device != device for constant in self._constants.values()):
            self._constants = {name: constant.to(device) for name, constant in self._constants.items()}
        values: dict[str, Any] = dict(self._constants)
        for entry, x in zip(self.entries, given.values(), strict=True):
            if x is None:
                x = torch.zeros(batch, *entry.shape, dtype=entry.dtype, device=device)
            values[entry.name] = x if entry.arrange is None else entry.arrange(x)
        for call, spent in self._steps:
            # A hook sees what goes through __call__; the functions of a quiet module are seen one by one.
            run = call.module.forward if call.quiet else call.module
            result = run(*(values[name] if name else None for name in call.inputs))
            results = result if len(call.outputs) > 1 else (result,)
            values.update(zip(call.outputs, results, strict=False))
            for name in spent:
                values.pop(name, None)
        found = tuple(values[name] for name in self._returned)
        return found[0] if len(found) == 1 else found


def wire(
    entries: Sequence[Entry],
    calls: Sequence[Call],
    returned: Sequence[str],
    constants: Mapping[str, Tensor] | None = None,
    name: str = "Graph",
) -> Wired:
    """The module that runs `calls`.

    Args:
        entries: what `forward` takes.
        calls: in the order in which they run.
        returned: names of the values that `forward` returns.
        constants: values that are always the same.
        name: of the module's class.
    """
    module: Wired = type(identifier(name) or "Graph", (Wired,), {"forward": _forward(entries)})()
    module.entries, module._returned, module._constants = tuple(entries), tuple(returned), dict(constants or {})
    module._steps = _with_ends(calls, {*returned, *module._constants, ""})
    placed: set[int] = set()
    for call in calls:
        if not call.quiet and id(call.module) not in placed:
            placed.add(id(call.module))
            _place(module, call.path.split("."), call.module)
    return module.eval()


def joined_reshapes(calls: Sequence[Call], returned: Iterable[str]) -> list[Call]:
    """The calls with every row of reshapes that feed only each other as one, which has the last one's name."""
    takers = Counter((*(name for call in calls for name in call.inputs), *returned))
    found: list[Call] = []
    for call in calls:
        feeder = next((each for each in found if each.outputs == call.inputs[:1]), None)
        rows = feeder is not None and _is_reshape(feeder) and _is_reshape(call) and takers[call.inputs[0]] == 1
        if feeder is None or not rows:
            found.append(call)
            continue
        found.remove(feeder)
        moves = "Permute" in (type(feeder.module).__name__, type(call.module).__name__)
        run = _Row(feeder.module, call.module, len(feeder.inputs))
        module = operation("Permute" if moves else "Reshape", "reshape", run, text=f"{feeder.module}, {call.module}")
        found.append(Call(call.path, module, (*feeder.inputs, *call.inputs[1:]), call.outputs))
    return found


def _is_reshape(call: Call) -> bool:
    is_flatten = isinstance(call.module, nn.Flatten)
    return not call.quiet and (is_flatten or getattr(type(call.module), "layer_kind", "") == "reshape")


class _Row(nn.Module):
    """One module after the other; the second takes what the first returns before its further inputs."""

    def __init__(self, first: nn.Module, second: nn.Module, count: int) -> None:
        super().__init__()
        self.first, self.second, self._count = first, second, count

    def forward(self, *given: Any) -> Any:
        return self.second(self.first(*given[: self._count]), *given[self._count :])


def input_specs(entries: Sequence[Entry]) -> dict[str, InputSpec]:
    """The inputs by the names of `forward`'s parameters."""
    dtypes = (str(entry.dtype).removeprefix("torch.") for entry in entries)
    specs = [InputSpec(entry.shape, dtype) for entry, dtype in zip(entries, dtypes, strict=True)]
    return dict(zip(_parameters(entries), specs, strict=True))


def _parameters(entries: Sequence[Entry]) -> list[str]:
    return ["input"] if len(entries) == 1 else unique([identifier(entry.name) or "input" for entry in entries])


def _forward(entries: Sequence[Entry]) -> Callable[..., Any]:
    """A `forward` whose parameters are named after the inputs."""
    names = _parameters(entries)
    kind = Parameter.POSITIONAL_OR_KEYWORD
    first, *others = names
    parameters = [Parameter(first, kind), *(Parameter(other, kind, default=None) for other in others)]
    signature = Signature(parameters)

    def forward(self: Wired, *args: Tensor, **kwargs: Tensor) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self._run(bound.arguments)

    forward.__signature__ = Signature([Parameter("self", kind), *parameters])  # type: ignore[attr-defined]
    return forward


def _with_ends(calls: Sequence[Call], kept: set[str]) -> tuple[tuple[Call, tuple[str, ...]], ...]:
    """Every call with the values that nobody asks for after it."""
    steps = []
    needed = set(kept)
    for call in reversed(calls):
        spent = tuple(name for name in dict.fromkeys((*call.inputs, *call.outputs)) if name not in needed)
        needed.update(spent)
        steps.append((call, spent))
    return tuple(reversed(steps))


def _place(root: nn.Module, parts: Sequence[str], module: nn.Module) -> None:
    """Put a module at a path. `add_module` would refuse a part that is a method's name, as "half"."""
    for part in parts[:-1]:
        inner = root._modules.setdefault(part, nn.Module())
        assert inner is not None
        root = inner
    root._modules[parts[-1]] = module


def layer_paths(names: Iterable[str], operators: Iterable[str]) -> list[str]:
    """Dotted paths for layers of these names, in which "/" and "." nest.

    Every path is unique, none is the beginning of another, and what stands at the front of all is left out. So is a
    last part that only repeats the layer's operator, where nothing else stands beside it.

    Example:
        >>> layer_paths(["net/a/Conv", "net/b/Add", "net/b/Relu", "net/c"], ["Conv", "Add", "Relu", "Sum"])
        ['a', 'b.Add', 'b.Relu', 'c']
    """
    paths = [_parts(name) for name in names]
    while len(paths) > 1 and all(len(path) > 1 and path[0] == paths[0][0] for path in paths):
        paths = [path[1:] for path in paths]
    held = Counter(path[:end] for path in paths for end in range(1, len(path)))
    paths = [
        path[:-1] if held[path[:-1]] == 1 and path[-1].lower().startswith(operator.lower()) else path
        for path, operator in zip(paths, operators, strict=True)
    ]
    boxes = {path[:end] for path in paths for end in range(1, len(path))}
    paths = [(*path, path[-1]) if path in boxes else path for path in paths]
    return unique([".".join(path) for path in paths], boxes={".".join(box) for box in boxes})


def _parts(name: str) -> tuple[str, ...]:
    """ "/layer1/layer1.0/conv1" -> ("layer1", "0", "conv1"): exporters repeat what a part stands in."""
    found: list[str] = []
    for part in filter(None, name.split("/")):
        whole = ".".join(found)
        inner = part.removeprefix(f"{whole}.") if whole else part
        last = found[-1] if found else ""
        inner = inner.removeprefix(f"{last}.") if last and inner == part else inner
        found.extend(re.sub(r"\s", "_", piece) for piece in inner.split(".") if piece)
    return tuple(found) or ("layer",)


def unique(names: Iterable[str], boxes: Iterable[str] = ()) -> list[str]:
    """The names, with "_1", "_2", ... behind those that are taken."""
    taken = set(boxes)
    found = []
    for name in names:
        number, free = 0, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        found.append(free)
    return found


def identifier(name: str) -> str:
    """The name with "_" for what Python does not allow in one; empty where nothing is left."""
    plain = re.sub(r"\W", "_", name.strip())
    return f"_{plain}" if plain[:1].isdigit() else plain


class Operation(nn.Module):
    """One layer whose work is done by a function. See `operation`."""

    layer_kind = "other"
    _run: Callable[..., Any]
    _text: str

    def forward(self, *given: Any) -> Any:
        """What the function returns."""
        return self._run(*given)

    def extra_repr(self) -> str:
        return self._text


def operation(
    name: str,
    kind: str,
    run: Callable[..., Any],
    *,
    hyper: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Tensor] | None = None,
    text: str | None = None,
) -> Operation:
    """A layer whose class has the name of an operator.

    Args:
        name: of the class, "Conv".
        kind: one of `tensorview.capture.layers.KINDS`.
        run: tensors -> tensor or tuple of tensors.
        hyper: attributes as torch's own modules call them, "kernel_size", "stride".
        parameters: weights by their name, which the layer shows but does not use.
        text: what stands between the brackets of its repr; by default `hyper`.
    """
    layer: Operation = type(identifier(name), (Operation,), {"layer_kind": kind})()
    object.__setattr__(layer, "_run", run)  # a module that `run` may be is no child: the layer stays one
    layer._text = ", ".join(f"{key}={value}" for key, value in (hyper or {}).items()) if text is None else text
    for key, value in (hyper or {}).items():
        setattr(layer, key, value)
    for key, value in (parameters or {}).items():
        is_weight = value.is_floating_point()
        layer.register_parameter(identifier(key), nn.Parameter(value.detach(), requires_grad=is_weight))
    return layer
