"""ONNX files, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tensorview import capture
from tensorview.errors import OpenError
from tensorview.opening import Subject, open_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def weights(name: str, *shape: int) -> Any:
    generator = np.random.default_rng(sum(map(ord, name)))
    return numpy_helper.from_array(generator.normal(0, 0.3, shape).astype(np.float32), name)


def constant(name: str, value: Any, dtype: Any = np.int64) -> Any:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def write(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: list[str],
    held: list[Any],
    opset: int = 17,
    kind: int = FLOAT,
    **more: Any,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "Small Net",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        held,
    )
    imports = [helper.make_opsetid("", opset), *more.pop("imports", [])]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8, **more), path)
    return path


def cnn(path: Path, opset: int = 17) -> Path:
    """Two convolutions, a skip, a concatenation, a reshape that asks for the batch size, a linear layer."""
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w1", "b1"], ["c1"], name="/features/features.0/Conv", pads=[0, 1, 2, 1]),
        make("Relu", ["c1"], ["r1"], name="/features/features.1/Relu"),
        make("Conv", ["r1", "w2"], ["c2"], name="/block/conv/Conv", pads=[1, 1, 1, 1], group=2),
        make("Add", ["c2", "r1"], ["a"], name="/block/Add"),
        make("Mul", ["a", "half"], ["scaled"], name="/block/Mul"),
        make("Concat", ["scaled", "r1"], ["cat"], axis=1, name="/Concat"),
        make("MaxPool", ["cat"], ["p"], kernel_shape=[2, 2], strides=[2, 2], name="/pool/MaxPool"),
        make("Shape", ["p"], ["s"], name="/Shape"),
        make("Gather", ["s", "zero"], ["n"], name="/Gather"),
        make("Unsqueeze", ["n", "axes"], ["n1"], name="/Unsqueeze"),
        make("Concat", ["n1", "rest"], ["shape"], axis=0, name="/Concat_1"),
        make("Reshape", ["p", "shape"], ["f"], name="/Reshape"),
        make("MatMul", ["f", "w3"], ["product"], name="/fc/MatMul"),
        make("Add", ["product", "b3"], ["logits"], name="/fc/Add"),
        make("Softmax", ["logits"], ["y"], axis=-1, name="/Softmax"),
    ]
    held = [weights("w1", 4, 3, 3, 3), weights("b1", 4), weights("w2", 4, 2, 3, 3), weights("w3", 240, 5)]
    held += [weights("b3", 5), constant("half", 0.5, np.float32), constant("zero", 0), constant("axes", [0])]
    return write(path, nodes, {"x": ["batch", 3, 12, 10]}, ["y"], [*held, constant("rest", [-1])], opset)


def same_as_onnxruntime(path: Path, subject: Subject, limit: float = 1e-4, optimised: bool = True) -> Any:
    """The trace of noise, after its outputs were compared with onnxruntime's."""
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, *subject.input_spec.shape, generator=generator)
    if subject.input_spec.dtype == "int64":
        x = (x * 5).long()
    given = x.numpy()
    if given.shape[1:] != tuple(session.get_inputs()[0].shape[1:]) and given.ndim == 4:
        wanted = session.get_inputs()[0].shape
        given = np.moveaxis(given, 1, -1) if wanted[-1] == given.shape[1] else given
    trace = capture(subject.module, x)
    for name, wanted in zip(trace.outputs, session.run(None, {session.get_inputs()[0].name: given}), strict=True):
        assert trace[name].values.shape == wanted.shape[1:]
        assert np.abs(trace[name].values - wanted[0]).max() < limit
    return trace


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_a_network_has_the_graph_of_its_nodes_and_the_predictions_of_onnxruntime(tmp_path, opset):
    path = cnn(tmp_path / "net.onnx", opset)
    subject = open_model(path)
    assert subject.input_spec.shape == (3, 12, 10)
    trace = same_as_onnxruntime(path, subject)
    assert [(layer.name, layer.kind, layer.parents) for layer in trace] == [
        ("features.0", "convolution", ("input",)),
        ("features.1", "activation", ("features.0",)),
        ("block.conv", "convolution", ("features.1",)),
        ("block.Add", "merge", ("block.conv", "features.1")),
        ("Concat", "merge", ("block.Add", "features.1")),
        ("pool", "pooling", ("Concat",)),
        ("Reshape", "reshape", ("pool",)),
        ("fc", "linear", ("Reshape",)),
        ("Softmax", "activation", ("fc",)),
    ]
    assert trace["features.0"].info.hyper["padding"] == (0, 1)  # what stands before the first cell
    assert trace["block.conv"].info.hyper["groups"] == 2
    assert trace["fc"].info.parameter_count == 240 * 5 + 5


def test_every_value_is_onnxruntimes(tmp_path):
    path = cnn(tmp_path / "net.onnx")
    subject = open_model(path)
    x = torch.rand(1, 3, 12, 10)
    trace = capture(subject.module, x)
    model = onnx.load(path)
    pairs = {"features.0": "c1", "block.Add": "a", "pool": "p", "Reshape": "f", "fc": "logits"}
    model.graph.output.extend(helper.make_empty_tensor_value_info(value) for value in pairs.values())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for (layer, _), wanted in zip(pairs.items(), session.run(list(pairs.values()), {"x": x.numpy()}), strict=True):
        np.testing.assert_allclose(trace[layer].values, wanted[0], atol=1e-5)


def test_nodes_in_any_order_are_sorted(tmp_path):
    make = helper.make_node
    nodes = [make("Relu", ["a"], ["y"], name="relu"), make("Neg", ["x"], ["a"], name="neg")]
    path = write(tmp_path / "turned.onnx", nodes, {"x": [1, 4]}, ["y"], [])
    assert open_model(path).module(torch.tensor([[1.0, -2, 3, -4]])).tolist() == [[0, 2, 0, 4]]
    nodes = [make("Add", ["x", "b"], ["a"], name="first"), make("Relu", ["a"], ["b"], name="second")]
    with pytest.raises(OpenError, match=r"(first|second) needs a value that is made of its own"):
        open_model(write(tmp_path / "ring.onnx", nodes, {"x": [1, 4]}, ["b"], []))


def test_a_batch_goes_through(tmp_path):
    subject = open_model(cnn(tmp_path / "net.onnx"))
    x = torch.rand(3, 3, 12, 10)
    np.testing.assert_allclose(subject.module(x)[2], subject.module(x[2:])[0], atol=1e-6)


def test_what_onnx2torch_does_not_know_runs_in_onnxruntime(tmp_path):
    make = helper.make_node
    nodes = [
        make("Gather", ["table", "x"], ["e"], name="embed"),
        make("Transpose", ["e"], ["t"], name="first", perm=[1, 0, 2]),
        make("LSTM", ["t", "W", "R", "B"], ["h", "last", "cell"], name="lstm", hidden_size=4),
        make("Squeeze", ["last", "axis"], ["s"], name="squeeze"),
        make("Gelu", ["s"], ["g"], name="gelu"),
        make("Identity", ["g"], ["y"], name="end"),
    ]
    held = [weights("table", 5, 6), weights("W", 1, 16, 6), weights("R", 1, 16, 4), weights("B", 1, 32)]
    path = write(tmp_path / "l.onnx", nodes, {"x": [1, 7]}, ["y"], [*held, constant("axis", [0])], 20, INT64)
    subject = open_model(path)
    assert subject.input_spec.dtype == "int64"
    trace = same_as_onnxruntime(path, subject)
    assert [(layer.name, layer.kind, layer.parents) for layer in trace] == [
        ("embed", "embedding", ("input",)),
        ("first", "reshape", ("embed",)),
        ("lstm", "recurrent", ("first",)),
        ("gelu", "activation", ("lstm",)),
    ]
    assert trace["lstm"].info.parameter_count == 16 * 6 + 16 * 4 + 32


def test_an_embedding_has_its_table_as_parameters(tmp_path):
    nodes = [helper.make_node("Gather", ["table", "x"], ["e"], name="embed")]
    nodes += [helper.make_node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0, name="mean")]
    nodes += [helper.make_node("Gemm", ["m", "w", "b"], ["y"], name="fc")]
    held = [weights("table", 9, 4), weights("w", 4, 3), weights("b", 3)]
    path = write(tmp_path / "e.onnx", nodes, {"x": [1, 5]}, ["y"], held, kind=INT64)
    subject = open_model(path)
    trace = same_as_onnxruntime(path, subject)
    assert trace["embed"].kind == "embedding"
    assert trace["embed"].info.parameter_count == 9 * 4
    assert sum(p.numel() for p in subject.module.parameters()) == 9 * 4 + 4 * 3 + 3
    first, last = torch.full((1, 5), 8), torch.full((1, 5), -1)
    assert torch.equal(subject.module(first), subject.module(last))


def test_a_converter_that_is_wrong_is_not_used(tmp_path, monkeypatch):
    from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY as REGISTRY

    wrong = {key: value for key, value in REGISTRY.items() if key.operation_type == "Tanh"}
    right = next(value for key, value in REGISTRY.items() if key.operation_type == "Sigmoid")
    assert wrong
    for key in wrong:
        monkeypatch.setitem(REGISTRY, key, right)
    path = write(tmp_path / "t.onnx", [helper.make_node("Tanh", ["x"], ["y"], name="tanh")], {"x": [1, 9]}, ["y"], [])
    x = torch.linspace(-2, 2, 9)[None]
    np.testing.assert_allclose(open_model(path).module(x), torch.tanh(x), atol=1e-6)


def test_an_if_whose_branches_read_from_outside(tmp_path):
    def branch(name: str, operator: str) -> Any:
        node = helper.make_node(operator, ["x", "two"], [f"{name}_out"], name=name)
        return helper.make_graph([node], name, [], [helper.make_empty_tensor_value_info(f"{name}_out")])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0, name="sum"),
        helper.make_node("Greater", ["sum", "zero"], ["sign"], name="sign"),
        helper.make_node(
            "If", ["sign"], ["y"], name="if", then_branch=branch("a", "Mul"), else_branch=branch("b", "Add")
        ),
    ]
    held = [constant("two", 2.0, np.float32), constant("zero", 0.0, np.float32)]
    module = open_model(write(tmp_path / "if.onnx", nodes, {"x": [1, 3]}, ["y"], held)).module
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(module(x), x * 2)
    assert torch.equal(module(-x), -x + 2)


def test_a_quantised_model_does_not_miss_a_step(tmp_path):
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="q"),
        make("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="d"),
        make("Conv", ["d", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        make("QuantizeLinear", ["c", "scale", "zero"], ["cq"], name="cq"),
        make("DequantizeLinear", ["cq", "scale", "zero"], ["y"], name="cd"),
    ]
    held = [weights("w", 8, 3, 3, 3), constant("scale", 0.02, np.float32), constant("zero", 100, np.uint8)]
    path = write(tmp_path / "q.onnx", nodes, {"x": [1, 3, 32, 32]}, ["y"], held)
    # Its optimiser joins nodes that round, and so is a step away from its own nodes here and there.
    trace = same_as_onnxruntime(path, open_model(path), 1e-6, optimised=False)
    assert trace["conv"].kind == "convolution"
    assert trace["cq"].values.dtype == np.uint8


def test_images_with_their_channels_last_are_given_channels_first(tmp_path):
    make = helper.make_node
    nodes = [
        make("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2], name="model/transpose"),
        make("Conv", ["t", "w"], ["c"], name="model/conv"),
        make("Relu", ["c"], ["y"], name="model/relu"),
    ]
    path = write(tmp_path / "tf.onnx", nodes, {"x": [None, 8, 9, 3]}, ["y"], [weights("w", 2, 3, 3, 3)])
    subject = open_model(path)
    assert subject.input_spec.shape == (3, 8, 9)
    trace = same_as_onnxruntime(path, subject)
    assert [(layer.name, layer.parents) for layer in trace] == [("conv", ("input",)), ("relu", ("conv",))]
    undone = [make("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0, name="mean")]
    path = write(tmp_path / "mean.onnx", undone, {"x": [1, 8, 9, 3]}, ["y"], [])
    same_as_onnxruntime(path, open_model(path))


def test_several_inputs_keep_their_names(tmp_path):
    nodes = [helper.make_node("Add", ["left hand", "right"], ["y"], name="add")]
    subject = open_model(write(tmp_path / "two.onnx", nodes, {"left hand": [1, 4], "right": [1, 4]}, ["y"], []))
    trace = capture(subject.module, {"left_hand": torch.ones(1, 4), "right": torch.full((1, 4), 2.0)})
    assert [layer.name for layer in trace.inputs] == ["left_hand", "right"]
    assert trace["add"].parents == ("left_hand", "right")
    assert trace["add"].values.tolist() == [3, 3, 3, 3]
    assert subject.module(torch.ones(1, 4)).tolist() == [[1, 1, 1, 1]]


def test_free_sizes_are_asked_for(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
    path = write(tmp_path / "free.onnx", nodes, {"x": ["n", 3, "h", "w"]}, ["y"], [])
    with pytest.raises(OpenError, match=r"free.onnx takes an input of \(3, \?, \?\).*input_shape"):
        open_model(path)
    with pytest.raises(OpenError, match=r"takes an input of \(3, \?, \?\), not \(1, 8, 8\)"):
        open_model(path, input_shape=(1, 8, 8))
    assert open_model(path, input_shape=(3, 8, 6)).input_spec.shape == (3, 8, 6)


def test_class_names_are_read_from_the_metadata(tmp_path):
    nodes = [helper.make_node("Softmax", ["x"], ["y"], name="softmax")]
    for text, expected in (
        ("{0: 'cat', 1: 'dog'}", ("cat", "dog")),
        ('["a", "b"]', ("a", "b")),
        ("red, green", ("red", "green")),
        ("__import__('os').abort()", ()),
    ):
        path = write(tmp_path / "named.onnx", nodes, {"x": [1, 2]}, ["y"], [])
        model = onnx.load(path)
        helper.set_model_props(model, {"names": text})
        onnx.save(model, path)
        assert open_model(path).class_names == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{0: 'a', 'x': 'b'}", ()), ("{0: 'a', 2: 'b'}", ()), ("{1: 'b', 0: 'a'}", ("a", "b")), ("5", ())],
)
@pytest.mark.parametrize("scopes", ["", "5", "None", "{}", "'ab'", "[" * 400, "[1, 2, 3]"])
def test_metadata_that_an_exporter_does_not_write(tmp_path, text, expected, scopes):
    nodes = [helper.make_node("Softmax", ["x"], ["y"], name="softmax")]
    model = onnx.load(write(tmp_path / "named.onnx", nodes, {"x": [1, 2]}, ["y"], []))
    helper.set_model_props(model, {"names": text})
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    onnx.save(model, tmp_path / "named.onnx")
    assert open_model(tmp_path / "named.onnx").class_names == expected


@pytest.mark.parametrize("kind", ["BFLOAT16", "INT4", "UINT4", "FLOAT8E4M3FN", 99])
def test_a_type_that_numpy_has_not_is_named(tmp_path, kind):
    number = getattr(onnx.TensorProto, kind) if isinstance(kind, str) else kind
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = write(tmp_path / "odd.onnx", nodes, {"x": [1, 2]}, ["y"], [], opset=21, kind=number)
    with pytest.raises(OpenError, match=rf"odd.onnx takes 'x' of the type (number )?{kind}, which no array"):
        open_model(path)


@pytest.mark.parametrize("shape", [[1, 10**6, 10**6], [1, 2**31], [10**6, 10**6]])
def test_an_input_that_no_memory_holds_is_refused(tmp_path, shape):
    path = write(tmp_path / "huge.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, ["y"], [])
    with pytest.raises(OpenError, match="at most 268,435,456 open"):
        open_model(path)
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["z"], ["w"])]
    path = write(tmp_path / "two.onnx", nodes, {"x": [1, 2], "z": shape}, ["y", "w"], [])
    with pytest.raises(OpenError, match="at most 268,435,456 open"):
        open_model(path)


def test_weights_that_cannot_be_read_are_named(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    short = onnx.TensorProto(name="unused", data_type=FLOAT, dims=[4], raw_data=b"\0" * 7)
    with pytest.raises(OpenError, match="weights 'unused' in the ONNX file are broken"):
        open_model(write(tmp_path / "short.onnx", nodes, {"x": [1, 2]}, ["y"], [short]))
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1]), "i"), [2])
    path = write(tmp_path / "sparse.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], {"x": [1, 2]}, ["y"], [])
    model = onnx.load(path)
    model.graph.sparse_initializer.append(sparse)
    onnx.save(model, path)
    with pytest.raises(OpenError, match="has sparse weights, 'w', which do not open here"):
        open_model(path)


def test_an_unknown_operator_is_named_with_its_version(tmp_path):
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], name="f", domain="my.domain")]
    imports = [helper.make_opsetid("my.domain", 3)]
    path = write(tmp_path / "odd.onnx", nodes, {"x": [1, 2]}, ["y"], [], imports=imports)
    with pytest.raises(
        OpenError, match=r"^odd.onnx uses the operator Frobnicate of my.domain, version 3, which neither"
    ):
        open_model(path)
    path = write(tmp_path / "odd.onnx", [helper.make_node("Frob", ["x"], ["y"])], {"x": [1, 2]}, ["y"], [])
    with pytest.raises(OpenError, match=r"operator Frob of ai.onnx, version 17, which neither"):
        open_model(path)


@pytest.mark.parametrize("what", ["opset", "IR version"])
def test_a_file_of_a_newer_onnx_names_its_version_and_the_newest_one(tmp_path, what):
    model = onnx.load(cnn(tmp_path / "net.onnx"))
    if what == "opset":
        model.opset_import[0].version = 999
    else:
        model.ir_version = 999
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(OpenError, match=rf"written for {what} 999 of .*onnxruntime [\d.]+ runs up to \d+: ") as caught:
        open_model(tmp_path / "net.onnx")
    assert "input_shape" not in str(caught.value)


def test_another_input_shape_is_offered_only_where_the_file_leaves_it_open(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    held = [constant("s", [1, 16]), weights("w", 16, 2)]
    write(tmp_path / "free.onnx", nodes, {"x": [1, "a", "b"]}, ["y"], held)
    assert open_model(tmp_path / "free.onnx", input_shape=(4, 4)).input_spec.shape == (4, 4)
    with pytest.raises(OpenError, match=r"on x \(4, 5\): running Reshape node.*; another input_shape may help\.$"):
        open_model(tmp_path / "free.onnx", input_shape=(4, 5))
    write(tmp_path / "fixed.onnx", nodes, {"x": [1, 4, 5]}, ["y"], held)
    write(tmp_path / "unknown.onnx", [helper.make_node("Relu", ["zz"], ["y"])], {"x": [1, "a", "b"]}, ["y"], [])
    for name, given in (("fixed.onnx", None), ("unknown.onnx", (4, 5))):
        with pytest.raises(OpenError, match=r"does not run in onnxruntime on x \(4, 5\): [A-Z]?[a-z]+ ") as caught:
            open_model(tmp_path / name, input_shape=given)
        assert "another input_shape" not in str(caught.value)


def test_of_what_onnxruntime_says_the_places_in_its_source_are_left_out(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"]), helper.make_node("ConstantOfShape", ["n"], ["z"])]
    held = [constant("s", [1, 4]), constant("n", [10**6, 10**7])]
    with pytest.raises(OpenError) as caught:
        open_model(write(tmp_path / "huge.onnx", nodes, {"x": [1, 4]}, ["y", "z"], held))
    assert "running ConstantOfShape node. Failed to allocate memory" in str(caught.value)


def test_broken_files_are_refused(tmp_path):
    whole = cnn(tmp_path / "whole.onnx").read_bytes()
    for data in (b"", b"not onnx at all", whole[:1000], whole[: len(whole) // 2]):
        path = tmp_path / "broken.onnx"
        path.write_bytes(data)
        with pytest.raises(OpenError, match=r"broken.onnx (is not a whole ONNX file|does not run)"):
            open_model(path)


def test_claimed_sizes_are_not_believed(tmp_path):
    huge = onnx.TensorProto(name="w", data_type=FLOAT, dims=[100_000, 100_000, 10], raw_data=b"\0" * 16)
    path = write(tmp_path / "huge.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], {"x": [1, 2]}, ["y"], [huge])
    with pytest.raises(OpenError, match=r"huge.onnx"):
        open_model(path)


def test_weights_outside_the_folder_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    (tmp_path / "in").mkdir()
    entry = onnx.TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    entry.external_data.add(key="location", value="../secret")
    path = write(
        tmp_path / "in" / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], {"x": [1, 2]}, ["y"], [entry]
    )
    with pytest.raises(OpenError, match=r"m.onnx is not a whole ONNX file"):
        open_model(path)


def test_no_other_weights_are_taken(tmp_path):
    path = cnn(tmp_path / "net.onnx")
    with pytest.raises(OpenError, match="its own weights"):
        open_model(path, random_weights=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:Exporting a model")
def test_what_torch_exports_has_the_names_of_its_modules(tmp_path):
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

        def forward(self, x):
            return self.relu(self.conv(x)) + x

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    path = tmp_path / "exported.onnx"
    torch.onnx.export(model.eval(), torch.rand(1, 3, 9, 9), str(path), dynamo=False)
    trace = same_as_onnxruntime(path, open_model(path))
    assert [layer.name for layer in trace] == [
        "0", "1.conv", "1.relu", "1.Add", "2.conv", "2.relu", "2.Add", "3", "4", "5",
    ]  # fmt: skip
    assert trace["2.Add"].parents == ("2.relu", "1.Add")
