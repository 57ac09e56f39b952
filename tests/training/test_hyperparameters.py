from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tensorview.errors import OpenError
from tensorview.training import LEARNING_RATES, OPTIMIZERS, Hyperparameters, usual
from tensorview.training.hyperparameters import apply, make_optimizer, on_other_data


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", -4),
        ("batch_size", 2.5),
        ("batch_size", "many"),
        ("batch_size", math.nan),
        ("batch_size", math.inf),
        ("every", 0),
        ("learning_rate", -0.1),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", None),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-4),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("cycle", -1),
        ("cycle", math.nan),
        ("optimizer", "sdg"),
    ],
)
def test_a_value_that_is_not_possible_is_one_sentence(name: str, value: object) -> None:
    with pytest.raises(OpenError, match=rf"^{name} is .*[.]$"):
        Hyperparameters(**{name: value})
    with pytest.raises(OpenError, match=rf"^{name} is "):
        Hyperparameters().changed(**{name: value})


def test_a_huge_learning_rate_is_allowed() -> None:
    assert Hyperparameters(learning_rate=1e9).learning_rate == 1e9


def test_numbers_become_what_they_are_meant_to_be() -> None:
    hyper = Hyperparameters(batch_size=32.0, learning_rate="0.5")  # as a browser's fields give them
    assert (hyper.batch_size, hyper.learning_rate) == (32, 0.5)
    assert isinstance(hyper.batch_size, int)


def test_there_are_no_others() -> None:
    with pytest.raises(OpenError, match="no hyperparameter 'lr'; there are learning_rate, momentum"):
        Hyperparameters().changed(lr=1)


def test_another_optimizer_brings_its_usual_learning_rate() -> None:
    assert Hyperparameters().changed(optimizer="adam").learning_rate == LEARNING_RATES["adam"]
    assert Hyperparameters().changed(optimizer="adam", learning_rate=0.5).learning_rate == 0.5
    assert Hyperparameters(learning_rate=0.3).changed(optimizer="sgd").learning_rate == 0.3


def test_the_learning_rate_goes_in_cycles_of_torchs_shape() -> None:
    hyper = Hyperparameters(learning_rate=0.2, cycle=2.0)
    count = 20_000
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=count, cycle_momentum=False)
    for k in range(count):
        if k % 500 == 0:
            expected = optimizer.param_groups[0]["lr"]
            assert hyper.learning_rate_at(2.0 * k / count) == pytest.approx(expected, abs=1e-4)
            assert hyper.learning_rate_at(6.0 + 2.0 * k / count) == pytest.approx(expected, abs=1e-4)
        if k < count - 1:
            optimizer.step()
            schedule.step()
    assert hyper.learning_rate_at(1.999999) < 1e-6
    assert Hyperparameters(learning_rate=0.2).learning_rate_at(1.999999) == 0.2


def test_data_bring_their_usual_hyperparameters_unless_others_were_chosen() -> None:
    assert usual("digits") == usual("pictures/of/mine") == Hyperparameters()
    assert usual("mnist") != usual("digits")
    assert on_other_data(usual("digits"), "digits", "mnist") == usual("mnist")
    assert on_other_data(usual("mnist"), "mnist", "digits") == Hyperparameters()
    chosen = Hyperparameters(batch_size=7)
    assert on_other_data(chosen, "digits", "mnist") is chosen
    assert on_other_data(usual("digits"), "mnist", "mnist") == Hyperparameters()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_values_reach_the_optimizer_and_keep_its_state(name: str) -> None:
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model.parameters(), Hyperparameters(optimizer=name))
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = dict(optimizer.state[model.weight])
    apply(optimizer, Hyperparameters(optimizer=name, learning_rate=0.25, momentum=0.5, weight_decay=0.125))
    (group,) = optimizer.param_groups
    assert type(optimizer).__name__.lower() == name
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)
    assert (group["betas"][0] if "betas" in group else group["momentum"]) == 0.5
    assert all(optimizer.state[model.weight][key] is value for key, value in state.items())
