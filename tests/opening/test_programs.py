"""Files that hold torch's own programs: torch.export, TorchScript, pickled modules."""

from __future__ import annotations

import pickle
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional

from tensorview import capture
from tensorview.errors import OpenError, TrustRequired
from tensorview.opening import open_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1, groups=2), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)) + x)


class Net(nn.Module):
    """A skip in each block, a concatenation, one activation that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 4, 3, 2, 1), nn.Sequential(Block(4), Block(4))
        self.pool, self.relu, self.fc = nn.MaxPool2d(2), nn.ReLU(), nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.blocks(self.relu(self.stem(x))))
        x = torch.cat([self.pool(x), functional.adaptive_avg_pool2d(x, 4)], 1)
        return self.fc(x.flatten(1))


class Choosing(nn.Module):
    """Python that a trace would lose: a loop and a choice, and a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)])

    def squash(self, x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        return torch.tanh(x) / factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.squash(layer(x))
        if x.sum() > 0:
            x = functional.softmax(x, dim=-1)
        return x


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        for block in net.blocks:
            block.bn.running_mean.uniform_(-1, 1)
            block.bn.running_var.uniform_(0.5, 2)
    return net


def exported(net, path):
    torch.export.save(torch.export.export(net, (torch.rand(1, 3, 16, 16),)), path)


def traced(net, path):
    torch.jit.trace(net, torch.rand(1, 3, 16, 16)).save(str(path))


def scripted(net, path):
    torch.jit.script(net).save(str(path))


@pytest.mark.parametrize(
    ("save", "name"),
    [
        (exported, "n.pt2"),
        (exported, "n.pt"),
        (traced, "n.ts"),
        (traced, "n.torchscript"),
        (scripted, "n.ts"),
        (scripted, "n.pt"),
        (torch.save, "n.pth"),
    ],
)
def test_a_program_opens_with_the_graph_and_the_values_of_its_module(net, save, name, tmp_path):
    path = tmp_path / name
    save(net, path)
    with pytest.raises(TrustRequired, match=rf"{name} is a .*trust"):
        open_model(path)
    subject = open_model(path, trust=True, input_shape=(3, 16, 16))
    x = torch.rand(1, 3, 16, 16)
    trace, wanted = capture(subject.module, x), capture(net, x)
    assert trace.model_name == "Net"
    assert [(layer.name, layer.kind, layer.parents) for layer in trace] == [
        (layer.name, layer.kind, layer.parents) for layer in wanted
    ]
    for layer in wanted:
        assert abs(trace[layer.name].values - layer.values).max() < 1e-6
        assert trace[layer.name].info.parameter_count == layer.info.parameter_count
        for key in ("kernel_size", "padding", "groups", "in_features"):
            told, known = trace[layer.name].info.hyper.get(key), layer.info.hyper.get(key)
            assert told in (known, (known, known), None)
            assert told is not None or layer.kind not in ("convolution", "linear") or known is None


def test_an_exported_file_says_its_input(net, tmp_path):
    exported(net, tmp_path / "n.pt2")
    assert open_model(tmp_path / "n.pt2", trust=True).input_spec.shape == (3, 16, 16)
    with pytest.raises(OpenError, match=r"takes an input of \(3, 16, 16\), not \(3, 8, 8\)"):
        open_model(tmp_path / "n.pt2", trust=True, input_shape=(3, 8, 8))


def test_a_free_batch_and_a_fixed_one(net, tmp_path):
    x = torch.rand(4, 3, 16, 16)
    free = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(free, tmp_path / "free.pt2")
    module = open_model(tmp_path / "free.pt2", trust=True).module
    torch.testing.assert_close(module(x[:1]), net(x[:1]))
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "four.pt2")
    with pytest.raises(OpenError, match="was exported for batches of 4"):
        open_model(tmp_path / "four.pt2", trust=True)


def test_torchscript_tells_its_input_by_its_first_weight(net, tmp_path):
    scripted(Choosing().eval(), tmp_path / "c.ts")
    assert open_model(tmp_path / "c.ts", trust=True).input_spec.shape == (4,)
    scripted(nn.Sequential(nn.ReLU()), tmp_path / "r.ts")
    with pytest.raises(OpenError, match=r"input shape of r\.ts cannot be told"):
        open_model(tmp_path / "r.ts", trust=True)


def test_loops_choices_and_methods_of_a_scripted_model(tmp_path):
    torch.manual_seed(1)
    model = Choosing().eval()
    scripted(model, tmp_path / "c.ts")
    module = open_model(tmp_path / "c.ts", trust=True).module
    for sign in (5.0, -5.0):
        with torch.no_grad():
            model.layers[2].bias.fill_(sign)
            module.layers._modules["2"].bias.fill_(sign)
            x = torch.rand(1, 4)
            torch.testing.assert_close(module(x), model(x))
        trace = capture(module, x)
        names = [layer.name for layer in trace]
        assert names == [
            "layers.0",
            "tanh",
            "layers.1",
            "tanh#2",
            "layers.2",
            "tanh#3",
            "softmax" if sign > 0 else "output",
        ]


class Unused(nn.Module):
    """One layer that is called and one that is not, of which a trace has no program."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.aux = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


class Remembering(nn.Module):
    """Recurrent layers, whose `forward` is overloaded."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True), nn.GRU(6, 5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(x)
        return self.gru(y)[0]


def assert_opens_as_itself(model, path, *shape):
    x = torch.rand(1, *shape)
    module = open_model(path, trust=True, input_shape=shape).module
    torch.testing.assert_close(module(x), model(x))
    found, wanted = capture(module, x), capture(model, x)
    assert [(layer.name, layer.kind, layer.parents, layer.info.parameter_count) for layer in found] == [
        (layer.name, layer.kind, layer.parents, layer.info.parameter_count) for layer in wanted
    ]
    assert abs(found[found.outputs[0]].values - wanted[wanted.outputs[0]].values).max() < 1e-6


def test_a_layer_that_a_traced_model_never_calls(tmp_path):
    model = Unused().eval()
    torch.jit.trace(model, torch.rand(1, 4)).save(str(tmp_path / "u.ts"))
    assert_opens_as_itself(model, tmp_path / "u.ts", 4)


def test_a_traced_layer_that_stands_in_three_places(tmp_path):
    model = nn.Sequential(*[nn.Linear(4, 4)] * 3).eval()
    torch.jit.trace(model, torch.rand(1, 4)).save(str(tmp_path / "s.ts"))
    assert_opens_as_itself(model, tmp_path / "s.ts", 4)


def test_scripted_recurrent_layers(tmp_path):
    model = Remembering().eval()
    scripted(model, tmp_path / "r.ts")
    assert_opens_as_itself(model, tmp_path / "r.ts", 5, 4)


class Scaled(nn.Module):
    """A parameter of no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(4, 4), nn.Parameter(torch.rand(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) * self.scale


@pytest.mark.parametrize("model", [Scaled().eval(), nn.Linear(4, 3).eval(), nn.GRU(4, 3).eval()], ids=repr)
def test_a_scripted_module_with_parameters_of_its_own(model, tmp_path):
    scripted(model, tmp_path / "s.ts")
    module = open_model(tmp_path / "s.ts", trust=True, input_shape=(4,)).module
    assert [(name, p.shape) for name, p in module.named_parameters()] == [
        (name, p.shape) for name, p in model.named_parameters()
    ]
    x = torch.rand(1, 4)
    torch.testing.assert_close(module(x), model(x))
    assert capture(module, x).outputs


class Counting(nn.Module):
    """A choice by the number of dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 3:
            return self.fc(x)
        return torch.relu(self.fc(x))


def test_integers_are_compared_as_integers(tmp_path):
    model = Counting().eval()
    with torch.no_grad():
        model.fc.bias.fill_(-9)
    scripted(model, tmp_path / "c.ts")
    module = open_model(tmp_path / "c.ts", trust=True).module
    assert module(torch.rand(1, 4)).tolist() == [[0, 0, 0]]
    assert (module(torch.rand(1, 2, 4)) < 0).all()


class Translating(nn.Module):
    """Attention within one sequence and between two."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Transformer(8, 2, 2, 1, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.both(x, x * 2)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:.norm. was found in ScriptModule")
@pytest.mark.parametrize("whole", [True, False])
def test_scripted_transformers(whole, tmp_path):
    model = Translating().eval() if whole else nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    scripted(model, tmp_path / "t.ts")
    module = open_model(tmp_path / "t.ts", trust=True, input_shape=(5, 8)).module
    x = torch.rand(1, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(module(x), model(x))
    found, wanted = capture(module, x), capture(model, x)
    # What one token heeds of another is heard in torch's own modules alone.
    known = [layer for layer in wanted if not layer.name.endswith(":weights")]
    assert [(layer.name, layer.kind, layer.parents) for layer in found] == [
        (layer.name, layer.kind, layer.parents) for layer in known
    ]
    for layer in known:
        assert abs(found[layer.name].values - layer.values).max() < 1e-5


class Tied(nn.Module):
    """One matrix for what goes in and what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.embed(x))


@pytest.mark.parametrize("name", ["t.pt2", "t.ts", "s.ts"])
def test_tied_weights_are_one_parameter(name, tmp_path):
    three = nn.Sequential(*[nn.Linear(4, 4)] * 3)
    for model, x, count in ((Tied(), torch.tensor([[1, 9]]), 40), (three, torch.rand(1, 4), 20)):
        path = tmp_path / name
        if name == "t.pt2":
            torch.export.save(torch.export.export(model.eval(), (x,)), path)
        else:
            (torch.jit.trace(model.eval(), x) if name == "t.ts" else torch.jit.script(model.eval())).save(str(path))
        module = open_model(path, trust=True, input_shape=tuple(x.shape[1:])).module
        assert sum(p.numel() for p in module.parameters()) == count
        torch.testing.assert_close(module(x), model(x))


def test_a_torchvision_model_through_both(tmp_path):
    from tensorview.opening import import_torchvision

    model = import_torchvision().models.mobilenet_v3_small(num_classes=7).eval()
    x = torch.rand(1, 3, 64, 64)
    wanted = capture(model, x)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "m.pt2")
    torch.jit.script(model).save(str(tmp_path / "m.ts"))
    for name in ("m.pt2", "m.ts"):
        trace = capture(open_model(tmp_path / name, trust=True, input_shape=(3, 64, 64)).module, x)
        assert trace.graph.edges == wanted.graph.edges
        assert abs(trace[trace.outputs[0]].values - wanted[wanted.outputs[0]].values).max() < 1e-5


def test_a_pickle_is_never_run_without_trust(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pt"
    torch.save({"weight": Evil()}, path)
    with pytest.raises(TrustRequired, match="can run any code"):
        open_model(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises((TrustRequired, OpenError)):
        open_model(path)
    with zipfile.ZipFile(tmp_path / "evil.pt2", "w") as archive:
        archive.writestr("evil/data/sample_inputs/model.pt", path.read_bytes())
    with pytest.raises(TrustRequired):
        open_model(tmp_path / "evil.pt2")
    assert not (tmp_path / "ran").exists()


def test_garbage_is_refused_without_a_log(tmp_path, caplog):
    path = tmp_path / "g.pt2"
    path.write_bytes(b"garbage")
    with caplog.at_level("WARNING", "torch.export"), pytest.raises(OpenError, match="is not a whole torch"):
        open_model(path, trust=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data", "b")
    with pytest.raises(OpenError, match=r"when deserializing the saved file\.$"):
        open_model(path, trust=True)
    assert not caplog.records
