"""A small network that has everything that a recording could disturb, and runs of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn


class Net(nn.Module):
    """Batch norm, dropout, a skip and two heads' worth of layers, for (N, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 8 * 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(self.drop(x + self.conv(x[:, :1])).flatten(1))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net()


@pytest.fixture
def probe() -> torch.Tensor:
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def train(model: nn.Module, steps: int, after: Callable[[float], object] = lambda loss: None) -> list[float]:
    """Train on random data that is drawn from torch's own generator; the losses."""
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        x, y = torch.rand(4, 1, 8, 8), torch.randint(0, 3, (4,))
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        after(losses[-1])
    return losses


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
