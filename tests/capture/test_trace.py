"""A trace as a collection, on disk, and its parts' representations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from tensorview.capture import Layer, LayerNotFound, Trace, capture
from tensorview.errors import CaptureError, OpenError, TensorviewError


@pytest.fixture(name="trace")
def _trace() -> Trace:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Hardtanh(), nn.Flatten(), nn.Linear(8, 3))
    return capture(model, torch.rand(1, 1, 4, 4))


def test_looking_up(trace):
    assert len(trace) == 4
    assert [layer.name for layer in trace] == ["0", "1", "2", "3"]
    assert "0" in trace
    assert "input" in trace
    assert "conv" not in trace
    assert trace["input"] is trace.inputs[0]
    with pytest.raises(LayerNotFound, match=r"the trace has no layer 'inputs': near names are 'input'") as caught:
        trace["inputs"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, TensorviewError)


def test_representations_are_short_and_say_what_matters(trace):
    assert repr(trace["3"]) == "Layer('3', Linear, (3,) float32 from 2)"
    assert repr(trace) == "Trace(Sequential of input (1, 4, 4): 4 layers)"
    assert repr(trace.graph) == "Graph(5 nodes, 4 edges)"


def test_traces_and_layers_are_immutable(trace):
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.layers = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace["0"].values = None


def test_a_layer_checks_what_it_is_made_of():
    with pytest.raises(ValueError, match="kind 'conv', which is not one of input, convolution"):
        Layer("a", "conv", "Conv2d", "a", 1, (1,), "float32")
    with pytest.raises(ValueError, match=r"of shape \(2,\) was given values of \(3,\)"):
        Layer("a", "other", "X", "a", 1, (2,), "float32", values=np.zeros(3))
    mine = np.zeros((2, 3)).T
    layer = Layer("a", "other", "X", "a", 1, (3, 2), "float64", values=mine)
    assert layer.values.flags.c_contiguous
    assert not layer.values.flags.writeable
    assert mine.flags.writeable
    assert layer.with_values(None).stats is None


def test_saved_and_loaded(trace, tmp_path):
    path = tmp_path / "trace.safetensors"
    trace.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["trace.safetensors"]
    loaded = Trace.load(path)
    assert (loaded.outputs, loaded.warnings, loaded.error, loaded.model_name) == (("3",), (), None, "Sequential")
    assert loaded.graph.edges == trace.graph.edges
    assert loaded.graph.input_edges == trace.graph.input_edges
    for layer, expected in zip((*loaded.inputs, *loaded), (*trace.inputs, *trace), strict=True):
        for field in dataclasses.fields(Layer):
            if field.name != "values":
                assert getattr(layer, field.name) == getattr(expected, field.name)
        np.testing.assert_array_equal(layer.values, expected.values)
        assert not layer.values.flags.writeable


def test_a_partial_trace_and_one_without_values_are_saved_too(tmp_path):
    with pytest.raises(CaptureError) as caught:
        capture(nn.Sequential(nn.ReLU(), nn.Linear(3, 3)), torch.rand(1, 4), layers="1")
    caught.value.trace.save(tmp_path / "partial")
    loaded = Trace.load(tmp_path / "partial")
    assert loaded.error == str(caught.value)
    assert loaded["0"].values is None


def test_files_that_hold_no_trace(tmp_path):
    (tmp_path / "junk").write_bytes(b"not safetensors at all")
    save_file({"a": np.zeros(2)}, tmp_path / "weights")
    for name in ("junk", "weights"):
        with pytest.raises(OpenError, match=name):
            Trace.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / "missing")
