"""Layers, names, shapes and values of plain models (compared with hooks that these tests set themselves)."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Stats, Tracer, capture
from tensorview.errors import CaptureError


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def hooked(model: nn.Module, *x: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """What each leaf module returned, by a forward hook that knows nothing of tensorview."""
    seen: list[tuple[str, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda m, a, out, name=name: seen.append((name, out.clone())))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    with torch.no_grad():
        model(*x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("sample", [0, 2])
def test_lenet_has_one_layer_a_module_call_with_exactly_its_values(sample):
    model, x = lenet(), torch.rand(3, 1, 28, 28)
    trace = capture(model, x, sample=sample)
    expected = hooked(model, x)
    assert [layer.name for layer in trace] == [name for name, _ in expected]
    for layer, (name, tensor) in zip(trace, expected, strict=True):
        assert layer.shape == layer.values.shape == tuple(tensor.shape[1:]), name
        assert layer.values.dtype == np.float32
        np.testing.assert_array_equal(layer.values, tensor[sample].numpy())
    np.testing.assert_array_equal(trace["input"].values, x[sample].numpy())
    assert trace.outputs == ("11",)
    assert trace.graph.edges == tuple((str(i), str(i + 1)) for i in range(11))
    assert trace.graph.input_edges == (("input", "0"),)
    assert trace.warnings == ()


def test_kinds_types_and_cards_of_lenet():
    trace = capture(lenet(), torch.rand(1, 1, 28, 28))
    kinds = ["convolution", "activation", "pooling"] * 2 + ["reshape"] + ["linear", "activation"] * 2 + ["linear"]
    assert [layer.kind for layer in trace] == kinds
    conv = trace["0"]
    assert (conv.module_type, conv.module_name, conv.call, conv.dtype) == ("Conv2d", "0", 1, "float32")
    assert conv.info.text == "Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))"
    assert conv.info.hyper["kernel_size"] == (5, 5)
    assert conv.info.parameters == (("weight", (6, 1, 5, 5), 150), ("bias", (6,), 6))
    assert conv.info.parameter_count == 156
    assert conv.info.formula == "6 × (1 × 5 × 5) weights + 6 biases = 156".replace("×", "\N{MULTIPLICATION SIGN}")
    assert trace["7"].info.parameter_count == 48120
    assert trace["7"].info.formula.endswith("= 48,120")
    assert trace["1"].info.formula == ""


@pytest.mark.parametrize(
    ("module", "given", "shape"),
    [
        (nn.Linear(4, 7), (2, 4), (7,)),
        (nn.Conv1d(2, 3, 3), (2, 2, 9), (3, 7)),
        (nn.Conv2d(2, 3, 3), (2, 2, 9, 8), (3, 7, 6)),
        (nn.Conv3d(2, 3, 3), (2, 2, 9, 8, 7), (3, 7, 6, 5)),
        (nn.Linear(4, 7), (2, 5, 4), (5, 7)),
        (nn.ConvTranspose2d(2, 3, 2, stride=2), (2, 2, 4, 4), (3, 8, 8)),
        (nn.Flatten(0), (1,), ()),
    ],
)
def test_outputs_of_every_rank(module, given, shape):
    x = torch.rand(given)
    trace = capture(nn.Sequential(module, nn.Identity()), x)
    layer = trace["0"]
    assert layer.shape == layer.values.shape == shape
    np.testing.assert_array_equal(layer.values, module(x)[0].detach().numpy())
    assert layer.values.flags.c_contiguous


def test_values_are_read_only_and_independent_of_the_model_and_the_input():
    x = torch.rand(1, 3, 4, 4)
    before = x.clone()
    trace = capture(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()), x - 0.5)
    with pytest.raises(ValueError, match="read-only"):
        trace["0"].values[0, 0, 0] = 1
    trace = capture(nn.Sequential(nn.Threshold(0.5, 9.0, inplace=True)), x)
    assert torch.equal(x, before)
    np.testing.assert_array_equal(trace["input"].values, before[0].numpy())


def test_inplace_relu_does_not_rewrite_batch_norm():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten()).eval()
    x = torch.randn(1, 1, 8, 8)
    expected = model[1](model[0](x))[0].detach()
    assert (expected < 0).any()
    tracer = Tracer(model)
    for trace in (tracer(x), tracer(x)):
        np.testing.assert_array_equal(trace["1"].values, expected.numpy())
        np.testing.assert_array_equal(trace["2"].values, expected.clamp(min=0).numpy())
        assert trace.graph.edges == (("0", "1"), ("1", "2"), ("2", "3"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(dtype):
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).to(dtype), torch.rand(2, 4).to(dtype)
    tracer = Tracer(model)
    for trace in (tracer(x), tracer(x)):
        layer = trace["0"]
        assert layer.dtype == str(dtype).removeprefix("torch.")
        assert layer.values.dtype == (np.float64 if dtype is torch.float64 else np.float32)
        expected = model[0](x)[0].detach()
        np.testing.assert_array_equal(layer.values, expected.to(getattr(torch, str(layer.values.dtype))).numpy())


def test_autocast():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.rand(2, 4)
    tracer = Tracer(model)
    assert tracer(x)["0"].dtype == "float32"
    with torch.autocast("cpu", torch.bfloat16):
        assert tracer(x)["0"].dtype == "bfloat16"


def test_complex_values_are_named_in_a_warning():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x)

    trace = capture(nn.Sequential(nn.ReLU(), Spectrum()), torch.rand(2, 8))
    assert trace["1"].values is None
    assert trace["1"].shape == (8,)
    assert trace.warnings == ("layer '1' returned complex64 values, which are not drawn",)


def test_a_layer_without_a_batch_dimension_is_shown_whole():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 4)

        def forward(self, x):
            return x + self.table(torch.arange(7))

    model = Positions()
    trace = capture(model, torch.rand(3, 7, 4), sample=1)
    np.testing.assert_array_equal(trace["table"].values, model.table.weight.detach().numpy())
    assert trace["table"].parents == ()
    assert trace["add"].parents == ("input", "table")
    assert "layer 'table' returned (7, 4), which has no batch dimension of 3" in trace.warnings[0]


def test_rows_folded_into_the_batch_stay_with_their_sample():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(4, 4)

        def forward(self, x):
            return self.mix(x.reshape(-1, 3, 4)).reshape(x.shape)

    model, x = Windows(), torch.rand(2, 6, 4)
    layer = capture(model, x, sample=1)["mix"]
    assert layer.shape == (2, 3, 4)
    np.testing.assert_array_equal(layer.values, model.mix(x[1].reshape(2, 3, 4)).detach().numpy())


def test_layers_chooses_which_values_are_kept():
    model, x = lenet(), torch.rand(1, 1, 28, 28)
    chosen = (("3", {"3"}), (["1*", "2"], {"1", "10", "11", "2"}), (lambda n, m: isinstance(m, nn.Conv2d), {"0", "3"}))
    for layers, expected in chosen:
        tracer = Tracer(model, layers)
        for trace in (tracer(x), tracer(x)):
            assert {layer.name for layer in trace if layer.values is not None} == expected
            assert len(trace.graph.edges) == 11
            assert trace["input"].values is not None
            assert trace["0"].shape == (6, 28, 28)
    assert "no layer is among layers=('conv9',)" in capture(model, x, layers="conv9").warnings[0]


def test_statistics_equal_torch():
    values = torch.randn(3, 50)
    values[0, :4] = torch.tensor([0.0, 0.0, float("nan"), float("-inf")])
    stats = Stats.of(values.numpy())
    finite = values[torch.isfinite(values)].double()
    assert (stats.size, stats.zeros, stats.nan, stats.inf) == (150, 2, 1, 1)
    assert stats.min == finite.min()
    assert stats.max == finite.max()
    assert stats.mean == pytest.approx(float(finite.mean()), rel=1e-12)
    assert stats.std == pytest.approx(float(finite.std(unbiased=False)), rel=1e-12)
    expected, edges = torch.histogram(finite, 32, range=(stats.min, stats.max))
    assert stats.counts.tolist() == expected.tolist()
    np.testing.assert_allclose(stats.edges, edges.numpy())


@pytest.mark.parametrize("values", [np.full(3, np.nan), np.zeros((0, 4)), np.ones(5), np.array([-1.7e308, 1.7e308])])
def test_statistics_of_odd_values(values):
    stats = Stats.of(values)
    assert stats.counts.sum() == np.isfinite(values).sum()
    assert stats.edges.shape == (33,)
    assert np.isnan(stats.mean) or stats.min <= stats.mean <= stats.max


def test_what_is_no_model_or_no_batch_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Linear(2, 2))
    for model, x, said in (
        ("lenet", torch.rand(1, 2), "needs a torch.nn.Module, not str"),
        (nn.Linear(2, 2), torch.rand(0, 2), "empty batch"),
        (nn.Linear(2, 2), [], "no tensor"),
        (nn.Linear(2, 2), "x", "the input is a str"),
        (scripted, torch.rand(1, 2), "pass the nn.Module it was made from"),
    ):
        with pytest.raises(CaptureError, match=said):
            capture(model, x)
    with pytest.raises(CaptureError, match=r"sample 3 is not in the batch of 2: choose one from 0 to 1"):
        capture(nn.Linear(2, 2), torch.rand(2, 2), sample=3)
