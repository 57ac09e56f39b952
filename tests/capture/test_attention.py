"""Attention maps are layers, also where the model never holds them; checked against torch's own weights."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tensorview.capture import Trace, Tracer, capture

N, T, D, HEADS = 3, 5, 8, 2


def own_weights(attention: nn.MultiheadAttention, x: torch.Tensor, **options) -> np.ndarray:
    """(N, H, T, T): what the module itself returns when asked."""
    with torch.no_grad():
        return attention(x, x, x, need_weights=True, average_attn_weights=False, **options)[1].numpy()


class SelfAttention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attn = nn.MultiheadAttention(D, HEADS, batch_first=True)
        self.options = options

    def forward(self, x):
        return self.attn(x, x, x, **self.options)[0]


CAUSAL = torch.ones(T, T, dtype=torch.bool).triu(1)
PADDED = torch.tensor([[False] * 4 + [True]] * N)


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, {}),
        ({"need_weights": False}, {}),
        ({"need_weights": False, "attn_mask": CAUSAL}, {"attn_mask": CAUSAL}),
        ({"need_weights": False, "attn_mask": CAUSAL, "is_causal": True}, {"attn_mask": CAUSAL}),
        ({"need_weights": False, "key_padding_mask": PADDED}, {"key_padding_mask": PADDED}),
        ({"key_padding_mask": PADDED}, {"key_padding_mask": PADDED}),
    ],
)
def test_a_modules_maps_equal_its_own_weights(asked, options):
    model, x = SelfAttention(**asked).eval(), torch.randn(N, T, D)
    expected = own_weights(model.attn, x, **options)
    with torch.no_grad():
        bare = model(x)
    for sample in (0, 2):
        tracer = Tracer(model, sample=sample)
        for trace in (tracer(x), tracer(x)):
            layer = trace["attn:weights"]
            assert (layer.kind, layer.shape, layer.parents) == ("attention", (HEADS, T, T), ("input",))
            np.testing.assert_allclose(layer.values, expected[sample], atol=1e-6)
            assert not layer.values.flags.writeable
            np.testing.assert_allclose(trace["attn"].values, bare[sample], atol=1e-6)
            assert trace.outputs == ("attn",)
            assert layer.stats.size == HEADS * T * T
    assert len(model.attn._forward_pre_hooks) + len(model.attn._forward_hooks) == 0


class Functional(nn.Module):
    """GPT's way: one projection, a fused function."""

    def __init__(self, **options):
        super().__init__()
        self.qkv = nn.Linear(D, 3 * D)
        self.options = options

    def parts(self, x):
        return [part.view(len(x), T, HEADS, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]

    def forward(self, x):
        q, k, v = self.parts(x)
        return F.scaled_dot_product_attention(q, k, v, **self.options).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.1}, {"attn_mask": ~CAUSAL}])
def test_a_functions_maps_equal_the_formula(options):
    model, x = Functional(**options).eval(), torch.randn(N, T, D)
    with torch.no_grad():
        q, k, _ = model.parts(x)
        scores = q @ k.transpose(-1, -2) * options.get("scale", 1 / math.sqrt(D // HEADS))
        if options.keys() & {"is_causal", "attn_mask"}:
            scores[..., CAUSAL] = -math.inf
        expected = scores.softmax(-1).numpy()
        bare = model(x).numpy()
    tracer = Tracer(model, sample=1)
    for trace in (tracer(x), tracer(x)):
        layer = trace["scaled_dot_product_attention:weights"]
        assert (layer.kind, layer.shape, layer.parents) == ("attention", (HEADS, T, T), ("transpose", "transpose#2"))
        np.testing.assert_allclose(layer.values, expected[1], atol=1e-6)
        np.testing.assert_array_equal(trace[trace.outputs[0]].values, bare[1])


def test_grouped_queries_share_their_keys():
    class Model(nn.Module):
        def forward(self, q, kv):
            return F.scaled_dot_product_attention(q, kv, kv, enable_gqa=True)

    q, kv = torch.randn(1, 4, T, D), torch.randn(1, 2, T, D)
    maps = capture(Model(), (q, kv))["scaled_dot_product_attention:weights"].values
    expected = (q[0] @ kv[0][[0, 0, 1, 1]].mT / math.sqrt(D)).softmax(-1).numpy()
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_an_encoder_shows_its_children_and_maps_and_stays_as_it_is():
    layer = nn.TransformerEncoderLayer(D, HEADS, 16, batch_first=True)
    model, x = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True).eval(), torch.randn(N, T, D)
    with torch.no_grad():
        bare = model(x)[0]
    tracer = Tracer(model)
    for trace in (tracer(x), tracer(x)):
        names = [
            f"layers.{i}.{part}" for i in (0, 1) for part in ("self_attn", "self_attn:weights", "linear1", "norm2")
        ]
        assert set(names) <= {layer.name for layer in trace}
        assert trace["layers.1.self_attn:weights"].shape == (HEADS, T, T)
        np.testing.assert_allclose(trace[trace.outputs[0]].values, bare, atol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()


def test_maps_are_computed_only_when_looked_at(monkeypatch):
    from tensorview.capture.attention import Attention

    computed = []
    softmax = Attention._softmax
    monkeypatch.setattr(Attention, "_softmax", lambda *args: computed.append(1) or softmax(*args))
    layer = capture(SelfAttention(need_weights=False).eval(), torch.randn(1, T, D))["attn:weights"]
    assert "not held" not in repr(layer)
    assert computed == []
    assert layer.values is layer.values
    assert computed == [1]


def test_maps_that_are_not_asked_for_are_not_kept():
    model, x = nn.Sequential(SelfAttention(need_weights=False), nn.Linear(D, D)).eval(), torch.randn(1, T, D)
    for layers, kept in (("1", False), ("0.attn:weights", True), ("0.attn", True)):
        tracer = Tracer(model, layers=layers)
        for trace in (tracer(x), tracer(x)):
            assert (trace["0.attn:weights"].values is not None) == kept


def test_maps_are_saved_with_a_trace(tmp_path):
    trace = capture(SelfAttention(need_weights=False).eval(), torch.randn(1, T, D))
    trace.save(tmp_path / "trace.safetensors")
    loaded = Trace.load(tmp_path / "trace.safetensors")
    np.testing.assert_array_equal(loaded["attn:weights"].values, trace["attn:weights"].values)


def test_a_failing_attention_leaves_no_mode_behind():
    model = SelfAttention(attn_mask=torch.zeros(2, 2))
    with pytest.raises(Exception, match="attn"):
        capture(model, torch.randn(1, T, D))
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert torch.backends.mha.get_fastpath_enabled()


def test_it_is_said_that_padding_has_values():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

        def forward(self, x, padding):
            return self.encoder(x, src_key_padding_mask=padding)

    model, x = Padded().eval(), torch.rand(1, 5, 8)
    padding = torch.tensor([[False] * 3 + [True] * 2])
    trace = capture(model, (x, padding))
    np.testing.assert_allclose(trace[trace.outputs[0]].values, model(x, padding)[0].detach().numpy(), atol=1e-6)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        assert model(x, padding)[0, 3:].abs().max() == 0
    assert [said.partition(" has")[0] for said in trace.warnings] == ["layer 'encoder'"]
    assert capture(model, (x, torch.zeros(1, 5, dtype=torch.bool))).warnings == ()
