"""Who feeds whom: compared with torch.fx on torchvision's models, and spelled out on small ones."""

from __future__ import annotations

import operator
from collections import UserDict
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from tensorview.capture import Tracer, capture
from tensorview.opening.torchvision_shim import import_torchvision
from tensorview.summary import summarize


def torchvision_model(name: str) -> nn.Module:
    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    torch.manual_seed(0)
    return import_torchvision().models.get_model(name, weights=None, **options).eval()


class FxGraph:
    """The producers of each module call, addition and concatenation, as torch.fx sees them."""

    MERGES = (operator.add, operator.iadd, torch.add, torch.cat)
    LAYERS = (*MERGES, torch.flatten, F.relu, F.adaptive_avg_pool2d)

    def __init__(self, model: nn.Module) -> None:
        self.nodes = [node for node in torch.fx.symbolic_trace(model).graph.nodes if self.is_layer(node)]

    def is_layer(self, node: torch.fx.Node) -> bool:
        if node.op == "call_function" and node.target in self.MERGES:
            return len(self.producers(node)) > 1
        return node.op == "call_module" or node.target in self.LAYERS

    def producers(self, node: torch.fx.Node) -> list[torch.fx.Node]:
        """The nearest layers and inputs before a node, in argument order."""
        found: dict[torch.fx.Node, None] = {}
        for before in node.all_input_nodes:
            nearest = [before] if before.op == "placeholder" or self.is_layer(before) else self.producers(before)
            found.update(dict.fromkeys(nearest))
        return list(found)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121"])
def test_torchvision_graphs_equal_fx(name):
    model = torchvision_model(name)
    x = torch.randn(1, 3, 48, 48)
    trace = capture(model, x)
    fx = FxGraph(model)
    assert len(trace) == len(fx.nodes)
    names = dict(zip(fx.nodes, (layer.name for layer in trace), strict=True))
    for node, layer in zip(fx.nodes, trace, strict=True):
        if node.op == "call_module":
            assert layer.module_name == str(node.target)
        assert layer.parents == tuple(names.get(producer, "input") for producer in fx.producers(node)), layer.name
    merges = [layer for layer in trace if layer.kind == "merge"]
    assert len(merges) == {"resnet18": 8, "googlenet": 9, "densenet121": 58}[name]
    assert all(len(layer.parents) > 1 for layer in merges)
    with torch.no_grad():
        np.testing.assert_array_equal(trace[trace.outputs[0]].values, model(x)[0].numpy())


def test_resnet_additions_have_both_parents():
    trace = capture(torchvision_model("resnet18"), torch.randn(1, 3, 32, 32))
    assert trace["layer1.0.add"].parents == ("layer1.0.bn2", "maxpool")
    assert trace["layer2.0.add"].parents == ("layer2.0.bn2", "layer2.0.downsample.1")
    assert trace["layer1.0.relu#2"].parents == ("layer1.0.add",)
    assert trace["layer1.0.conv1"].parents == ("maxpool",)
    assert (trace["layer1.0.add"].module_type, trace["layer1.0.add"].module_name) == ("add", "layer1.0")
    both = trace["layer1.0.bn2"].values + trace["maxpool"].values
    np.testing.assert_array_equal(trace["layer1.0.add"].values, both)


def test_googlenet_concatenations_own_the_right_maps():
    trace = capture(torchvision_model("googlenet"), torch.randn(1, 3, 64, 64))
    joined = trace["inception3a.cat"]
    assert joined.info.hyper["dim"] == 1
    assert len(joined.parents) == 4
    parts = [trace[parent].values for parent in joined.parents]
    np.testing.assert_array_equal(joined.values, np.concatenate(parts))


class Functional(nn.Module):
    """A network without any submodule."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 1, 3, 3))
        self.weight = nn.Parameter(torch.randn(5, 4 * 13 * 13))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x):
        x = F.relu(F.conv2d(x, self.kernel, stride=1))
        x = F.max_pool2d(x, 2, stride=2)
        x = x.view(x.size(0), -1).reshape(len(x), -1) * 2 + 1
        return F.log_softmax(F.linear(x, self.weight, self.bias), dim=1)


def test_functional_network():
    model, x = Functional(), torch.randn(2, 1, 28, 28)
    tracer = Tracer(model)
    for trace in (tracer(x), tracer(x)):
        names = ["conv2d", "relu", "max_pool2d", "view", "linear", "log_softmax"]
        assert [layer.name for layer in trace] == names
        assert [layer.kind for layer in trace] == [
            "convolution",
            "activation",
            "pooling",
            "reshape",
            "linear",
            "activation",
        ]
        assert trace.graph.edges == tuple(pairwise(names))
        with torch.no_grad():
            np.testing.assert_array_equal(trace["conv2d"].values, F.conv2d(x, model.kernel)[0].numpy())
            np.testing.assert_array_equal(trace["log_softmax"].values, model(x)[0].numpy())
    conv, linear = trace["conv2d"].info, trace["linear"].info
    expected = {"in_channels": 1, "out_channels": 4, "kernel_size": (3, 3), "stride": 1, "groups": 1}
    assert expected.items() <= conv.hyper.items()
    assert conv.parameters == (("kernel", (4, 1, 3, 3), 36),)
    assert linear.parameter_count == 5 * 676 + 5
    assert trace["max_pool2d"].info.text.startswith("max_pool2d(kernel_size=2, stride=2, padding=0")


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()
        self.tied = nn.Linear(4, 4)

    def forward(self, x):
        return self.relu(self.tied(self.relu(self.tied(x))))


def test_a_module_called_twice_is_two_layers():
    model, x = Shared(), torch.randn(1, 4)
    trace = capture(model, x)
    assert [layer.name for layer in trace] == ["tied", "relu", "tied#2", "relu#2"]
    assert [layer.call for layer in trace] == [1, 1, 2, 2]
    assert trace["tied#2"].module_name == "tied"
    with torch.no_grad():
        np.testing.assert_array_equal(trace["tied#2"].values, model.tied(model.tied(x).relu())[0].numpy())


class Paths(nn.Module):
    """Each test gives the part between two layers and the last."""

    def __init__(self, between):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.between = between

    def forward(self, x):
        return self.c(self.between(self.a(x), self.b(x)))


def _assign_view(a, b):
    whole = torch.zeros(a.shape)
    whole[:, :2] = a[:, :2]
    whole[:, 2:] = b[:, 2:]
    return whole


def _write_through_view(a, b):
    half = a[:, :2]
    half.mul_(b[:, :2])
    return a


def _overwrite_base(a, b):
    view = a.view(-1, 4)
    a.copy_(b)
    return view


@pytest.mark.parametrize(
    ("between", "parents"),
    [
        (lambda a, b: a, ("a",)),
        (lambda a, b: b.detach()[:, [0, 1, 2, 3]] * 2 - 1, ("b",)),
        (lambda a, b: torch.stack([a, b])[0], ("stack",)),
        (lambda a, b: [(a.unbind(0), b.unbind(0))][0][1][0][None].repeat(1, 1), ("b",)),
        (lambda a, b: {"x": (a.chunk(2, 1)[0], b.chunk(2, 1)[1])}["x"][1].repeat(1, 2), ("b",)),
        (lambda a, b: torch.cat((a.chunk(2, 1)[0], b.chunk(2, 1)[1]), 1), ("cat",)),
        (lambda a, b: torch.cat((a, a), 1)[:, :4], ("a",)),
        (lambda a, b: a.add_(b), ("add",)),
        (lambda a, b: a * torch.sigmoid(b), ("mul",)),
        (lambda a, b: a + torch.zeros_like(b), ("a",)),
        (lambda a, b: a.double().float().squeeze(0).unsqueeze(0), ("a",)),
        (_assign_view, ("a", "b")),
        (_write_through_view, ("mul", "a")),
        (_overwrite_base, ("b",)),
    ],
)
def test_sources_are_followed(between, parents):
    trace = capture(Paths(between), torch.randn(1, 4))
    assert set(trace["c"].parents) == set(parents)
    merges = {"stack", "cat", "add", "mul"} & set(parents)
    for merge in merges - {"mul"}:
        assert trace[merge].parents == ("a", "b")


def test_a_module_that_hands_its_argument_on_is_not_the_source_of_its_other_users():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.same, self.b = nn.Linear(4, 4), nn.Identity(), nn.Linear(4, 4)

        def forward(self, x):
            x = self.a(x)
            kept = self.same(x)
            return self.b(x) + kept

    tracer, x = Tracer(Model()), torch.randn(1, 4)
    for trace in (tracer(x), tracer(x)):
        assert trace["b"].parents == ("a",)
        assert trace["add"].parents == ("b", "same")


def test_a_row_of_reshapes_is_one_layer():
    class Shuffle(nn.Module):
        def forward(self, x):
            n, c, h, w = x.shape
            return F.relu(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

    x = torch.randn(2, 6, 3, 3)
    tracer = Tracer(Shuffle())
    for trace in (tracer(x), tracer(x)):
        assert [(layer.name, layer.parents) for layer in trace] == [("reshape", ("input",)), ("relu", ("reshape",))]
        np.testing.assert_array_equal(trace["reshape"].values, x[0][[0, 3, 1, 4, 2, 5]].numpy())


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(5, 4)

    def forward(self, image, meta):
        both = self.left(image) + self.right(meta)
        return {"sum": both, "scaled": both * 2, "left": (image,)}


@pytest.mark.parametrize("form", [tuple, dict, UserDict])
def test_several_inputs_and_outputs(form):
    image, meta = torch.randn(2, 3), torch.randn(2, 5)
    tracer = Tracer(Several())
    for _ in range(2):
        trace = tracer((image, meta) if form is tuple else form({"meta": meta, "image": image}))
        assert {layer.name for layer in trace.inputs} == {"image", "meta"}
        assert trace.graph.input_edges == (("image", "left"), ("meta", "right"))
        assert trace.graph.parents("add") == ("left", "right")
        assert trace.graph.children("add") == ("output.scaled",)
        assert trace.outputs == ("add", "output.scaled", "image")
        np.testing.assert_array_equal(trace["output.scaled"].values, trace["add"].values * 2)


def test_a_forward_that_takes_one_list_or_dict_is_given_it():
    class Total(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 1)

        def forward(self, parts):
            parts = list(parts.values()) if isinstance(parts, dict) else parts
            return self.fc(parts[0] + parts[1])

    a, b = torch.randn(1, 3), torch.randn(1, 3)
    assert [layer.name for layer in capture(Total(), [a, b]).inputs] == ["parts.0", "parts.1"]
    assert [layer.name for layer in capture(Total(), {"a": a, "b": b}).inputs] == ["parts.a", "parts.b"]


def test_recurrent_layers_show_every_tensor():
    tracer = Tracer(nn.Sequential(nn.LSTM(3, 5, num_layers=2, batch_first=True)))
    x = torch.randn(4, 7, 3)
    for trace in (tracer(x), tracer(x)):
        shapes = {layer.name: layer.shape for layer in trace}
        assert shapes == {"0": (7, 5), "0:1": (2, 5), "0:2": (2, 5)}
        np.testing.assert_array_equal(trace["0"].values[-1], trace["0:1"].values[-1])
        assert {layer.kind for layer in trace} == {"recurrent"}
        assert trace.outputs == ("0", "0:1", "0:2")


def test_transformer_encoder_and_attention():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0).eval()
    x = torch.randn(2, 5, 8)
    tracer = Tracer(layer)
    expected = layer(x)[0].detach().numpy()
    for trace in (tracer(x), tracer(x)):
        names = {layer.name for layer in trace}
        assert {"self_attn", "linear1", "linear2", "norm1", "norm2"} <= names
        assert trace["self_attn"].kind == "attention"
        assert "self_attn.out_proj" not in names
        assert trace["norm2"].parents == ("add#2",)
        assert set(trace["add#2"].parents) == {"norm1", "dropout2"}
        np.testing.assert_allclose(trace["norm2"].values, expected, atol=1e-5)


def test_attention_weights_are_a_layer():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attend(x, x, x)[0]

    trace = capture(Model(), torch.randn(1, 5, 8))
    assert trace["attend"].shape == (5, 8)
    np.testing.assert_allclose(trace["attend:1"].values.sum(axis=1), np.ones(5), rtol=1e-5)
    assert trace.outputs == ("attend",)


def test_a_model_without_a_tensor_in_its_result():
    class Labels(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x).argmax(1).tolist()

    trace = capture(Labels(), torch.randn(2, 3))
    assert [layer.name for layer in trace] == ["fc"]
    assert trace.outputs == ()
    assert trace.warnings == ("the model returned list, in which there is no tensor",)


def test_a_list_of_images_is_given_whole_where_forward_asks_for_a_list():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: list[torch.Tensor], targets: list[dict] | None = None):
            return [self.conv(image[None]) for image in images]

    images = [torch.rand(3, 8, 8), torch.rand(3, 6, 5)]
    trace = capture(Detector(), images[1:])
    assert [(layer.name, layer.shape) for layer in trace.inputs] == [("input", (3, 6, 5))]
    assert trace["conv"].shape == (4, 4, 3)
    both = capture(Detector(), (images,))
    assert [layer.shape for layer in both.inputs] == [(3, 8, 8), (3, 6, 5)]


def test_a_class_token_and_an_embedding_of_positions_are_layers():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.last = nn.Linear(3, 4), nn.Linear(4, 4)
            self.token, self.position = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 6, 4))
            self.bias, self.scale = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(1, 1, 4))

        def forward(self, x):
            x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], dim=1)
            x = (x + self.position) * self.scale + self.bias
            return self.last(x)

    model, x = Tokens(), torch.rand(2, 5, 3)
    tracer = Tracer(model, sample=1)
    for _ in range(2):
        trace = tracer(x)
        edges = [(layer.name, layer.kind, layer.parents) for layer in trace]
        assert edges == [
            ("embed", "linear", ("input",)),
            ("cat", "merge", ("embed",)),
            ("add", "merge", ("cat",)),
            ("last", "linear", ("add",)),
        ]
        joined = np.concatenate([model.token[0].detach().numpy(), trace["embed"].values])
        np.testing.assert_array_equal(trace["cat"].values, joined)
        np.testing.assert_array_equal(trace["add"].values, joined + model.position[0].detach().numpy())
    assert trace["add"].info.parameters == (("position", (1, 6, 4), 24),)


def test_a_module_that_lies_in_several_places_is_named_by_the_one_that_calls_it():
    class Block(nn.Module):
        def __init__(self, act: nn.Module, inner: nn.Module) -> None:
            super().__init__()
            self.linear, self.act, self.inner = nn.Linear(4, 4), act, nn.Sequential(inner)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(self.act(self.linear(x)))

    act, inner = nn.SiLU(), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    model = nn.Sequential(*(Block(act, inner) for _ in range(3)), act)
    trace = capture(model, torch.ones(1, 4))
    parts = ("linear", "act", "inner.0.0", "inner.0.1")
    assert [layer.name for layer in trace] == [f"{i}.{part}" for i in range(3) for part in parts] + ["3"]
    for layer in trace:
        assert model.get_submodule(layer.name) is model.get_submodule(layer.module_name)
    assert summarize(model, torch.ones(1, 4)).parameters == sum(p.numel() for p in model.parameters()) == 4 * 20
