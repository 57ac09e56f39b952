"""Keras's graph of layers as a `Wired` module, with feature maps channels first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OpenError
from .keras_layers import class_name, geometry, kind_of, moves_channels, shown_parameters
from .wired import Call, Entry, Wired, operation, wire


def wired_keras(model: Any, name: str, input_shape: tuple[int, ...] | None) -> Wired:
    """A module that runs Keras's layers.

    Keras's layers themselves do the work, on torch; between them feature maps are (N, C, H, W), so that the layers'
    values are channels first.

    Args:
        model: `keras.Sequential` or a functional model.
        name: of the file, for messages.
        input_shape: of one input where the model leaves it open, images as (C, H, W).

    Raises:
        OpenError: the model is no graph of layers, or leaves its input's shape open and none is given.
    """
    function = _function(model, name, input_shape)
    graph = _Graph()
    entries = []
    for position, tensor in enumerate(function.inputs):
        value = graph.begin(tensor, function)
        given = input_shape if position == 0 else None
        entries.append(_entry(tensor, value, graph.first[value], name, given, position == 0))
    returned = graph.walk(function, [entry.name for entry in entries], "")
    return wire(entries, graph.calls, returned, name=model.name)


def _function(model: Any, name: str, input_shape: tuple[int, ...] | None) -> Any:
    """The functional model that a model is."""
    if hasattr(model, "_functional") and not model.built:
        if input_shape is None:
            raise OpenError(f"{name} does not say the shape of its input: give input_shape, as (3, 224, 224).")
        model.build((None, *_last(input_shape)))
    function = getattr(model, "_functional", None) or model
    if not hasattr(function, "_nodes_by_depth"):
        raise OpenError(f"{name} is a {type(model).__name__} with Python of its own, not a graph of Keras's layers.")
    return function


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if len(shape) > 2 else tuple(shape)


def _entry(tensor: Any, value: str, first: bool, name: str, given: tuple[int, ...] | None, required: bool) -> Entry:
    own = tuple(tensor.shape[1:])
    shape = (own[-1], *own[:-1]) if first else own
    told = ", ".join("?" if size is None else str(size) for size in shape)
    if given is not None:
        if len(given) != len(shape) or any(size not in (None, other) for size, other in zip(shape, given, strict=True)):
            raise OpenError(f"{name} takes an input of ({told}), not {given}.")
        shape = given
    elif None in shape and required:
        raise OpenError(f"{name} takes an input of ({told}), with ? for any size: give input_shape, as (3, 224, 224).")
    sizes = tuple(1 if size is None else size for size in shape)
    return Entry(value, sizes, getattr(torch, tensor.dtype, torch.float32))


class _Graph:
    """Walks models and notes the calls of their layers.

    Attributes:
        calls: in the order in which they run.
        first: for every value whether it is kept channels first, where Keras has them last.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.first: dict[str, bool] = {}
        self._count = 0
        self._layers: dict[tuple[Any, ...], nn.Module] = {}
        self._paths: dict[str, nn.Module] = {}

    def begin(self, tensor: Any, function: Any) -> str:
        """Name the value that an input is."""
        rank = len(tensor.shape)
        takers = [node.operation for node in _nodes(function) if any(x is tensor for x in node.input_tensors)]
        first = rank > 3 or (rank == 3 and bool(takers) and all(map(moves_channels, takers)))
        if any(getattr(layer, "data_format", "") == "channels_first" for layer in takers):
            first = False
        return self._named(first)

    def walk(self, function: Any, given: Sequence[str], prefix: str) -> list[str]:
        """Note the calls of a model's layers, and return the names of what it returns.

        Args:
            function: a functional model.
            given: names of the values that it takes.
            prefix: the path of the model in the one that it is a layer of, with a dot behind; empty for the whole.
        """
        names = {id(tensor): value for tensor, value in zip(function.inputs, given, strict=True)}
        for node in _nodes(function):
            values = [names[id(tensor)] for tensor in node.input_tensors]
            layer = node.operation
            inner = getattr(layer, "_functional", None) or layer
            path = prefix + layer.name.replace(".", "_").replace("/", "_")
            if hasattr(inner, "_nodes_by_depth"):
                outputs = self.walk(inner, values, f"{path}.")
            else:
                outputs = self._call(node, values, path)
            names.update(zip((id(tensor) for tensor in node.output_tensors), outputs, strict=True))
        return [names[id(tensor)] for tensor in function.outputs]

    def _call(self, node: Any, values: list[str], path: str) -> list[str]:
        layer = node.operation
        is_first = [self.first[value] for value in values]
        outputs = [_kept_first(layer, tensor, node.input_tensors, is_first) for tensor in node.output_tensors]
        template = _template((node.arguments.args, node.arguments.kwargs), list(node.input_tensors))
        key = (id(layer), repr(template), tuple(is_first), tuple(outputs))
        if key not in self._layers:
            run = _Run(layer, template, is_first, outputs)
            hyper = geometry(layer, node.input_tensors, is_first[0] if is_first else False, any(outputs))
            kind = kind_of(layer, is_first != outputs[:1] * len(is_first))
            shown = shown_parameters(layer)
            self._layers[key] = operation(
                class_name(layer), kind, run, hyper=hyper, parameters=shown, text=_text(layer)
            )
        names = [self._named(first) for first in outputs]
        self.calls.append(Call(self._free(path, self._layers[key]), self._layers[key], tuple(values), tuple(names)))
        return names

    def _free(self, path: str, layer: nn.Module) -> str:
        """The path, or with "_1" behind where the same layer of Keras's takes other arguments."""
        number, free = 0, path
        while self._paths.setdefault(free, layer) is not layer:
            number += 1
            free = f"{path}_{number}"
        return free

    def _named(self, first: bool) -> str:
        self._count += 1
        name = f"value{self._count}"
        self.first[name] = first
        return name


def _nodes(function: Any) -> Iterator[Any]:
    """A model's calls of layers in the order in which they can run; inputs left out."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        yield from (node for node in function._nodes_by_depth[depth] if not node.is_input)


def _kept_first(layer: Any, tensor: Any, given: Sequence[Any], is_first: Sequence[bool]) -> bool:
    """Whether a layer's output is kept channels first."""
    rank = len(tensor.shape)
    if getattr(layer, "data_format", None) == "channels_first":
        return False
    if rank > 3:
        return any(is_first) or not any(len(x.shape) > 3 for x in given)
    inherited = any(first and len(x.shape) == 3 for x, first in zip(given, is_first, strict=True))
    return rank == 3 and (moves_channels(layer) or (inherited and kind_of(layer) not in ("recurrent", "attention")))


class _Slot:
    """Stands where a tensor goes among the arguments of a layer."""

    def __init__(self, position: int) -> None:
        self.position = position

    def __repr__(self) -> str:
        return f"<{self.position}>"


def _template(value: Any, tensors: list[Any]) -> Any:
    """The arguments with a `_Slot` for each of the tensors."""
    for position, tensor in enumerate(tensors):
        if value is tensor:
            return _Slot(position)
    return _mapped(value, lambda item: _template(item, tensors))


def _filled(value: Any, given: Sequence[Tensor]) -> Any:
    return given[value.position] if isinstance(value, _Slot) else _mapped(value, lambda item: _filled(item, given))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [change(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


class _Run:
    """Runs a layer of Keras's on tensors some of which are channels first."""

    def __init__(self, layer: Any, template: Any, inputs: Sequence[bool], outputs: Sequence[bool]) -> None:
        self._layer, self._template, self._inputs, self._outputs = layer, template, tuple(inputs), tuple(outputs)

    def __call__(self, *given: Tensor) -> Any:
        moved = [x.movedim(1, -1) if first else x for x, first in zip(given, self._inputs, strict=True)]
        args, kwargs = _filled(self._template, moved)
        result = self._layer(*args, **kwargs)
        results = list(_tensors(result))
        found = [x.movedim(-1, 1) if first else x for x, first in zip(results, self._outputs, strict=True)]
        return found[0] if len(found) == 1 else tuple(found)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):  # the order of Keras's own flattening
            yield from _tensors(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


_SHOWN = """
    filters units rate pool_size kernel_size strides padding dilation_rate groups activation axis size interpolation
    target_shape dims input_dim output_dim num_heads key_dim epsilon momentum negative_slope alpha
"""


def _text(layer: Any) -> str:
    """What stands between the brackets of a layer's description, with Keras's own names."""
    found = []
    for name in _SHOWN.split():
        value = getattr(layer, name, None)
        if name == "activation" and value is not None:
            value = getattr(value, "__name__", type(value).__name__)
        if isinstance(value, (bool, int, float, str, tuple, list)):
            found.append(f"{name}={value}")
    return ", ".join(found)
