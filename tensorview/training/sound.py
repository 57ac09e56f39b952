"""Weights to go back to when a loss has become NaN, since no learning rate mends weights that are NaN."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

EVERY = 50  # steps
STRAYED = 10.0  # times the loss of guessing, above which weights are not worth going back to


class SoundWeights:
    """A copy of the newest weights that were worth it, with the optimiser's state.

    Args:
        classes: of the data; a network that guesses has the loss `log(classes)`.

    Attributes:
        step: which step they are of.
    """

    def __init__(self, classes: int, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        self._most = STRAYED * math.log(max(2, classes))
        self._keep(model, optimizer, step)

    def offer(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, loss: float) -> None:
        """Take the weights of a step where it is time, and the loss of its batch is not out of all proportion."""
        if step - self.step < EVERY or loss > self._most:
            return
        values = [value for value in model.state_dict().values() if value.is_floating_point()]
        if all(bool(torch.isfinite(value).all()) for value in values):
            self._keep(model, optimizer, step)

    def _keep(self, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        self.step = step
        self._weights = {name: value.clone() for name, value in model.state_dict().items()}
        self._kind, self._state = type(optimizer), copy.deepcopy(optimizer.state_dict()["state"])

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put them back; the optimiser keeps its hyperparameters, and is as new where it is of another kind."""
        model.load_state_dict(self._weights)
        state: dict[Any, Any] = copy.deepcopy(self._state) if type(optimizer) is self._kind else {}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
