"""A budget bounds what a trace holds; what does not fit is reduced or left out, and said to be."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Trace, Tracer, capture
from tensorview.errors import CaptureError


def model(blocks: int = 6) -> nn.Sequential:
    """Maps of 64 x 64 at first, a quarter as many cells after each pooling."""
    parts: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for i in range(blocks):
        parts += [nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
        parts += [nn.MaxPool2d(2)] if i % 2 else []
    return nn.Sequential(*parts, nn.Flatten(), nn.LazyLinear(10)).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64)


@pytest.fixture
def network(x) -> nn.Sequential:
    made = model()
    made(x)
    return made


def held(trace: Trace) -> int:
    arrays = [layer.values for layer in (*trace.inputs, *trace) if layer.values is not None]
    arrays += [part for layer in trace for part in (layer.reduced or {}).values()]
    return sum(array.nbytes for array in arrays)


@pytest.mark.parametrize("budget", [10_000_000, 1_000_000, 400_000, 60_000, 1_000, 0])
def test_a_trace_holds_no_more_than_its_budget(network, x, budget):
    whole = capture(network, x, sample=1)
    tracer = Tracer(network, sample=1, budget=budget)
    for trace in (tracer(x), tracer(x)):
        assert held(trace) <= budget
        assert [layer.name for layer in trace] == [layer.name for layer in whole]
        assert trace.graph.edges == whole.graph.edges
        for layer, exact in zip(trace, whole, strict=True):
            assert layer.values is None or layer.reduced is None
            if layer.values is not None:
                np.testing.assert_array_equal(layer.values, exact.values)
            if layer.reduced is not None:
                np.testing.assert_allclose(layer.reduced["mean"], exact.values.mean(0), atol=1e-6)
                np.testing.assert_array_equal(layer.reduced["max"], exact.values.max(0))
                assert layer.reduced["mean"].dtype == np.float32
                assert layer.stats is None
    kinds = {("exact" if layer.values is not None else "reduced" if layer.reduced else "nothing") for layer in trace}
    assert (
        kinds
        == {
            10_000_000: {"exact"},
            1_000_000: {"exact", "reduced"},
            400_000: {"exact", "reduced"},
            60_000: {"exact", "reduced", "nothing"},
            1_000: {"exact", "reduced", "nothing"},
            0: {"nothing"},
        }[budget]
    )
    assert (trace[trace.outputs[0]].values is not None) == (budget > 0)


def test_what_does_not_fit_is_named_once(network, x):
    tracer = Tracer(network, budget=1_000_000)
    trace = tracer(x)
    reduced = [layer.name for layer in trace if layer.reduced]
    assert len(trace.warnings) == 1
    assert f"of layers '{reduced[0]}', " in trace.warnings[0]
    assert "only the mean and the maximum of their maps are kept" in trace.warnings[0]
    assert "1,000,000 bytes" in trace.warnings[0]
    assert tracer(x).warnings == trace.warnings


def test_the_memory_that_a_capture_takes_is_within_the_budget():
    deep, x = nn.Sequential(*[nn.ReLU() for _ in range(60)]), torch.rand(1, 16, 128, 128)
    budget = 20 * x.numpy().nbytes
    tracer = Tracer(deep, budget=budget)
    tracer(x)
    tracemalloc.start()
    try:
        trace = tracer(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held(trace) > 0.8 * budget
    assert peak < budget + 500_000  # the layers themselves


def test_only_what_is_wanted_counts(network, x):
    trace = capture(network, x, layers=["0", "1"], budget=600_000)
    assert [layer.name for layer in trace if layer.values is not None] == ["0", "1"]
    assert trace.warnings == ()


def test_a_model_that_never_does_the_same_is_shown_without_values():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.calls = nn.Linear(3, 3), 0

        def forward(self, x):
            self.calls += 1
            for _ in range(self.calls):
                x = self.a(x)
            return x

    trace = capture(Fickle(), torch.rand(1, 3), budget=20)
    assert trace["a"].values is None
    assert "the model did not do the same twice" in trace.warnings[-1]


def test_reduced_layers_are_saved(network, x, tmp_path):
    trace = capture(network, x, budget=400_000)
    trace.save(tmp_path / "trace.safetensors")
    loaded = Trace.load(tmp_path / "trace.safetensors")
    for layer, other in zip(trace, loaded, strict=True):
        assert (layer.reduced is None) == (other.reduced is None)
        for part, values in (layer.reduced or {}).items():
            np.testing.assert_array_equal(values, other.reduced[part])


def test_other_layers_are_kept_without_a_new_tracing(network, x):
    class Counted(Tracer):
        full = 0

        def _record(self, *args, **kwargs):
            self.full += 1
            return super()._record(*args, **kwargs)

    tracer = Counted(network, layers="0")
    whole = capture(network, x)
    for layers, kept in (("0", ["0"]), (["3", "4"], ["3", "4"]), ("1?", None), (None, [layer.name for layer in whole])):
        tracer.layers = layers
        trace = tracer(x)
        names = [layer.name for layer in trace if layer.values is not None]
        assert names == (kept or [layer.name for layer in whole if len(layer.name) == 2 and layer.name[0] == "1"])
        for name in names:
            np.testing.assert_array_equal(trace[name].values, whole[name].values)
    assert tracer.full == 1


def test_what_is_chosen_by_the_structure_is_kept(network, x):
    asked = []

    def choose(structure):
        asked.append(structure)
        return {"0": "reduced", "1": "exact", structure.outputs[0]: "reduced"}

    whole = capture(network, x)
    tracer = Tracer(network, choose=choose)
    for trace in (tracer(x), tracer(x)):
        assert [layer.name for layer in trace if layer.values is not None or layer.reduced] == ["0", "1", "23"]
        np.testing.assert_array_equal(trace["1"].values, whole["1"].values)
        np.testing.assert_array_equal(trace["23"].values, whole["23"].values)  # a vector has no maps to reduce
        np.testing.assert_allclose(trace["0"].reduced["mean"], whole["0"].values.mean(0), atol=1e-6)
        np.testing.assert_array_equal(trace["0"].reduced["max"], whole["0"].values.max(0))
        np.testing.assert_array_equal(trace.inputs[0].values, x[0].numpy())
    assert len(asked) == 1
    assert [layer.shape for layer in asked[0]] == [layer.shape for layer in whole]
    assert all(layer.values is None for layer in (*asked[0].inputs, *asked[0]))

    tracer.choose = lambda structure: {"2": "exact"}
    assert [layer.name for layer in tracer(x) if layer.values is not None or layer.reduced] == ["2"]


def test_what_is_chosen_is_bound_by_the_budget(network, x):
    tracer = Tracer(
        network, budget=500_000, choose=lambda structure: dict.fromkeys([each.name for each in structure], "exact")
    )
    trace = tracer(x)
    assert held(trace) <= 500_000
    assert len(trace.warnings) == 1


def test_of_a_pass_that_fails_everything_is_kept_though_less_was_chosen(network, x):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    tracer = Tracer(nn.Sequential(*network[:-1], Broken()), choose=lambda structure: {})
    with pytest.raises(CaptureError) as failed:
        tracer(x)
    assert all(layer.values is not None for layer in failed.value.trace)


def test_memory_is_used_again_only_where_nobody_holds_it(network, x):
    tracer = Tracer(network)
    tracer(x)
    first = tracer(x)["0"].values
    before = first.copy()
    second = tracer(2 * x)["0"]
    assert not np.shares_memory(first, second.values)
    third = tracer(3 * x)["0"].values
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(second.values, capture(network, 2 * x)["0"].values)
    address = second.values.ctypes.data  # of the two newest, whose memory is kept
    del second
    fourth = tracer(x)["0"].values
    assert fourth.ctypes.data == address
    np.testing.assert_array_equal(fourth, before)
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(third, capture(network, 3 * x)["0"].values)


@pytest.mark.parametrize("functions", [False, True], ids=["modules", "functions"])
def test_memory_is_used_again_without_a_garbage_collection(network, x, functions):
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            return self.inner(x) + self.inner(x)

    tracer = Tracer(Doubled() if functions else network)
    tracer(x)
    gc.disable()
    try:
        addresses = [tracer(x).layers[0].values.ctypes.data for _ in range(6)]
        held = tracer(x)
        addresses += [(held := tracer(x)).layers[0].values.ctypes.data for _ in range(6)]
    finally:
        gc.enable()
    assert len(set(addresses)) <= 2
    assert held is not None
