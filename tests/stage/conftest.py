"""Scenes to draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Trace, capture
from tensorview.scene import Scene

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trace() -> Trace:
    """A convolution, a ReLU and a linear layer with random weights, and an input of noise."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 3))
    return capture(model.eval(), torch.rand(1, 1, 10, 10))


@pytest.fixture(scope="session")
def scene(trace: Trace) -> Scene:
    return Scene(trace, open=["0"], class_names=["a", "b", "c"])


@pytest.fixture(scope="session")
def marked() -> Scene:
    """One map of 8 x 8 cells, all 0 but the one at the top left, and an identity convolution after it."""
    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(model.weight)
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0] = 1.0
    trace = capture(model, x)
    np.testing.assert_array_equal(trace.layers[0].values, x[0].numpy())
    return Scene(trace, labels=False)
