"""What a person sets of a training, checked, and how it reaches the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import nn

from ..errors import OpenError

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
# What each learns with on small images; the adaptive ones take far smaller steps.
LEARNING_RATES = {"sgd": 0.01, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 3e-4}
_WHOLE = ("batch_size", "every")
_BELOW = {
    "learning_rate": math.inf,
    "momentum": 1.0,
    "weight_decay": math.inf,
    "label_smoothing": 1.0,
    "cycle": math.inf,
}
# Of data on which others than the defaults are known to do better; docs/training.md has the figures.
_USUAL: dict[str, dict[str, Any]] = {
    "mnist": {"optimizer": "adam", "learning_rate": 0.004, "batch_size": 8, "label_smoothing": 0.1, "cycle": 3.0}
}
# Of a cycle, as `torch.optim.lr_scheduler.OneCycleLR` has them.
RISE, FIRST, LAST = 0.3, 1 / 25, 1 / 25e4


@dataclass(frozen=True)
class Hyperparameters:
    """How a network is trained.

    Attributes:
        learning_rate: 0 or more; 1e9 is possible, and shows what becomes of a network then.
        momentum: in [0, 1); of Adam and AdamW it is beta1, the decay of the mean of the gradients.
        weight_decay: 0 or more, torch's: `weight_decay * w` is added to the gradient; AdamW shrinks weights instead.
        batch_size: examples in a batch, 1 or more.
        optimizer: one of `OPTIMIZERS`.
        label_smoothing: in [0, 1), how much of the truth is spread evenly over all classes in the loss that is learned
            from (Szegedy et al. 2016), as `torch.nn.functional.cross_entropy` takes it.
        cycle: epochs in which the learning rate rises from a 25th to `learning_rate` and falls to nearly 0, again and
            again (Smith 2017, with the shape of `torch.optim.lr_scheduler.OneCycleLR`); 0 leaves it as it is.
        every: how many batches come to a recorded step, 1 or more.

    Raises:
        OpenError: a value is not possible.
    """

    learning_rate: float = LEARNING_RATES["sgd"]
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 32
    optimizer: str = "sgd"
    label_smoothing: float = 0.0
    cycle: float = 0.0
    every: int = 10

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise OpenError(f"optimizer is {self.optimizer!r}; choose of {', '.join(OPTIMIZERS)}.")
        for name in _WHOLE:
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        for name, below in _BELOW.items():
            object.__setattr__(self, name, _real(name, getattr(self, name), below))

    def changed(self, **values: Any) -> Hyperparameters:
        """With other values. Another optimiser without a learning rate brings its usual one.

        Raises:
            OpenError: a value is not possible, or there is no such hyperparameter.
        """
        names = [field.name for field in fields(self)]
        odd = [name for name in values if name not in names]
        if odd:
            raise OpenError(f"There is no hyperparameter {odd[0]!r}; there are {', '.join(names)}.")
        if values.get("optimizer", self.optimizer) != self.optimizer and "learning_rate" not in values:
            values = {**values, "learning_rate": LEARNING_RATES.get(values["optimizer"], self.learning_rate)}
        return replace(self, **values)

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate of a batch that begins when `epoch` epochs have been learned from."""
        if not self.cycle:
            return self.learning_rate
        share = epoch / self.cycle % 1.0
        if share < RISE:
            return self.learning_rate * _eased(FIRST, 1.0, share / RISE)
        return self.learning_rate * _eased(1.0, LAST, (share - RISE) / (1 - RISE))

    def as_dict(self) -> dict[str, Any]:
        """The values by name, as JSON takes them."""
        return asdict(self)


def usual(data: str) -> Hyperparameters:
    """What data, by their name, are learned with where nothing else is said."""
    return Hyperparameters(**_USUAL.get(data, {}))


def on_other_data(hyper: Hyperparameters, before: str, after: str) -> Hyperparameters:
    """What to go on with on other data: their usual ones, where those of the data before were left as they were."""
    return usual(after) if before != after and hyper == usual(before) else hyper


def _eased(start: float, end: float, share: float) -> float:
    """Half a cosine from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _real(name: str, value: Any, below: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OpenError(f"{name} is {value!r}; it is a number.") from None
    if not 0 <= number < below:
        raise OpenError(
            f"{name} is {number:g}; it is a number from 0{'' if below == math.inf else f' to below {below:g}'}."
        )
    return number


def _whole(name: str, value: Any) -> int:
    try:
        number = int(value)
        if isinstance(value, bool) or number != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise OpenError(f"{name} is {value!r}; it is a whole number, 1 or more.") from None
    if number < 1:
        raise OpenError(f"{name} is {number}; it is 1 or more.")
    return number


def make_optimizer(parameters: Iterable[nn.Parameter], hyper: Hyperparameters) -> torch.optim.Optimizer:
    """A fresh optimiser with these values."""
    held = list(parameters)
    # One call for all parameters where torch has one; on a GPU its own choice is as fast.
    fused = all(value.device.type == "cpu" and value.is_floating_point() for value in held)
    options: dict[str, Any] = {} if hyper.optimizer == "rmsprop" else {"fused": fused or None}
    kinds: dict[str, Any] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }
    optimizer: torch.optim.Optimizer = kinds[hyper.optimizer](held, lr=hyper.learning_rate, **options)
    apply(optimizer, hyper)
    return optimizer


def apply(optimizer: torch.optim.Optimizer, hyper: Hyperparameters, epoch: float = 0.0) -> None:
    """Let the next step of the optimiser have these values; what it has gathered, as momentum, stays."""
    for group in optimizer.param_groups:
        group["lr"] = hyper.learning_rate_at(epoch)
        group["weight_decay"] = hyper.weight_decay
        if "betas" in group:
            group["betas"] = (hyper.momentum, group["betas"][1])
        else:
            group["momentum"] = hyper.momentum
