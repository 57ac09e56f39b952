"""The kind of every layer that torch.nn has, and of some that it has not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tensorview.capture import capture
from tensorview.capture.kinds import function_name, is_atomic, module_kind


class Mystery(nn.Module):
    def forward(self, *tensors):
        return sum(tensors)


@pytest.mark.parametrize(
    ("kind", "modules"),
    [
        (
            "convolution",
            [nn.Conv1d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1)],
        ),
        (
            "pooling",
            [nn.MaxPool2d(2), nn.AvgPool1d(2), nn.AdaptiveAvgPool2d(1), nn.LPPool2d(2, 2), nn.AdaptiveMaxPool3d(1)],
        ),
        ("padding", [nn.ZeroPad2d(1), nn.ReflectionPad1d(1), nn.ConstantPad3d(1, 0.0), nn.ReplicationPad2d(-1)]),
        ("upsampling", [nn.Upsample(scale_factor=2), nn.PixelShuffle(2), nn.UpsamplingNearest2d(2), nn.MaxUnpool2d(2)]),
        ("linear", [nn.Linear(2, 2), nn.Bilinear(2, 2, 2), nn.LazyLinear(2)]),
        ("reshape", [nn.Flatten(), nn.Unflatten(1, (2, 2)), nn.Fold(2, 2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2)]),
        ("activation", [nn.ReLU(), nn.GELU(), nn.Softmax(1), nn.PReLU(), nn.Hardswish(), nn.GLU()]),
        (
            "normalization",
            [nn.BatchNorm2d(2), nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.InstanceNorm1d(2), nn.LocalResponseNorm(2)],
        ),
        ("dropout", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()]),
        ("embedding", [nn.Embedding(2, 2), nn.EmbeddingBag(2, 2)]),
        ("attention", [nn.MultiheadAttention(2, 1)]),
        ("recurrent", [nn.LSTM(2, 2), nn.GRU(2, 2), nn.RNN(2, 2), nn.LSTMCell(2, 2)]),
        ("other", [nn.Identity(), Mystery(), nn.CrossEntropyLoss()]),
    ],
)
def test_kinds_of_modules(kind, modules):
    for module in modules:
        assert module_kind(module) == kind, module
        assert is_atomic(module), module


def test_containers_are_no_layers():
    for module in (nn.Sequential(nn.ReLU()), nn.TransformerEncoderLayer(2, 1), nn.Transformer(2, 2, batch_first=True)):
        assert not is_atomic(module)


def test_a_parametrized_layer_is_one_layer():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)))
    trace = capture(model, torch.rand(1, 3))
    assert [(layer.name, layer.kind) for layer in trace] == [("0", "linear")]
    assert trace["0"].info.parameter_count == sum(p.numel() for p in model.parameters())


def test_an_unknown_module_that_joins_is_a_merge():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.join, self.single = nn.ReLU(), Mystery(), Mystery()

        def forward(self, x):
            return self.single(self.join(x, self.a(x)))

    trace = capture(Model(), torch.rand(1, 3))
    assert (trace["join"].kind, trace["join"].parents) == ("merge", ("input", "a"))
    assert trace["single"].kind == "other"


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (torch.Tensor.__iadd__, "add"),
        (torch.Tensor.add_, "add"),
        (torch.Tensor.__rsub__, "sub"),
        (torch.Tensor.__truediv__, "div"),
        (torch.relu_, "relu"),
        (torch.nn.functional._max_pool2d, "max_pool2d"),
        (torch.nn.functional.max_pool2d_with_indices, "max_pool2d"),
        (torch.Tensor.__getitem__, "getitem"),
        (torch.Tensor.__matmul__, "matmul"),
    ],
)
def test_names_of_functions(func, name):
    assert function_name(func) == name


@pytest.mark.parametrize(
    ("func", "names"),
    [
        (lambda x: x.mean((2, 3)), ["mean"]),
        (lambda x: x.mean(), []),
        (lambda x: x.amax(dim=1), ["amax"]),
        (lambda x: x.max(1).values, ["max"]),
        (lambda x: x - x.mean((2, 3), keepdim=True), ["mean", "sub"]),
        (lambda x: x.permute(0, 2, 3, 1), ["permute"]),
        (lambda x: x.flatten(2).transpose(0, 1).transpose(0, 1), ["flatten"]),
        (lambda x: x.view(x.shape) / 255, []),
        (lambda x: x @ torch.ones(6, 2), ["matmul"]),
        (lambda x: torch.nn.functional.pad(x, (1, 1)).softmax(1), ["pad", "softmax"]),
        (lambda x: torch.nn.functional.interpolate(x, scale_factor=2), ["interpolate"]),
        (lambda x: torch.nn.functional.dropout(x, training=False), ["dropout"]),
    ],
)
def test_which_functions_are_layers(func, names):
    class Model(nn.Module):
        def forward(self, x):
            return func(x)

    trace = capture(Model(), torch.rand(2, 4, 5, 6))
    assert [layer.name for layer in trace if layer.name != "output"] == names
