"""Later calls of a tracer: the known structure is used where it holds, and found anew where it does not."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tensorview.capture import Trace, Tracer, capture
from tensorview.errors import CaptureError


class Counted(Tracer):
    """A tracer that counts its full passes."""

    full = 0

    def _record(self, *args, **kwargs):
        self.full += 1
        return super()._record(*args, **kwargs)


def assert_equal(trace: Trace, other: Trace) -> None:
    assert [layer.name for layer in trace] == [layer.name for layer in other]
    assert trace.graph.edges == other.graph.edges
    assert trace.outputs == other.outputs
    for layer, expected in zip((*trace.inputs, *trace), (*other.inputs, *other), strict=True):
        assert (layer.shape, layer.dtype, layer.parents) == (expected.shape, expected.dtype, expected.parents)
        np.testing.assert_array_equal(layer.values, expected.values)
        assert not layer.values.flags.writeable


class Switching(nn.Module):
    """Every attribute chooses another path through the same layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.extra = self.swap = self.squash = self.scale = False

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        if self.extra:
            a = self.a(a)
        a = torch.tanh(a) if self.squash else F.relu(a)
        x = self.last(b if self.swap else a)
        return x * 2 if self.scale else x


@pytest.mark.parametrize("switch", ["extra", "swap", "squash", "scale"])
def test_another_path_is_noticed(switch):
    model = Switching()
    tracer = Counted(model)
    tracer(torch.rand(1, 4))
    x = torch.rand(1, 4)
    assert_equal(tracer(x), capture(model, x))
    assert tracer.full == 1
    setattr(model, switch, True)
    assert_equal(tracer(x), capture(model, x))
    assert tracer.full == 2
    setattr(model, switch, False)
    assert_equal(tracer(x), capture(model, x))
    assert tracer.full == 3


def test_a_new_shape_and_a_replaced_module_are_noticed():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    tracer = Counted(model)
    for batch in (1, 2, 1):
        assert tracer(torch.rand(batch, 4))["0"].shape == (4,)
    assert tracer.full == 3
    model[1] = nn.Tanh()
    trace = tracer(torch.rand(1, 4))
    assert trace["1"].module_type == "Tanh"
    assert trace["1"].values.min() >= -1
    assert tracer.full == 4


def test_new_weights_and_inputs_show_in_the_next_trace_and_not_in_the_last():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    tracer = Counted(model)
    first = tracer(torch.ones(1, 4))
    kept = first["0"].values.copy()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(2.5)
    second = tracer(torch.zeros(1, 4))
    assert tracer.full == 1
    assert (second["0"].values == 2.5).all()
    assert second["0"].stats.mean == 2.5
    assert (second["input"].values == 0).all()
    np.testing.assert_array_equal(first["0"].values, kept)


def test_a_pass_that_fails_after_one_that_did_not():
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            out = self.fc(x)
            if x.sum() < 0:
                raise ValueError("negative")
            return out

    tracer = Tracer(Moody())
    tracer(torch.ones(1, 2))
    with pytest.raises(CaptureError, match="negative") as caught:
        tracer(-torch.ones(1, 2))
    assert [layer.name for layer in caught.value.trace] == ["fc"]
    assert len(tracer(torch.ones(1, 2))) == 1


def test_compiled_models_and_parts_run_uncompiled():
    x = torch.rand(1, 4)
    plain = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    expected = capture(plain, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the compiler's own modules, when it imports them
        whole, part = torch.compile(plain), torch.compile(plain[1])
    assert_equal(capture(whole, x), expected)
    tracer = Counted(nn.Sequential(plain[0], part))
    assert_equal(tracer(x), expected)
    assert_equal(tracer(x), expected)
    assert tracer.full == 1


def test_gradients_inside_the_forward_do_no_harm():
    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 1)

        def forward(self, x):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                (force,) = torch.autograd.grad(self.fc(x).sum(), x)
            return force

    model, x = Energy(), torch.rand(1, 3)
    tracer = Counted(model)
    for _ in range(2):
        trace = tracer(x)
        assert trace["fc"].parents == ("input",)
        np.testing.assert_array_equal(trace["output"].values, model.fc.weight[0].detach().numpy())
    assert tracer.full == 1
    assert model.fc.weight.grad is None


@pytest.mark.parametrize("way", ["hook", "pre-hook", "global hook", "own forward", "own call", "scripted"])
def test_what_others_have_put_around_a_module_is_in_every_pass(way):
    """The second pass stands in for the `forward` of modules that have nothing of the kind."""

    class Doubled(nn.Linear):
        def __call__(self, x):
            return 2 * super().__call__(x)

    model = nn.Sequential(Doubled(3, 4) if way == "own call" else nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    first = model[0]
    handle = None
    if way == "hook":
        first.register_forward_hook(lambda module, args, out: 2 * out)
    elif way == "pre-hook":
        first.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    elif way == "global hook":
        handle = nn.modules.module.register_module_forward_hook(
            lambda module, args, out: 2 * out if module is first else None
        )
    elif way == "own forward":
        plain = first.forward
        first.forward = lambda x: 2 * plain(x)
    elif way == "scripted":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            model[0] = torch.jit.script(first)
    kept = dict(first.__dict__)
    try:
        tracer = Counted(model)
        for _ in range(3):
            x = torch.rand(1, 3)
            with torch.no_grad():
                expected = model(x)[0].numpy()
            np.testing.assert_allclose(tracer(x)["2"].values, expected, rtol=1e-6)
        assert tracer.full == 1, "all others followed the plan"
    finally:
        if handle is not None:
            handle.remove()
    assert first.__dict__ == kept
    assert all("forward" not in module.__dict__ for module in model[1:])


def test_a_module_has_its_own_forward_again_after_a_pass_that_fails():
    class Picky(nn.Module):
        def forward(self, x):
            if x.sum() < 0:
                raise ValueError("too small")
            return x + 1

    model = nn.Sequential(nn.Linear(3, 3), Picky(), nn.Linear(3, 2))
    nn.init.eye_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    tracer = Tracer(model)
    tracer(torch.ones(1, 3))
    with pytest.raises(CaptureError, match="too small"):
        tracer(-torch.ones(1, 3))
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert tracer(torch.ones(1, 3))["1"].values.tolist() == [2, 2, 2]


@pytest.mark.parametrize("way", ["hook", "new hooks", "forward of the class", "another class"])
def test_what_is_put_around_a_module_between_two_passes_is_in_the_next_one(way, monkeypatch):
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    tracer, x = Counted(model), torch.rand(1, 3)
    before = tracer(x), tracer(x)
    plain = nn.Linear.forward
    if way == "hook":
        model[0].register_forward_hook(lambda module, args, out: 2 * out)
    elif way == "new hooks":
        model[0]._forward_hooks = OrderedDict({0: lambda module, args, out: 2 * out})
    elif way == "forward of the class":
        monkeypatch.setattr(nn.Linear, "forward", lambda self, x: 2 * plain(self, x))
    else:
        model[0].__class__ = Doubled
    for _ in range(2):
        after = tracer(x)
        np.testing.assert_allclose(after["0"].values, 2 * before[1]["0"].values, rtol=1e-6)
        with torch.no_grad():
            np.testing.assert_allclose(after["2"].values, model(x)[0].numpy(), rtol=1e-6)
    assert tracer.full == 1
    assert all("forward" not in module.__dict__ for module in model)


def test_a_tracer_that_is_given_up_is_gone_without_a_garbage_collection():
    class Doubled(nn.Sequential):
        def forward(self, x):
            return 2 * super().forward(x)

    tracer = Tracer(Doubled(nn.Linear(3, 4), nn.ReLU()))
    for _ in range(3):
        tracer(torch.rand(1, 3))
    gone = weakref.ref(tracer), weakref.ref(tracer._model)
    gc.disable()
    try:
        del tracer
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_mean_of_maps_in_either_layout_and_after_values_that_are_no_numbers(batch, layout):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3)).to(memory_format=layout).eval()
    tracer = Tracer(model, sample=batch - 1, choose=lambda structure: {"0": "mean", "1": "mean", "2": "mean"})
    x = torch.rand(batch, 3, 8, 9).to(memory_format=layout)
    for _ in range(4):  # the memory of the means is used again
        trace = tracer(torch.full_like(x, np.nan))
        assert np.isnan(trace["0"].reduced["mean"]).all()
        del trace
    trace, expected = tracer(x), capture(model, x, sample=batch - 1)
    for layer in trace:
        mean = expected[layer.name].values.mean(0, dtype=np.float64)
        np.testing.assert_allclose(layer.reduced["mean"], mean, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "choice",
    [
        lambda one, other, x: one if x.sum() > 0 else other,
        lambda one, other, x: (one if x.sum() > 0 else other) * 2,
        lambda one, other, x: x + (one if x.sum() > 0 else other),
        lambda one, other, x: torch.cat([x, one if x.sum() > 0 else other], 1)[:, 2:6],
        lambda one, other, x: (x + 0 * one, (one if x.sum() > 0 else other).chunk(2, 1)[0].repeat(1, 2))[1],
        lambda one, other, x: (one if x.sum() > 0 else other).mul_(3),
    ],
    ids=["itself", "scaled", "operand", "member", "part", "in place"],
)
def test_another_choice_among_the_same_layers_is_noticed(choice):
    class Choosing(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(choice(self.one(x), self.other(x), x))

    model, x = Choosing(), torch.rand(1, 4)
    tracer = Counted(model)
    for sign, full in ((1, 1), (1, 1), (-1, 2), (-1, 2), (1, 3)):
        assert_equal(tracer(sign * x), capture(model, sign * x))
        assert tracer.full == full


def test_a_module_that_is_given_another_second_argument_is_noticed():
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + y

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.sum = nn.Linear(4, 4), nn.Linear(4, 4), Sum()

        def forward(self, x):
            one, other = self.one(x), self.other(x)
            return self.sum(x, one if x.sum() > 0 else other)

    model, x = Model(), torch.rand(1, 4)
    tracer = Counted(model)
    for sign, full in ((1, 1), (1, 1), (-1, 2)):
        assert_equal(tracer(sign * x), capture(model, sign * x))
        assert tracer.full == full
