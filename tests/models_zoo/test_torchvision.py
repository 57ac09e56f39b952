"""Every model of torchvision opens, with the graph that torch.fx finds where it can trace the model."""

from __future__ import annotations

import importlib
import operator
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.fx
from torch import nn

from tensorview.capture import Trace, Tracer, capture, structure
from tensorview.opening import open_model
from tensorview.opening.torchvision_shim import import_torchvision

MODELS = import_torchvision().models
NAMES = MODELS.list_models(module=MODELS)
JOINS = (operator.add, operator.iadd, operator.mul, operator.sub, operator.truediv, operator.matmul)
JOIN_NAMES = ("add", "add_", "sub", "mul", "cat", "concat", "stack", "matmul", "bmm", "where")


class Leaves(torch.fx.Tracer):
    """Stops at the modules that have no children, and at those of torch.nn that compute something themselves."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        if next(module.children(), None) is None:
            return True
        return super().is_leaf_module(module, path) and not isinstance(module, nn.Sequential)


class FxGraph:
    """Module calls and joins of different producers, in execution order, each with what feeds it.

    Attributes:
        producers: for `"features.0"`, its second call `"features.0#2"`, and joins `"join 7"`: the nearest of these
            and `"input"` before it, in argument order.
        hidden: paths of the modules whose functions fx sees as one only.
    """

    def __init__(self, model: nn.Module) -> None:
        self.graph = Leaves().trace(model)
        self.names: dict[torch.fx.Node, str] = {}
        self.producers: dict[str, tuple[str, ...]] = {}
        self.hidden: set[str] = set()
        calls: Counter[str] = Counter()
        for node in self.graph.nodes:
            before = self.before(node)
            if node.op == "placeholder":
                self.names[node] = "input"
            elif node.op == "call_module":
                calls[node.target] += 1
                self.add(node, numbered(node.target, calls[node.target]), before)
            elif is_join(node) and len(before) > 1:
                calls["join"] += 1
                self.add(node, f"join {calls['join']}", before)
            elif node.op == "call_function" and is_opaque(node.target):
                self.hidden.add(next(reversed(node.meta["nn_module_stack"].values()))[0])

    def add(self, node: torch.fx.Node, name: str, producers: tuple[str, ...]) -> None:
        self.names[node], self.producers[name] = name, producers

    def before(self, node: torch.fx.Node) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for parent in node.all_input_nodes:
            if is_size(parent):
                continue
            found.update(dict.fromkeys([self.names[parent]] if parent in self.names else self.before(parent)))
        return tuple(found)


def is_join(node: torch.fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in JOIN_NAMES
    name = getattr(node.target, "__name__", "")
    return node.op == "call_function" and (node.target in JOINS or name in JOIN_NAMES)


def is_size(node: torch.fx.Node) -> bool:
    """Whether it is a number computed from shapes, which feeds no values."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim", "device", "dtype")
    return bool(node.all_input_nodes) and all(map(is_size, node.all_input_nodes))


def is_opaque(function: Any) -> bool:
    """Whether it is one that torchvision has declared a single node with `torch.fx.wrap`."""
    return getattr(function, "__module__", "").startswith("torchvision.")


def numbered(name: str, call: int) -> str:
    return name if call == 1 else f"{name}#{call}"


def captured_producers(trace: Trace, hidden: set[str]) -> dict[str, tuple[str, ...]]:
    """The same as `FxGraph.producers`, of a trace."""
    names = {layer.name: "input" for layer in trace.inputs}
    nearest: dict[str, tuple[str, ...]] = {}
    found: dict[str, tuple[str, ...]] = {}
    joins = 0
    for layer in trace:
        before = tuple(dict.fromkeys(n for p in layer.parents for n in ([names[p]] if p in names else nearest[p])))
        nearest[layer.name] = before
        name, _, further = layer.name.partition(":")
        if name.split("#")[0] == layer.module_name:
            names[layer.name] = name
            if not further:
                found[name] = before
        elif layer.module_type in JOIN_NAMES and len(before) > 1 and layer.module_name not in hidden:
            joins += 1
            names[layer.name] = f"join {joins}"
            found[f"join {joins}"] = before
    return found


def state_of(model: nn.Module) -> list[Any]:
    """All that a capture could leave behind."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    parts = [sorted(vars(module)) for module in model.modules()]
    tensors = [(name, id(t), t._version, t.requires_grad) for name, t in tensors_of(model)]
    return [hooks, parts, tensors, [module.training for module in model.modules()], torch.get_rng_state().tolist()]


def tensors_of(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def flat(value: Any) -> list[torch.Tensor]:
    """The tensors of a result, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [tensor for part in parts for tensor in flat(part)]


def assert_opens(model: nn.Module, x: Any, replayed: bool = False) -> Trace:
    """The model opens without a warning, shows what the bare forward returns, and is left as it was."""
    with torch.no_grad():
        expected = flat(model(*x) if isinstance(x, tuple) else model(x))
    before = state_of(model)
    tracer = Tracer(model)
    for _ in range(2 if replayed else 1):
        trace = tracer(x)
        assert state_of(model) == before
        assert trace.warnings == ()
        assert len(trace.outputs) == len(expected)
        for name, tensor in zip(trace.outputs, expected, strict=True):
            values = trace[name].values
            assert values is not None
            tensor = tensor.dequantize() if tensor.is_quantized else tensor
            # The bare forward of a ViT is fused, which rounds otherwise.
            tolerance = 1e-5 * float(tensor.abs().max()) if has_attention(model) else 0
            np.testing.assert_allclose(values, tensor.numpy().reshape(values.shape), 0, tolerance, err_msg=name)
    return trace


def has_attention(model: nn.Module) -> bool:
    return any(isinstance(module, nn.MultiheadAttention) for module in model.modules())


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_classification_opens_with_the_graph_of_fx(name, make_model, side_of):
    model, side = make_model(name), side_of(name)
    trace = assert_opens(model, noise(3, side, side))
    fx = FxGraph(model)
    assert captured_producers(trace, fx.hidden) == fx.producers
    assert len(fx.producers) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.list_models(module=MODELS.segmentation))
def test_segmentation_opens_with_the_graph_of_fx(name, make_model):
    model = make_model(name, weights_backbone=None, aux_loss=None if "lraspp" in name else True)
    trace = assert_opens(model, noise(3, 64, 64), replayed=True)
    fx = FxGraph(model)
    assert captured_producers(trace, fx.hidden) == fx.producers


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(MODELS.list_models()) - set(NAMES)))
def test_what_classifies_no_images_opens_by_its_name(name, make_model):
    with make_model.cheap_starts():
        subject = open_model(f"torchvision:{name}", random_weights=True)
    shapes = {"video": 4, "detection": 3, "segmentation": 3, "optical_flow": 3, "quantization": 3}
    task = next(task for task in shapes if name in MODELS.list_models(module=getattr(MODELS, task)))
    assert len(subject.input_spec.shape) == shapes[task]
    if task != "detection":  # whose operators may be missing
        trace = structure(subject.module, subject.complete(torch.zeros(1, *subject.input_spec.shape)))
        channels = {"optical_flow": 2}.get(task, len(subject.class_names))
        assert trace[trace.outputs[-1]].shape[0] == channels


VIDEO = {"s3d": (3, 14, 224, 224), "mvit_v1_b": (3, 16, 224, 224), "mvit_v2_s": (3, 16, 224, 224)}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.list_models(module=MODELS.video))
def test_video_opens(name, make_model):
    shape = VIDEO.get(name, (3, 8, 64, 64))
    model = make_model(name)
    trace = assert_opens(model, noise(*shape), replayed=shape[-1] == 64)
    if not name.startswith("mvit"):  # its checks of sizes are not for fx
        fx = FxGraph(model)
        assert captured_producers(trace, fx.hidden) == fx.producers


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.list_models(module=MODELS.optical_flow))
def test_optical_flow_opens(name, make_model):
    trace = assert_opens(make_model(name), (noise(3, 128, 128), noise(3, 128, 128)), replayed=True)
    assert [layer.name for layer in trace.inputs] == ["image1", "image2"]
    assert len(trace.outputs) == 12  # a flow field after each of the updates


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.ao.quantization is to be replaced
@pytest.mark.parametrize("name", [n for n in MODELS.list_models(module=MODELS.quantization) if "resnext" not in n])
def test_quantized_opens(name, make_model):
    # QNNPACK refuses some scales, which depend on the weights, and on what torchvision calibrates with.
    torch.manual_seed(0)
    assert_opens(make_model(name, alone=True, quantize=True), noise(3, 80, 80), replayed=True)


def greedy_suppression(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """What torchvision's compiled `nms` does."""
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if not kept or (import_torchvision().ops.box_iou(boxes[i : i + 1], boxes[kept]) <= threshold).all():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.fixture
def detection_operators(monkeypatch):
    """Detectors use operators that a torchvision built for another torch does not have: plain ones of the same."""
    vision = import_torchvision()
    if not vision.extension._has_ops():
        align = importlib.import_module("torchvision.ops.roi_align")
        monkeypatch.setattr(vision.ops.boxes, "nms", greedy_suppression)
        monkeypatch.setattr(align, "_roi_align", align._roi_align.__wrapped__)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.list_models(module=MODELS.detection))
def test_detection_opens(name, make_model, detection_operators):
    small = {} if name.startswith("ssd") else {"min_size": 96, "max_size": 96}
    few = {} if "rcnn" in name else {"topk_candidates": 10}
    model = make_model(name, weights_backbone=None, **small, **few)
    image = noise(3, 96, 96)[0]
    with torch.no_grad():
        expected = flat(model([image]))
    assert expected
    before = state_of(model)
    trace = capture(model, ([image],))
    assert state_of(model) == before
    assert trace.inputs[0].shape == (3, 96, 96)
    assert any(layer.kind == "convolution" for layer in trace)
    assert len(trace.outputs) == len(expected)
    for name, tensor in zip(trace.outputs, expected, strict=True):
        np.testing.assert_array_equal(trace[name].values, tensor.numpy().reshape(trace[name].shape), err_msg=name)
