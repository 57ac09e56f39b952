"""Open an ONNX file."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from ..errors import OpenError
from .onnx_failure import why_not
from .onnx_inputs import ImageEntry, read_entries
from .onnx_nodes import Converter
from .onnx_operators import is_quiet
from .onnx_runtime import Value, read_outside, run_all, to_tensor
from .subject import Subject
from .wired import Call, Wired, input_specs, joined_reshapes, layer_paths, wire

_SHAPES = frozenset(("Shape", "Size"))  # their results say nothing of what is in a value
_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter writes which modules a node stood in
_LABELS = ("names", "class_names", "classes", "labels")
_TO_CHANNELS_FIRST = [0, 3, 1, 2]


def open_onnx(path: Path, input_shape: tuple[int, ...] | None) -> Subject:
    """The model in an ONNX file.

    Its nodes are modules of torch, where onnx2torch has one that gives what onnxruntime gives, else each runs in
    onnxruntime.

    Args:
        path: the file; large weights may lie beside it.
        input_shape: of one input, where the file does not say it.

    Raises:
        OpenError: the file is broken, does not say its input's shape, or has an operator that nothing knows.
    """
    model = _read(path)
    entries = read_entries(model, path.name, input_shape)
    found = _run(model, path.name, entries, input_shape is not None)
    module = _build(model, found, entries)
    inputs = input_specs(entries)
    return Subject(
        name=path.name,
        module=module,
        input_spec=next(iter(inputs.values())),
        inputs=inputs if len(inputs) > 1 else {},
        class_names=_class_names(model),
        title=path.stem,
        description=model.doc_string.strip().partition("\n")[0][:200],
    )


def _read(path: Path) -> ModelProto:
    try:
        model = onnx.load(path)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except Exception as error:  # protobuf's own errors, and onnx's for weights beside the file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(" .")
        raise OpenError(f"{path} is not a whole ONNX file: {reason}.") from error
    if not model.graph.node:
        raise OpenError(f"{path} is not a whole ONNX file: no operator is in it.")
    if model.graph.sparse_initializer:  # for which onnx has no array
        name = model.graph.sparse_initializer[0].values.name
        raise OpenError(f"{path} has sparse weights, {name!r}, which do not open here: save them dense.")
    for node in model.graph.node:
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    _sort(model, path)
    return model


def _sort(model: ModelProto, path: Path) -> None:
    """Put nodes behind those whose values they take, which the standard asks for and onnxruntime does not."""
    nodes = list(model.graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    needed = {
        number: {makers[name] for name in (*node.input, *read_outside(node)) if name in makers}
        for number, node in enumerate(nodes)
    }
    if all(other < number for number, others in needed.items() for other in others):
        return
    try:
        order = list(TopologicalSorter(needed).static_order())
    except CycleError as error:
        name = _name(nodes[error.args[1][0]])
        raise OpenError(f"{path} is not a whole ONNX file: {name} needs a value that is made of its own.") from error
    kept = [nodes[number].SerializeToString() for number in order]
    del model.graph.node[:]
    model.graph.node.extend(map(NodeProto.FromString, kept))


def _run(model: ModelProto, name: str, entries: list[ImageEntry], is_shape_open: bool) -> dict[str, Value]:
    """Every value of one pass over made-up inputs."""
    generator = np.random.default_rng(0)
    given = {entry.name: entry.example(generator) for entry in entries}
    try:
        return given | run_all(model, given)
    except Exception as error:  # onnxruntime has a class for each of its status codes
        shapes = " and ".join(f"{entry.name} {entry.shape}" for entry in entries)
        raise OpenError(why_not(error, model, name, shapes, is_shape_open)) from error


def _class_names(model: ModelProto) -> tuple[str, ...]:
    """Names that exporters leave in the metadata, as "{0: 'cat', 1: 'dog'}", "['cat', 'dog']" or "cat,dog"."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    text = next((metadata[key] for key in _LABELS if key in metadata), "")
    try:
        value = ast.literal_eval(text) if len(text) < 1_000_000 else ""
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        value = [part.strip() for part in text.split("," if "," in text else "\n")]
    if isinstance(value, dict) and set(value) == set(range(len(value))):
        value = [value[index] for index in range(len(value))]
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) and len(value) > 1 else ()


# The graph ---------------------------------------------------------------------------------------------------------


def _build(model: ModelProto, found: dict[str, Value], entries: list[ImageEntry]) -> Wired:
    """The module of a model whose values in one pass are known."""
    returned = [value.name for value in model.graph.output]
    data, shapes = _dependent(model, {entry.name for entry in entries})
    constants = _constants(model, found, data | shapes)
    nodes = [node for node in model.graph.node if not set(filter(None, node.output)) <= constants.keys()]
    renamed = _without_first_transposes(nodes, entries, returned)
    for node in nodes:
        if node.op_type == "Identity" and node.input[0] not in constants:
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
    nodes = [node for node in nodes if node.output[0] not in renamed]
    _fold(model, nodes, constants, found)
    used = Counter((*(name for node in nodes for name in (*node.input, *read_outside(node))), *returned))
    convert = Converter(model, constants, found, used)
    sums = {output for output, _ in convert.biased.values()}
    nodes = [node for node in nodes if node.output[0] not in sums]
    calls = []
    for node, path in zip(nodes, layer_paths(map(_name, nodes), (node.op_type for node in nodes)), strict=True):
        inner = [name for name in dict.fromkeys((*node.input, *read_outside(node))) if name and name not in constants]
        made = convert(node, inner)
        from_data = [name for name in inner if name in data]
        # What onnxruntime computes has lost its way back, unless it is a layer.
        quiet = not data.intersection(node.output) or (made.in_torch and is_quiet(node, from_data))
        inputs = tuple(renamed.get(name, name) for name in made.inputs)
        calls.append(Call(path, made.module, inputs, made.outputs, quiet))
    returned = [renamed.get(name, name) for name in returned]
    calls = joined_reshapes(calls, returned)
    taken = {name for call in calls for name in call.inputs} | set(returned)
    tensors = {name: to_tensor(array) for name, array in constants.items() if name in taken}
    return wire(entries, calls, returned, tensors, model.graph.name)


def _dependent(model: ModelProto, inputs: set[str]) -> tuple[set[str], set[str]]:
    """Names of the values that come from the inputs' numbers, and of those that come only from their shapes."""
    data, shapes = set(inputs), set[str]()
    for node in model.graph.node:
        given = {*node.input, *read_outside(node)}
        random = node.op_type.startswith(("Random", "Multinomial", "Bernoulli"))
        if (given & data or random) and node.op_type not in _SHAPES:
            data.update(node.output)
        elif given & (data | shapes):
            shapes.update(node.output)
    return data - {""}, shapes - {""}


def _array(weights: TensorProto) -> np.ndarray:
    """The numbers of weights. onnxruntime has read them by now, but not those that nothing uses."""
    try:
        return numpy_helper.to_array(weights)
    except Exception as error:  # numpy's errors, and those of onnx
        raise OpenError(f"The weights {weights.name!r} in the ONNX file are broken: export it again.") from error


def _constants(model: ModelProto, found: dict[str, Value], changing: set[str]) -> dict[str, np.ndarray]:
    constants = {each.name: _array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        for name in node.output:
            value = found.get(name)
            if name not in changing and isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                constants[name] = value
    return constants


def _without_first_transposes(nodes: list[NodeProto], entries: list[ImageEntry], returned: list[str]) -> dict[str, str]:
    """What transpositions to channels first at the beginning return -> the input, which then is left as it is."""
    renamed: dict[str, str] = {}
    for entry in entries:
        takers = [node for node in nodes if entry.name in node.input]
        is_undone = all(
            node.op_type == "Transpose"
            and any(list(attribute.ints) == _TO_CHANNELS_FIRST for attribute in node.attribute)
            and node.output[0] not in returned
            for node in takers
        )
        if entry.channels_last and takers and is_undone:
            renamed |= {node.output[0]: entry.name for node in takers}
            entry.undo()
    return renamed


def _fold(model: ModelProto, nodes: list[NodeProto], constants: dict[str, np.ndarray], found: dict[str, Value]) -> None:
    """Leave `nodes` in the model, with constants as initialisers and the shape of every value, for onnx2torch."""
    graph = model.graph
    kept = [node.SerializeToString() for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(NodeProto.FromString(node) for node in kept)
    known = {each.name for each in graph.initializer}
    graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants.items() if name not in known
    )
    graph.value_info.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in found.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    )


def _name(node: NodeProto) -> str:
    """What a node is called: after the modules that it stood in, its own name, or what it returns."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
    try:
        inner = [str(scope) for scope in ast.literal_eval(scopes)][:-1] if scopes else []
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # it is not torch that wrote it
        inner = []
    if inner and inner[-1]:
        return f"{inner[-1].replace('.', '/')}/{node.op_type}"
    return node.name or f"{node.op_type}_{node.output[0]}"
