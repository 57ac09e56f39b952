"""onnxruntime: run a whole graph once with every value as an output, and run single nodes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

_PROTOBUF_LIMIT = 2**31 - 2**20  # bytes that one protobuf message can have

Value = Any  # an array; a list of arrays for a sequence; None for an optional that is empty


def run_all(model: ModelProto, given: Mapping[str, np.ndarray]) -> dict[str, Value]:
    """Every value that the nodes of `model` compute, by name.

    Raises:
        Exception: whatever onnxruntime raises, for an operator that it does not know or a shape that does not fit.
    """
    names = [name for node in model.graph.node for name in node.output if name]
    returned = list(model.graph.output)
    listed = {value.name for value in returned}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in listed)
    try:
        session = _session(model)
    finally:
        del model.graph.output[len(returned) :]
    return dict(zip(names, session.run(names, dict(given)), strict=True))


def _session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what goes wrong is raised as well
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch's threads run beside
    providers = ["CPUExecutionProvider"]
    if model.ByteSize() < _PROTOBUF_LIMIT:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        copy = ModelProto()
        copy.CopyFrom(model)
        onnx.save_model(copy, str(path), save_as_external_data=True)
        return onnxruntime.InferenceSession(str(path), options, providers)


class NodeRunner:
    """Runs one node of a graph in onnxruntime.

    Args:
        node: the node.
        model: the model that it stands in, for the versions of its operators.
        constants: those of its inputs that are always the same.
        inputs: names of its other inputs, those that its sub-graphs read from outside included.
        outputs: names of those of its outputs that are wanted.
    """

    def __init__(
        self,
        node: NodeProto,
        model: ModelProto,
        constants: Mapping[str, np.ndarray],
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        self._node, self._imports, self._ir_version = node, list(model.opset_import), model.ir_version
        self._constants, self._inputs = dict(constants), tuple(inputs)
        self._outputs = list(outputs)
        self._sessions: dict[tuple[Any, ...], onnxruntime.InferenceSession] = {}

    def __call__(self, *given: Any) -> Any:
        """Tensors (or lists of them, for sequences) -> the tensor that is the only output, or a tuple of several."""
        values = {name: _to_value(x) for name, x in zip(self._inputs, given, strict=True) if x is not None}
        types = tuple((name, _type_of(value)) for name, value in values.items())
        key = tuple(map(str, types))
        if key not in self._sessions:
            self._sessions[key] = self._open(types)
        device = next((x.device for x in given if isinstance(x, torch.Tensor)), torch.device("cpu"))
        found = [_to_tensors(value, device) for value in self._sessions[key].run(self._outputs, values)]
        return found[0] if len(found) == 1 else tuple(found)

    def _open(self, types: Sequence[tuple[str, onnx.TypeProto]]) -> onnxruntime.InferenceSession:
        weights = [numpy_helper.from_array(np.array(a, order="C"), name) for name, a in self._constants.items()]
        graph = helper.make_graph(
            [self._node],
            "node",
            [helper.make_value_info(name, kind) for name, kind in types],
            [helper.make_empty_tensor_value_info(name) for name in self._outputs],
            weights,
        )
        model = helper.make_model(graph, opset_imports=self._imports, ir_version=self._ir_version)
        return _session(model)


def _type_of(value: Value) -> onnx.TypeProto:
    if isinstance(value, list):
        return helper.make_sequence_type_proto(_type_of(value[0]))
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), None)


def _to_value(x: Any) -> Value:
    if isinstance(x, (list, tuple)):
        return [_to_value(item) for item in x]
    return x.detach().cpu().contiguous().numpy()


def _to_tensors(value: Value, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_to_tensors(item, device) for item in value]
    return None if value is None else to_tensor(value).to(device)


def to_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor that owns its memory.

    Raises:
        TypeError: for an array of strings or objects.
    """
    return torch.from_numpy(np.array(array, order="C"))


def read_outside(node: NodeProto) -> list[str]:
    """Names that the sub-graphs of a node (of If, Loop, Scan) read from the graph around it."""
    found: dict[str, None] = {}
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
        for graph in graphs:
            found.update(dict.fromkeys(_free_names(graph)))
    return [name for name in found if name not in node.input]


def _free_names(graph: GraphProto) -> list[str]:
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own.update(name for node in graph.node for name in node.output)
    used = [name for node in graph.node for name in (*node.input, *read_outside(node))]
    used += [value.name for value in graph.output]
    return [name for name in used if name and name not in own]
