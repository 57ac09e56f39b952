"""What computes one ONNX node: a module of torch where onnx2torch has one that agrees, else onnxruntime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from onnx import ModelProto, NodeProto, defs
from torch import nn
from torch.overrides import TorchFunctionMode

from .onnx_operators import NAMES, geometry, kind_of, text_of
from .onnx_runtime import NodeRunner, Value, read_outside, to_tensor
from .torchvision_shim import import_torchvision
from .wired import operation

import_torchvision()  # onnx2torch imports it, which can fail in a way that only the shim mends

from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY, OperationDescription  # noqa: E402
from onnx2torch.onnx_graph import OnnxGraph  # noqa: E402

_NOTHING = np.empty(())
AGREEMENT = 1e-5  # largest difference from onnxruntime, as a share of the largest value


class Made(NamedTuple):
    """What computes a node: a module, names of what it takes and returns, and whether torch computes it."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    in_torch: bool


class Converter:
    """Finds what computes a node.

    Args:
        model: the model, with constants as initialisers and the shape of every value.
        constants: values that are always the same.
        found: every value of one run in onnxruntime, and what was given.
        used: names of the values that somebody takes, as often as they are taken.

    Attributes:
        biased: what matrix products return -> the sums that a constant vector makes of them, and that vector. Such a
            product is one layer with its sum.
    """

    def __init__(
        self, model: ModelProto, constants: Mapping[str, np.ndarray], found: Mapping[str, Value], used: Counter[str]
    ) -> None:
        self._graph, self._model, self._constants, self._used = OnnxGraph(model.graph), model, constants, used
        self.biased = _biased(model.graph.node, constants, used)
        self._found = {**found, **constants}
        self._nodes = {node.output_values: node for node in self._graph.nodes.values()}
        # A difference in the last bit becomes a whole step where values are rounded to a few levels.
        rounds = any("QuantizeLinear" in node.op_type for node in model.graph.node)
        self._limit = 0.0 if rounds else AGREEMENT
        self._versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}

    def __call__(self, node: NodeProto, inputs: Sequence[str]) -> Made:
        """What computes the node.

        Args:
            inputs: names of the node's inputs that are no constants, those of its sub-graphs included.
        """
        for make in (self._linear, self._embedding, self._slice, self._in_torch):
            module, given = make(node)
            outputs = self._agreed(module, given, node) if module is not None else ()
            if module is not None and outputs:
                return Made(self._as_layer(node, module), given, outputs, True)
        given = (*node.input, *read_outside(node))
        constants = {name: self._constants[name] for name in given if name in self._constants}
        outputs = tuple(name for name in node.output if self._used[name]) or tuple(node.output[:1])
        run = NodeRunner(node, self._model, constants, inputs, outputs)
        floats = {
            key: to_tensor(constants[name])
            for key, name in zip(self._input_names(node), node.input, strict=False)
            if name in constants and constants[name].dtype == np.float32
        }
        name = NAMES.get(node.op_type, node.op_type)
        layer = operation(name, kind_of(node), run, hyper=geometry(node, floats), parameters=floats, text=text_of(node))
        return Made(layer, tuple(inputs), outputs, False)

    def _linear(self, node: NodeProto) -> tuple[nn.Module | None, tuple[str, ...]]:
        """A product with a constant matrix is a linear layer."""
        weight = self._constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or node.input[0] in self._constants:
            return None, ()
        bias = self.biased.get(node.output[0])
        layer = nn.Linear(weight.shape[0], weight.shape[1], bias=bias is not None, device="meta")
        layer.weight = nn.Parameter(to_tensor(weight.T), requires_grad=False)
        if bias is not None:
            layer.bias = nn.Parameter(to_tensor(bias[1]), requires_grad=False)
        return layer, (node.input[0],)

    def _embedding(self, node: NodeProto) -> tuple[nn.Module | None, tuple[str, ...]]:
        """Rows of a constant matrix are an embedding."""
        table = self._constants.get(node.input[0]) if node.op_type == "Gather" else None
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if table is None or table.ndim != 2 or table.dtype != np.float32 or axis or node.input[1] in self._constants:
            return None, ()
        return Embedding.from_pretrained(to_tensor(table)), (node.input[1],)

    def _slice(self, node: NodeProto) -> tuple[nn.Module | None, tuple[str, ...]]:
        """A part of a tensor whose ends are known."""
        given = [name for name in node.input[1:] if name]
        if node.op_type != "Slice" or len(given) < 2 or not all(name in self._constants for name in given):
            return None, ()
        lists: list[list[int]] = [self._constants[name].tolist() if name else [] for name in node.input[1:]]
        first, last, axes, steps = (*lists, [], [])[:4]
        parts = [slice(None)] * np.ndim(self._found[node.input[0]])
        for axis, *part in zip(axes or range(len(first)), first, last, steps or [1] * len(first), strict=True):
            parts[axis] = slice(*part)
        return _Part(tuple(parts)), (node.input[0],)

    def _in_torch(self, node: NodeProto) -> tuple[nn.Module | None, tuple[str, ...]]:
        """onnx2torch's module for the node and the names of what it takes; None where it has none."""
        newest = self._versions.get(node.domain or "ai.onnx", 1)
        # Later versions mostly allow more types of numbers, so that the last known one is tried.
        known = [
            entry.version
            for entry in _CONVERTER_REGISTRY
            if entry.operation_type == node.op_type and entry.domain == node.domain and entry.version <= newest
        ]
        if not known:
            return None, ()
        convert = _CONVERTER_REGISTRY[OperationDescription(node.domain, node.op_type, max(known))]
        try:
            with _Unfilled():
                module, mapping = convert(self._nodes[tuple(node.output)], self._graph)
        except Exception:  # it raises whatever its gaps bring it to
            return None, ()
        return module.eval().requires_grad_(False), tuple(mapping.inputs)

    def _agreed(self, module: nn.Module, inputs: tuple[str, ...], node: NodeProto) -> tuple[str, ...]:
        """Names of what the module returns, if that is what onnxruntime gave; else none."""
        try:
            given = [to_tensor(self._found[name]) if name else None for name in inputs]
            with torch.no_grad():
                result = module(*given)
            results = list(result) if isinstance(result, (tuple, list)) else [result]
            if any(name in self._used for name in node.output[len(results) :]):
                return ()
            outputs = tuple(node.output[: len(results)])
            if node.output[0] in self.biased:
                outputs = (self.biased[node.output[0]][0],)
            same = all(
                _close(each, self._found[name], self._limit)
                for each, name in zip(results, outputs, strict=True)
                if name
            )
            return outputs if same else ()
        except Exception:  # a gap in onnx2torch can raise anything
            return ()

    def _as_layer(self, node: NodeProto, module: nn.Module) -> nn.Module:
        """torch's own modules as they are; others as one layer with the operator's name."""
        is_torchs = type(module).__module__.startswith("torch.nn.") and next(module.children(), None) is None
        if is_torchs or isinstance(module, Embedding):
            return module
        parameters = {name.rpartition(".")[2]: p for name, p in (*module.named_parameters(), *module.named_buffers())}
        name = NAMES.get(node.op_type, node.op_type)
        hyper = geometry(node, parameters)
        return operation(name, kind_of(node), module, hyper=hyper, parameters=parameters, text=text_of(node))

    def _input_names(self, node: NodeProto) -> list[str]:
        """What the operator's definition calls its inputs; "weight" and "bias" as torch does."""
        try:
            schema = defs.get_schema(node.op_type, self._versions.get(node.domain or "ai.onnx", 1), node.domain)
            names = [each.name for each in schema.inputs]
        except defs.SchemaError:
            names = []
        names += [f"input{position}" for position in range(len(names), len(node.input))]
        return [{"W": "weight", "w": "weight", "B": "bias"}.get(name, name) for name in names]


class _Unfilled(TorchFunctionMode):
    """Modules are made without drawing random weights, which take longer than all the rest and are not used."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or getattr(func, "__name__", "") == "uniform_":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


class Embedding(nn.Embedding):
    """torch's, but for negative indices, which ONNX counts from the end."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.weight[input]


class _Part(nn.Module):
    def __init__(self, parts: tuple[slice, ...]) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[self.parts]


def _biased(
    nodes: Iterable[NodeProto], constants: Mapping[str, np.ndarray], used: Counter[str]
) -> dict[str, tuple[str, np.ndarray]]:
    products = {
        node.output[0]: constants[node.input[1]].shape[-1]
        for node in nodes
        if node.op_type == "MatMul" and used[node.output[0]] == 1 and constants.get(node.input[1], _NOTHING).ndim == 2
    }
    found = {}
    for node in nodes:
        if node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                if products.get(product) and constants.get(bias, _NOTHING).shape == (products[product],):
                    found[product] = (node.output[0], constants[bias])
    return found


def _close(result: torch.Tensor, wanted: np.ndarray, limit: float) -> bool:
    array = result.numpy()
    if array.shape != wanted.shape or array.dtype != wanted.dtype:
        return False
    if wanted.dtype.kind != "f":
        return np.array_equal(array, wanted)
    with np.errstate(all="ignore"):
        largest = np.abs(wanted).max(initial=1e-3)
        if np.isfinite(largest):
            # NaN in `array` alone makes the comparison false.
            return bool(np.abs(array - wanted).max(initial=0.0) <= limit * largest)
        finite = np.isfinite(wanted)
        scale = np.abs(wanted[finite]).max(initial=1e-3)
        same = np.abs(array[finite] - wanted[finite]).max(initial=0.0) <= limit * scale
        return bool(same) and np.array_equal(array[~finite], wanted[~finite], equal_nan=True)
