"""Who feeds whom where tensors share memory, are handed on, or are drawn at random."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tensorview.capture import Trace, Tracer, capture
from tensorview.capture.provenance import _are_apart
from tensorview.errors import CaptureError


class Made(nn.Module):
    """A `forward` and the modules that it calls, by name."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def linear(outputs: int = 4, inputs: int = 4) -> nn.Linear:
    return nn.Linear(inputs, outputs)


def parents(trace: Trace) -> dict[str, tuple[str, ...]]:
    return {layer.name: layer.parents for layer in trace}


@pytest.mark.parametrize(
    "write",
    [
        lambda buffer, values: buffer[:, :4].copy_(values),
        lambda buffer, values: buffer[:, :4].add_(values),
        lambda buffer, values: buffer.chunk(2, 1)[0].copy_(values),
        lambda buffer, values: buffer.narrow(1, 0, 4).copy_(values),
        lambda buffer, values: buffer.view(8)[:4].copy_(values[0]),
        lambda buffer, values: buffer.data[:, :4].copy_(values),
        lambda buffer, values: buffer.__setitem__((slice(None), slice(0, 4)), values),
    ],
)
def test_a_fresh_buffer_comes_from_what_was_written_to_a_part_of_it(write):
    def forward(self, x):
        buffer = torch.zeros(1, 8)
        write(buffer, self.a(x))
        return self.c(buffer)

    assert parents(capture(Made(forward, a=linear(), c=linear(2, 8)), torch.ones(1, 4)))["c"] == ("a",)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_write_to_one_half_of_a_tensor_says_nothing_of_the_other(batch):
    def forward(self, x):
        whole = self.pre(x)
        kept, coupled = whole.chunk(2, 1)
        coupled.add_(self.net(kept))
        return self.p1(kept), self.p2(coupled), self.p3(whole)

    model = Made(forward, pre=linear(), net=linear(2, 2), p1=linear(3, 2), p2=linear(3, 2), p3=linear())
    found = parents(capture(model, torch.ones(batch, 4)))
    assert found["p1"] == ("pre",)
    assert found["p2"] == ("add",)
    assert set(found["p3"]) == {"pre", "add"}


def test_views_that_are_said_to_be_apart_have_no_cell_in_common():
    random = np.random.default_rng(0)
    apart = 0
    for _ in range(3000):
        offset = int(random.integers(4))
        shape = [(6, 8), (12, 4), (2, 4, 6), (3, 4, 4)][random.integers(4)]
        whole = torch.arange(60)[offset : offset + 48].view(shape)
        views = []
        for _ in range(2):
            view = whole.transpose(0, 1) if random.random() < 0.2 else whole
            for axis, size in enumerate(view.shape):
                start = int(random.integers(size))
                stop = int(random.integers(start, size)) + 1
                view = view[(slice(None),) * axis + (slice(start, stop, int(random.integers(1, 3))),)]
            views.append(view)
        common = set(views[0].flatten().tolist()) & set(views[1].flatten().tolist())
        if _are_apart(*views):
            assert not common
            apart += 1
    assert apart > 100


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (lambda a, b: torch.normal(a, b.exp()), ("a", "b")),
        (lambda a, b: torch.bernoulli(a.clamp(0, 1)), ("a",)),
        (lambda a, b: torch.empty_like(a).normal_() + b, ("b",)),
        (lambda a, b: a.view_as(b), ("a",)),
        (lambda a, b: a[:, :1].expand_as(b), ("a",)),
        (lambda a, b: a.type_as(b), ("a",)),
    ],
)
def test_what_a_function_takes_the_values_of(between, expected):
    model = Made(lambda self, x: self.c(between(self.a(x), self.b(x))), a=linear(), b=linear(), c=linear())
    assert parents(capture(model, torch.ones(1, 4)))["c"] == expected


def test_a_module_that_hands_one_of_its_arguments_on_in_a_tuple():
    class Pass(nn.Module):
        def forward(self, x, mask):
            return x * 2, mask

    def forward(self, x):
        mask = self.mask(x)
        self.through(x, mask)
        return self.last(mask)

    model = Made(forward, mask=linear(), through=Pass(), last=linear())
    assert parents(capture(model, torch.ones(1, 4)))["last"] == ("mask",)


def test_gradients_inside_a_forward_go_through_what_hands_its_argument_on():
    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.net(x).sum(), x)[0]

    model = Made(forward, net=nn.Sequential(linear(8), nn.Dropout(0.1), nn.Identity(), linear(1, 8))).eval()
    tracer, x = Tracer(model), torch.rand(1, 4)
    for _ in range(2):
        trace = tracer(x)
        np.testing.assert_allclose(trace["output"].values, model(x)[0].numpy(), rtol=1e-6)
        assert parents(trace)["net.3"] == ("net.2",)


def test_the_names_of_several_tensors_under_one_key_are_told_apart():
    class Three(nn.Module):
        def forward(self, x):
            return {"a": [x + 1, x + 2, x + 3], "b": x}

    trace = capture(nn.Sequential(Three()), torch.zeros(1, 2))
    assert [(layer.name, layer.values[0]) for layer in trace] == [("0", 1), ("0:a.1", 2), ("0:a.2", 3), ("0:b", 0)]


@pytest.mark.parametrize(
    "call",
    [
        lambda a: torch.matmul(input=a, other=torch.eye(4)),
        lambda a: torch.mv(input=torch.eye(4), vec=a[0])[None],
        lambda a: torch.addmm(torch.zeros(1, 4), mat1=a, mat2=torch.eye(4)),
        lambda a: torch.zeros(1, 1, 4).baddbmm(batch1=a[None], batch2=torch.eye(4)[None])[0],
        lambda a: torch.outer(input=a[0], vec2=torch.ones(1)).T,
    ],
)
def test_products_of_matrices_by_keyword(call):
    trace = capture(Made(lambda self, x: call(self.a(x)), a=linear()), torch.ones(1, 4))
    values = trace["a"].values
    assert "a" in set(itertools.chain.from_iterable(parents(trace).values()))
    np.testing.assert_allclose(trace[trace.outputs[0]].values.reshape(-1), values, rtol=1e-6)


@pytest.mark.filterwarnings("ignore")  # torch.ao.quantization is to be replaced
def test_layers_that_are_quantized_as_they_run_are_layers():
    model = torch.ao.quantization.quantize_dynamic(
        nn.Sequential(linear(8), nn.ReLU(), linear(2, 8)), {nn.Linear}, dtype=torch.qint8
    )
    tracer, x = Tracer(model), torch.rand(1, 4)
    for _ in range(2):
        trace = tracer(x)
        assert parents(trace) == {"0": ("input",), "1": ("0",), "2": ("1",)}
        np.testing.assert_array_equal(trace["2"].values, model(x)[0].numpy())


@pytest.mark.parametrize("hooked", [False, True])
def test_copies_that_a_model_makes_of_a_part_of_itself_are_copies(hooked):
    kept = []

    def forward(self, x):
        kept.append(copy.deepcopy(self.net))
        return self.net(x)

    model = Made(forward, net=linear())
    if hooked:
        model.net.register_forward_hook(lambda module, args, out: out + 1)
    tracer, x = Tracer(model), torch.rand(1, 4)
    for _ in range(3):
        assert [layer.name for layer in tracer(x)] == ["net"]
    for each in kept:
        with torch.no_grad():
            each.weight.zero_()
            each.bias.fill_(2)
            assert (each(x) == (3 if hooked else 2)).all()
    assert "forward" not in model.net.__dict__
    assert len(model.net._forward_hooks) == hooked


def test_a_copy_that_runs_in_the_pass_is_a_row_of_functions():
    model = Made(lambda self, x: copy.deepcopy(self.net)(x), net=nn.Sequential(linear(), nn.ReLU()))
    tracer, x = Tracer(model), torch.rand(1, 4)
    for _ in range(2):
        trace = tracer(x)
        assert [(layer.name, layer.kind) for layer in trace] == [("linear", "linear"), ("relu", "activation")]
        np.testing.assert_allclose(trace["relu"].values, model(x)[0].detach().numpy(), rtol=1e-6)


def test_buffers_that_change_in_a_later_pass_and_those_that_were_none():
    class Peak(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("peak", torch.ones(()))
            self.register_buffer("cache", None)

        def forward(self, x):
            if self.cache is None:
                self.cache = torch.ones(4)
            if x.max() > self.peak:
                self.peak.fill_(x.max())
            return x / self.peak * self.cache

    model = Made(lambda self, x: self.last(self.peak(x)), peak=Peak(), last=linear()).eval()
    tracer = Tracer(model)
    for scale in (0, 5, 7):
        tracer(scale * torch.ones(1, 4))
        assert model.peak.peak == 1
        assert model.peak.cache is None
    assert "peak.cache" not in model.state_dict()


def _scripted(x: Tensor, y: Tensor) -> Tensor:
    return torch.relu(x) * 2 + y


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, in favour of torch.compile
    scripted = torch.jit.script(_scripted)
    traced = torch.jit.trace(lambda x: torch.tanh(x) + 1, torch.zeros(1, 4))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # which torch.func.jvp calls itself
@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (lambda a, b: scripted(a, b), ("a", "b")),
        (lambda a, b: scripted(a, y=torch.ones(4)), ("a",)),
        (lambda a, b: traced(b), ("b",)),
        (lambda a, b: torch.vmap(lambda row: row.relu() * 2)(a), ("a",)),
        (lambda a, b: torch.vmap(torch.dot)(a, b).expand(1, 4), ("a", "b")),
        (lambda a, b: torch.vmap(lambda cell: cell.sin(), in_dims=1, out_dims=1)(b), ("b",)),
        (lambda a, b: torch.vmap(torch.vmap(lambda x, y: x * y))(a, b), ("a", "b")),
        (lambda a, b: torch.vmap(lambda row: row.view(2, 2).t().reshape(4))(a), ("a",)),
        (lambda a, b: torch.func.grad(lambda x: x.square().sum())(a), ("a",)),
        (lambda a, b: torch.func.jvp(torch.sin, (a,), (b,))[1], ("a", "b")),
    ],
)
def test_what_compiled_and_transformed_functions_take_the_values_of(between, expected):
    plain = torch.jit.ScriptFunction.__dict__["__call__"]
    model = Made(lambda self, x: self.c(between(self.a(x), self.b(x))), a=linear(), b=linear(), c=linear())
    tracer = Tracer(model)
    x, y = torch.randn(1, 4), torch.randn(1, 4)
    trace = tracer(x)
    assert set(parents(trace)["c"]) == set(expected)
    assert parents(trace)["a"] == parents(trace)["b"] == ("input",)
    for given in (y, x):
        later = tracer(given)
        assert parents(later) == parents(trace)
        with torch.no_grad():
            np.testing.assert_array_equal(later["c"].values, model(given)[0].numpy())
    assert torch.jit.ScriptFunction.__dict__["__call__"] is plain


def test_a_scripted_function_that_fails_is_named():
    model = Made(lambda self, x: scripted(self.a(x), torch.ones(3)), a=linear())
    with pytest.raises(CaptureError, match="scripted__scripted"):
        capture(model, torch.ones(1, 4))


@pytest.mark.parametrize("take", [lambda tensor: tensor.numpy(), np.asarray])
def test_it_is_said_where_values_go_to_numpy(take):
    model = Made(lambda self, x: self.b(torch.from_numpy(take(self.a(x)) * 2)), a=linear(), b=linear())
    tracer = Tracer(model)
    trace = tracer(torch.ones(1, 4))
    assert parents(trace)["b"] == ()
    assert trace.warnings == ("values of 'a' go to NumPy, where what is made of them is not followed",)
    assert tracer(torch.zeros(1, 4)).warnings == trace.warnings


def test_weights_that_another_layer_computes_feed_the_layer_that_has_them():
    class Hyper(nn.Module):
        def __init__(self):
            super().__init__()
            self.hyper, self.net = nn.Linear(3, 16), nn.Sequential(linear(), nn.Tanh())

        def forward(self, x, condition):
            weights = {"0.weight": self.hyper(condition).view(4, 4), "0.bias": torch.zeros(4)}
            return torch.func.functional_call(self.net, weights, (x,))

    model, given = Hyper(), (torch.ones(1, 4), torch.rand(1, 3))
    tracer = Tracer(model)
    for _ in range(2):
        trace = tracer(given)
        assert set(parents(trace)["net.0"]) == {"x", "view"}
        with torch.no_grad():
            np.testing.assert_allclose(trace["net.1"].values, model(*given)[0].numpy(), rtol=1e-6)
    assert all(type(parameter) is nn.Parameter for parameter in model.parameters())


class Pair(NamedTuple):
    one: Tensor
    other: Tensor


class HandsOn(nn.Module):
    """A leaf that returns what it was given, in some container."""

    def __init__(self, container: Callable[..., Any]) -> None:
        super().__init__()
        self.container = container

    def forward(self, one: Tensor, other: Tensor) -> Any:
        return self.container(one, other)


@pytest.mark.parametrize("container", [Pair, lambda a, b: OrderedDict(a=a, b=b), lambda a, b: {"a": a, "b": [b]}])
def test_what_is_handed_on_in_any_container_comes_from_where_it_came(container):
    def forward(self, x):
        one = self.a(x)
        result = self.p(one, x)
        assert type(result) is type(container(one, x))
        return self.c(one) + self.d(x)

    trace = capture(Made(forward, a=linear(), p=HandsOn(container), c=linear(), d=linear()), torch.ones(1, 4))
    assert parents(trace)["c"] == ("a",)
    assert parents(trace)["d"] == ("input",)


def test_a_parameter_that_dropout_hands_on_comes_from_nothing():
    def forward(self, x):
        return self.a(x + self.drop(self.weight)) + self.b(x * self.weight)

    model = Made(forward, a=linear(), b=linear(), drop=nn.Dropout())
    model.weight = nn.Parameter(torch.rand(4))
    trace = capture(model.eval(), torch.ones(1, 4))
    assert parents(trace)["add"] == ("input", "drop")
    assert parents(trace)["b"] == ("input",)
    with torch.no_grad():
        np.testing.assert_array_equal(trace.layers[-1].values, model(torch.ones(1, 4))[0].numpy())


def test_what_a_module_writes_into_an_argument_is_followed(monkeypatch):
    class Match(nn.Module):
        def forward(self, f, data):
            data["found"] = [f.sigmoid()]

    def forward(self, x):
        data = {}
        self.match(self.b(self.a(x)), data)
        return self.c(data["found"][0])

    model = Made(forward, a=linear(), b=linear(), c=linear(), match=Match())
    tracer, x, y = Tracer(model), torch.randn(1, 4), torch.randn(1, 4)
    trace = tracer(x)
    assert parents(trace) == {"a": ("input",), "b": ("a",), "c": ("b",)}
    assert trace.warnings == ("layer 'match' (Match) only wrote into its arguments, which is not drawn",)
    monkeypatch.setattr(tracer, "_record", None)  # of the full pass, which is not needed again
    with torch.no_grad():
        np.testing.assert_array_equal(tracer(y)["c"].values, model(y)[0].numpy())
