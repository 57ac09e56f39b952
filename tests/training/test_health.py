"""Dead units, saturation, explosions, NaN: named with their layer and counted."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tensorview.capture import capture
from tensorview.training.building import Recipe
from tensorview.training.data import Data
from tensorview.training.evaluating import evaluate
from tensorview.training.health import Norms, broken_weights, gradient_warnings
from tensorview.training.watching import watching


def named(model: nn.Module, *batches: torch.Tensor) -> tuple[str, ...]:
    with watching(model) as health, torch.no_grad():
        for batch in batches:
            model(batch)
    return health.warnings()


def test_dead_maps_are_counted_over_all_batches(bars: Data) -> None:
    model, _ = Recipe("lenet5").build(bars)
    with torch.no_grad():
        for value in (model.conv1.bias, model.conv1.weight):
            value[:2] = -1.0
        model.conv1.bias[2:] = 1.0
    judged = evaluate(model, bars)
    assert judged is not None
    assert "relu1: 2 of 6 maps are dead (0 for every held-out example)." in judged.evaluation.warnings
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_unit_that_lives_for_one_example_is_not_dead() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    assert named(model, torch.tensor([[-1.0, -1.0]]), torch.tensor([[1.0, -2.0]])) == (
        "1: 1 of 2 units is dead (0 for every held-out example).",
    )
    assert named(model, torch.tensor([[-1.0, 2.0]]), torch.tensor([[1.0, -2.0]])) == ()


class Functional(nn.Module):
    """Rectifies by a function, by a method in place and by a module that is used twice, with other widths."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.inner[0](x))
        x = self.inner[1](self.relu(x)).relu_()
        return self.relu(x)[:, :1].tanh()


def test_rectifiers_without_a_module_are_counted_and_named_as_in_a_trace() -> None:
    model = Functional()
    with torch.no_grad():
        for layer, bias in ((model.inner[0], [1.0, -1.0]), (model.inner[1], [-1.0, 5.0, -1.0])):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor(bias))
    x = torch.ones(4, 2)
    said = named(model, x, x)
    two, three = "1 of 2 units is dead", "2 of 3 units are dead"
    dead = dict(line.rstrip(".").split(": ", 1) for line in said)
    why = " (0 for every held-out example)"
    names = [layer.name for layer in capture(model, x).layers if layer.module_type.lower().startswith("relu")]
    assert list(dead) == names
    assert list(dead.values()) == [two + why, two + why, three + why, three + why]


def test_what_a_person_squashes_by_a_function_is_looked_at() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(x)

    assert named(Net(), torch.tensor([[9.0, -9.0, 9.0, 0.0]])) == ("sigmoid: 75% of the values are saturated.",)


@pytest.mark.parametrize(("squash", "end"), [(nn.Tanh(), 3.0), (nn.Sigmoid(), 6.0)])
def test_saturation_is_named_where_most_values_have_it(squash: nn.Module, end: float) -> None:
    model = nn.Sequential(squash)
    assert named(model, torch.tensor([[end, -end, end, 0.0]])) == ("0: 75% of the values are saturated.",)
    assert named(model, torch.tensor([[end, 0.0, 0.1, -0.2]])) == ()


def test_of_nan_and_explosions_the_first_layer_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 5))
    with torch.no_grad():
        model[1].weight[0, 0] = math.nan
    assert named(model, torch.ones(10, 2)) == ("1: 10 of 40 values are NaN or infinite.",)
    assert broken_weights(model) == ("1: 1 of 12 weights are NaN or infinite.",)
    with torch.no_grad():
        model[1].weight.fill_(1e6)
        model[0].bias.fill_(1.0)
        model[0].weight.fill_(0.0)
    (said,) = named(model, torch.ones(10, 2))
    assert said == "1: activations explode, up to 3.0e+06."


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda model: None, ()),
        (lambda model: model[1].weight.grad.fill_(500.0), ("1: gradients explode, their norm is 1.2e+03.",)),
        (
            lambda model: model[0].bias.grad.fill_(math.inf),
            ("0: gradients are NaN or infinite, in 1 of 4 parameters.",),
        ),
    ],
)
def test_gradients_that_explode_are_named(spoil: Callable[[nn.Module], object], said: tuple[str, ...]) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model(torch.ones(1, 2)).sum().backward()
    spoil(model)
    norms, squares = Norms(model)()
    assert squares == pytest.approx(sum(float((p.detach() ** 2).sum()) for p in model.parameters()), rel=1e-5)
    assert norms["1.bias"] == pytest.approx(math.sqrt(2))
    assert gradient_warnings(norms) == said


def test_a_model_without_gradients_has_no_warnings() -> None:
    assert gradient_warnings(Norms(nn.Linear(2, 2))()[0]) == ()
