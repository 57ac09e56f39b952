"""What a capture costs over the bare forward pass."""

from __future__ import annotations

import json
from statistics import median
from time import perf_counter

import torch
from torch import nn

from tensorview.capture import Tracer


def lenet() -> nn.Module:
    """A LeNet-5 for (1, 28, 28), random weights."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    ).eval()


def chain(layers: int = 800) -> nn.Module:
    """Convolutions and ReLUs in turn on maps of 28 x 28, 4 channels after the first."""
    modules: list[nn.Module] = []
    for i in range(layers // 2):
        modules += [nn.Conv2d(4 if i else 1, 4, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*modules).eval()


def capture_ratio(model: nn.Module, x: torch.Tensor, repeats: int) -> float:
    """The time of a capture whose structure is known, over the time of the bare forward: medians, taken in turn."""
    tracer = Tracer(model)
    tracer(x)
    captured, bare = [], []
    for _ in range(repeats):
        started = perf_counter()
        with torch.no_grad():
            model(x)
        between = perf_counter()
        tracer(x)
        captured.append(perf_counter() - between)
        bare.append(between - started)
    return median(captured) / median(bare)


def measure() -> dict[str, float]:
    """Ratios by model."""
    x = torch.rand(1, 1, 28, 28)
    return {
        "capture_lenet_over_forward": round(capture_ratio(lenet(), x, 1000), 2),
        "capture_chain800_over_forward": round(capture_ratio(chain(), x, 40), 2),
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps(measure()))
