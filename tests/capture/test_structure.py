"""A model's structure is there before any data: the graph and shapes that a real pass has, without values."""

from __future__ import annotations

import copy
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tensorview.capture import Trace, Tracer, capture, structure
from tensorview.errors import CaptureError


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.bn, self.attn = nn.BatchNorm2d(8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = F.relu(self.bn(torch.cat([self.a(x), self.b(x)], 1)), inplace=True)
        tokens = x.flatten(2).transpose(1, 2)
        return self.attn(tokens, tokens, tokens, need_weights=False)[0].mean(1)


def described(trace: Trace) -> list[tuple]:
    return [(layer.name, layer.kind, layer.shape, layer.dtype, layer.parents) for layer in (*trace.inputs, *trace)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("given", ["shape", "tensor", "meta"])
def test_a_structure_equals_that_of_a_real_pass(training, given):
    model = Branching().train(training)
    x = torch.rand(1, 3, 6, 5)
    before = copy.deepcopy(model.state_dict())
    trace = structure(model, {"shape": (3, 6, 5), "tensor": x, "meta": x.to("meta")}[given])
    assert described(trace) == described(capture(model, x))
    assert all(layer.values is None and layer.reduced is None for layer in (*trace.inputs, *trace))
    assert trace.outputs == ("mean",)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_without_data_and_of_any_size_is_traced():
    with torch.device("meta"):
        model = nn.Sequential(*[nn.Linear(100_000, 100_000) for _ in range(20)])  # 800 GB
    started = time.monotonic()
    trace = structure(model, (100_000,))
    assert time.monotonic() - started < 20
    assert [layer.shape for layer in trace] == [(100_000,)] * 20
    assert trace["7"].info.parameter_count == 100_000**2 + 100_000


def test_a_pass_that_needs_values_runs_on_zeros():
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 4)

        def forward(self, x):
            return self.a(x) if x.sum().item() > 0 else self.b(x)

    trace = structure(Deciding(), (3,))
    assert [(layer.name, layer.shape, layer.values) for layer in trace] == [("b", (4,), None)]


class Masked(nn.Module):
    """Tokens that are padding (0) are left out."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Embedding(10, 8), nn.Linear(8, 4)

    def forward(self, ids):
        return self.mix(self.embed(ids)[ids != 0])


@pytest.mark.parametrize("ids", [[1, 2, 3, 0], [0, 5, 6, 0], [0, 0, 0, 0]])
def test_shapes_that_depend_on_values_are_those_of_the_given_values(ids):
    model, x = Masked(), torch.tensor([ids])
    trace = structure(model, x)
    assert trace["mix"].shape == (sum(number != 0 for number in ids), 4)
    assert described(trace) == described(capture(model, x))
    assert structure(model, (4,))["mix"].shape == structure(model, x.to("meta"))["mix"].shape == (0, 4)
    assert x.tolist() == [ids]


def test_an_input_is_not_written_to():
    class Writing(nn.Module):
        def forward(self, x):
            return F.relu(x.mul_(2), inplace=True) if x.sum().item() > 0 else x

    x = torch.ones(1, 3)
    assert [layer.name for layer in structure(Writing(), x)] == ["relu"]
    assert x.tolist() == [[1, 1, 1]]


def test_token_indices_are_whole_numbers():
    model = nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 3, batch_first=True))
    trace = structure(model, (7,))
    assert (trace.inputs[0].dtype, trace["0"].shape, trace["1"].shape) == ("int64", (7, 4), (7, 3))
    half = structure(nn.Sequential(nn.Linear(3, 2)).half(), (3,))
    assert half["0"].dtype == "float16"


def lazy_model() -> nn.Sequential:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))


def test_lazy_modules_are_made_on_a_copy():
    model, x = lazy_model(), torch.rand(2, 1, 8, 8)
    random = torch.get_rng_state()
    for trace in (structure(model, (1, 8, 8)), capture(model, x)):
        assert [layer.shape for layer in trace] == [(4, 6, 6)] * 3 + [(144,), (2,)]
        assert trace["4"].info.hyper["in_features"] == 144
        assert trace["0"].module_type == "Conv2d"
        assert [type(module).__name__[:4] for module in model] == ["Lazy", "Lazy", "ReLU", "Flat", "Lazy"]
    assert torch.equal(random, torch.get_rng_state())


def test_a_lazy_model_that_is_initialised_later_is_shown_itself():
    model, x = lazy_model(), torch.rand(2, 1, 8, 8)
    tracer = Tracer(model)
    tracer(x)
    expected = model.eval()(x)[0].detach().numpy()
    assert (tracer(x)["4"].values == expected).all()


def test_without_an_input_the_layers_stand_alone():
    for model in (Branching(), nn.Sequential(lazy_model(), nn.Linear(2, 2))):
        trace = structure(model)
        paths = [name for name, m in model.named_modules() if not list(m.children()) and "out_proj" not in name]
        if isinstance(model, Branching):
            paths.append("attn")
        assert sorted(layer.name for layer in trace) == sorted(paths)
        assert trace.graph.edges == ()
        assert "give the shape of one sample" in trace.warnings[0]
    assert structure(Branching())["a"].info.parameter_count == 112


def test_a_shape_that_does_not_fit_is_said():
    with pytest.raises(CaptureError, match=r"layer '0' \(Linear, 3 -> 2\) was given \(1, 4\) but needs \(..., 3\)"):
        structure(nn.Sequential(nn.Linear(3, 2)), (4,))


def test_values_can_follow_a_structure():
    model, x = Branching().eval(), torch.rand(1, 3, 6, 5)
    tracer = Tracer(model)
    shapes = tracer.structure(x)
    assert described(tracer(x)) == described(shapes)
    assert tracer(x)["bn"].values is not None


def test_buffers_on_the_meta_device_are_no_obstacle():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("index", torch.arange(4.0))

        def forward(self, x):
            return x + self.index

    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), Shifted()).eval()
    assert [layer.shape for layer in structure(model, (3,))] == [(4,), (4,)]


class Keeping(nn.Module):
    """Makes and keeps tensors, a layer and other weights when it runs."""

    def __init__(self):
        super().__init__()
        self.linear, self.fc, self.table = nn.Linear(8, 8), None, None
        self.cache, self.seen = {}, []
        self.register_buffer("late", None)

    def forward(self, x):
        self.linear.weight.data *= torch.ones(8, 8)
        if self.fc is None:
            self.fc, self.table = nn.Linear(8, 3), torch.arange(8.0)
        if self.late is None:
            self.late = torch.ones(8)
        self.cache.setdefault("first", x * 2)
        self.seen.append(x)
        return self.fc(self.linear(x) + self.table + self.late)


class Deciding(Keeping):
    """One that looks at values, so that it is run on zeros in the end."""

    def forward(self, x):
        y = super().forward(x)
        return y * 2 if y.sum().item() > 0 else y


@pytest.mark.parametrize("kind", [Keeping, Deciding])
def test_nothing_without_values_is_left_in_a_model(kind):
    model = kind()
    weight, attributes = model.linear.weight, dict(model.__dict__)
    before, cache, seen = weight.detach().clone(), model.cache, model.seen
    assert structure(model, torch.rand(1, 8))["linear"].shape == (8,)
    assert model.linear.weight is weight
    assert torch.equal(weight, before)
    assert model.__dict__ == attributes
    assert model.cache is cache
    assert model.seen is seen
    assert (model.fc, model.table, cache, seen) == (None, None, {}, [])
    assert list(model._modules) == ["linear"]
    assert model._buffers == {"late": None}
    assert type(model(torch.rand(1, 8))) is torch.Tensor
    assert all(type(tensor) is torch.Tensor for tensor in (model.table, model.late, *model.seen))
