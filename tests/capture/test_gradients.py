"""Gradients with respect to layers' outputs, compared with autograd on networks written out by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tensorview.capture import Tracer
from tensorview.errors import CaptureError
from tensorview.opening.torchvision_shim import import_torchvision


class Net(nn.Module):
    """Writes in place, calls modules twice, hands tensors on, adds and concatenates."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.same = nn.Identity()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        y = self.same(self.conv(x))
        y += x
        y = self.relu(y)
        z = torch.cat([F.relu(y - 0.2), self.drop(x)], 1)
        return self.head(z.flatten(1))


def by_hand(net: Net, x: Tensor, loss: Any) -> dict[str, Tensor]:
    """The gradients of the same network, every value of which has a name and is written once."""
    found = {"input": x.detach().clone().requires_grad_()}

    def keep(name: str, value: Tensor) -> Tensor:
        value = value.clone()  # what hands its argument on has a value of its own
        value.retain_grad()
        found[name] = value
        return value

    conv = keep("conv", net.conv(found["input"]))
    norm = keep("norm", net.norm(conv))
    first = keep("relu", norm.clamp(min=0))
    again = keep("conv#2", net.conv(first))
    same = keep("same", again)
    second = keep("relu#2", keep("add", same + first).clamp(min=0))
    rest = keep("relu#3", (second - 0.2).clamp(min=0))
    flat = keep("flatten", keep("cat", torch.cat([rest, keep("drop", first)], 1)).flatten(1))
    loss(keep("head", net.head(flat))).backward()
    return {name: value.grad for name, value in found.items() if value.grad is not None}


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    net = Net().eval()
    net.norm.running_mean.normal_()
    return net


def cross_entropy(output: Tensor) -> Tensor:
    return F.cross_entropy(output, torch.tensor([2, 0, 1])[: len(output)])


@pytest.mark.parametrize("sample", [0, 2])
def test_gradients_are_those_of_the_network_written_by_hand(net: Net, sample: int) -> None:
    x = torch.rand(3, 2, 4, 4)
    expected = by_hand(copy.deepcopy(net), x, cross_entropy)
    trace, gradients = Tracer(net, sample=sample).with_gradients(x, cross_entropy)
    named = {"relu#3" if layer.name.startswith("relu") and layer.module_name == "" else layer.name for layer in trace}
    assert named == set(expected) - {"input"}
    assert gradients.warnings == ()
    for name, gradient in expected.items():
        mine = gradients["relu#3" if name == "relu#3" else name].values
        np.testing.assert_allclose(mine, gradient[sample].numpy(), rtol=1e-5, atol=1e-8, err_msg=name)
    assert gradients.graph.edges == trace.graph.edges
    assert [(n.name, n.shape, n.kind) for n in gradients] == [(n.name, n.shape, n.kind) for n in trace]
    with torch.no_grad():
        np.testing.assert_array_equal(trace["head"].values, net(x)[sample].numpy())


def test_a_residual_network_with_relus_in_place() -> None:
    torch.manual_seed(0)
    model = import_torchvision().models.resnet18(weights=None).eval()
    plain = copy.deepcopy(model)
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, out: Tensor) -> None:
            out.retain_grad()
            kept[name if name not in kept else f"{name}#2"] = out

        return hook

    for name, module in plain.named_modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if not list(module.children()):
            module.register_forward_hook(keep(name))
    x = torch.rand(1, 3, 64, 64)
    loss = lambda output: F.cross_entropy(output, torch.tensor([7]))  # noqa: E731
    loss(plain(x)).backward()
    _, gradients = Tracer(model).with_gradients(x, loss)
    assert len(kept) == 60
    for name, value in kept.items():
        assert value.grad is not None
        np.testing.assert_allclose(gradients[name].values, value.grad[0].numpy(), rtol=1e-3, atol=1e-7, err_msg=name)


def test_frozen_weights_and_whole_numbers_as_input() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.position = nn.Embedding(9, 4), nn.Parameter(torch.rand(3, 4))
            self.rnn, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids)
            x += self.position
            out, (hidden, _) = self.rnn(x)
            return self.head(out[:, -1]) + hidden[0, :, :2]

    model = Tokens().requires_grad_(False).eval()
    ids = torch.tensor([[1, 5, 2]])
    _, gradients = Tracer(model).with_gradients(ids, lambda output: output.square().sum())
    x = (model.embed(ids) + model.position).requires_grad_()
    out, (hidden, _) = model.rnn(x)
    logits = model.head(out[:, -1]) + hidden[0, :, :2]
    wanted = torch.autograd.grad(logits.square().sum(), [x, out, hidden, logits])
    found = [gradients[name].values for name in ("embed", "rnn", "rnn:1", "add")]
    for mine, theirs in zip(found, (wanted[0][0], wanted[1][0], wanted[2][0, 0], wanted[3][0]), strict=True):
        np.testing.assert_allclose(mine.reshape(theirs.shape), theirs.numpy(), rtol=1e-5, atol=1e-7)
    assert gradients.inputs[0].values is None
    assert "'rnn:2' there is no gradient" in " ".join(gradients.warnings), "the cell state is used by nobody"
    assert not any(p.requires_grad for p in model.parameters())


def test_nothing_is_left_behind(net: Net) -> None:
    net.train()
    net(torch.rand(2, 2, 4, 4)).sum().backward()
    net.head.bias.requires_grad_(False)
    before = copy.deepcopy(net)
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    torch.manual_seed(4)
    Tracer(net).with_gradients(torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(1)), cross_entropy)
    after = torch.rand(1)
    torch.manual_seed(4)
    assert torch.equal(after, torch.rand(1)), "dropout drew from the generator"
    for one, other in zip(net.state_dict().values(), before.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    for grad, parameter, old in zip(grads, net.parameters(), before.parameters(), strict=True):
        assert (grad is None) == (parameter.grad is None)
        assert grad is None or torch.equal(grad, parameter.grad)
        assert parameter.requires_grad == old.requires_grad
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.is_grad_enabled()


def test_inside_no_grad_and_inference_mode(net: Net) -> None:
    x = torch.rand(1, 2, 4, 4)
    expected = by_hand(copy.deepcopy(net), x, cross_entropy)["conv"][0].numpy()
    with torch.no_grad():
        found = Tracer(net).with_gradients(x, cross_entropy)[1]["conv"].values
    with torch.inference_mode():
        again = Tracer(net).with_gradients(x * 1, cross_entropy)[1]["conv"].values
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-8)


def test_a_budget_keeps_mean_and_maximum_of_the_maps() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 2)).eval()
    x = torch.rand(1, 1, 8, 8)
    whole = Tracer(model).with_gradients(x, lambda o: o[0, 1])[1]["0"].values
    trace, gradients = Tracer(model, budget=900).with_gradients(x, lambda o: o[0, 1])
    assert trace["0"].values is None
    assert gradients["0"].values is None
    np.testing.assert_allclose(gradients["0"].reduced["mean"], whole.mean(0), rtol=1e-5)
    np.testing.assert_allclose(gradients["0"].reduced["max"], whole.max(0), rtol=1e-5)
    assert trace.warnings == gradients.warnings


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda output: output, r"the loss is a torch.float32 of shape \(1, 3\); it must be a tensor of one number"),
        (lambda output: output.sum().item(), "the loss is a float"),
        (lambda output: output.sum().detach(), "the loss has no gradient"),
        (lambda output: output["logits"], "the loss of the model's output raised IndexError"),
    ],
)
def test_what_is_no_loss_is_named(net: Net, loss: Any, said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        Tracer(net).with_gradients(torch.rand(1, 2, 4, 4), loss)


def test_a_model_that_detaches_is_drawn_as_far_as_gradients_go() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.two(self.one(x))
            return self.three(x).argmax(-1).float() + self.three(x).sum(-1)

    _, gradients = Tracer(Half()).with_gradients(torch.rand(1, 3), lambda output: output.sum())
    np.testing.assert_array_equal(gradients["three#2"].values, [1, 1, 1])
    assert gradients["one"].values is None
    assert gradients["three"].values is None
    assert "of layers 'one', 'two', 'three'" in " ".join(gradients.warnings)


def test_attention_has_gradients_but_its_maps_have_none() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()
    x = torch.rand(1, 5, 8)
    trace, gradients = Tracer(model).with_gradients(x, lambda output: output.square().sum())
    maps = "layers.0.self_attn:weights"
    assert trace[maps].values is not None
    assert gradients[maps].values is None
    assert [w for w in gradients.warnings if "gradient" in w] == [
        "of attention maps there is no gradient: attention computes them inside, or never holds them"
    ]
    given = x.clone().requires_grad_()
    model(given).square().sum().backward()
    np.testing.assert_allclose(gradients.inputs[0].values, given.grad[0].numpy(), rtol=1e-4, atol=1e-6)
