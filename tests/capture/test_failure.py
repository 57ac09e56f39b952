"""A forward that raises: the message, the layer and what did run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tensorview.capture import Tracer, capture
from tensorview.errors import CaptureError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.fc1 = nn.Linear(864, 10)

    def forward(self, x):
        return self.fc1(torch.flatten(F.max_pool2d(F.relu(self.conv1(x)), 2), 1))


def failure(model, x) -> CaptureError:
    with pytest.raises(CaptureError) as caught:
        capture(model, x)
    assert str(caught.value) == caught.value.trace.error
    assert "\n" not in str(caught.value)
    return caught.value


def test_linear_of_the_wrong_size():
    model, x = Net(), torch.rand(1, 1, 20, 20)
    error = failure(model, x)
    assert str(error) == (
        "layer 'fc1' (Linear, 864 -> 10) was given (1, 384) but needs (..., 864): give the model an input of the size "
        "it was made for instead of (1, 1, 20, 20), or change that layer"
    )
    assert error.layer == "fc1"
    assert isinstance(error.__cause__, RuntimeError)
    assert [layer.name for layer in error.trace] == ["conv1", "relu", "max_pool2d", "flatten"]
    np.testing.assert_array_equal(error.trace["conv1"].values, model.conv1(x)[0].detach().numpy())
    assert error.trace.graph.parents("relu") == ("conv1",)
    assert error.trace.outputs == ()


def test_convolution_of_the_wrong_channels():
    error = failure(Net(), torch.rand(2, 3, 28, 28))
    assert "layer 'conv1' (Conv2d, 1 -> 6) was given (2, 3, 28, 28) but needs (N, 1, H, W)" in str(error)
    assert error.layer == "conv1"
    assert len(error.trace) == 0
    assert error.trace["input"].shape == (3, 28, 28)


def test_an_input_without_its_batch_dimension():
    error = failure(Net(), torch.rand(1, 28, 28))
    assert "the first dimension of an input is the batch: give (1, 1, 28, 28) instead of (1, 28, 28)" in str(error)
    trace = capture(nn.Sequential(nn.Conv2d(1, 6, 5)), torch.rand(1, 28, 28))
    assert "layer '0' was given (1, 28, 28), which has no batch dimension" in trace.warnings[0]


@pytest.mark.parametrize(
    ("module", "shape", "said"),
    [
        (nn.BatchNorm2d(4), (1, 3, 5, 5), "(BatchNorm2d) was given (1, 3, 5, 5) but needs (N, 4, ...)"),
        (nn.LayerNorm((5, 6)), (1, 5, 5), "(LayerNorm) was given (1, 5, 5) but needs (..., 5, 6)"),
        (nn.LSTM(3, 4), (1, 2, 5), "(LSTM, 3 -> 4) was given (1, 2, 5) but needs (..., 3)"),
        (nn.Conv1d(2, 4, 3), (1, 2, 5, 5), "(Conv1d, 2 -> 4) was given (1, 2, 5, 5) but needs (N, 2, L)"),
        (nn.Conv2d(2, 4, 9), (1, 2, 5, 5), "was given (1, 2, 5, 5) and raised RuntimeError: Calculated padded input"),
        (nn.MaxPool2d(9), (1, 2, 5, 5), "(MaxPool2d) was given (1, 2, 5, 5) and raised RuntimeError"),
        (nn.GroupNorm(2, 4), (1, 6, 5), "(GroupNorm) was given (1, 6, 5) but needs (N, 4, ...)"),
    ],
)
def test_other_layers(module, shape, said):
    assert said in str(failure(nn.Sequential(nn.Identity(), module), torch.rand(shape)))


def test_the_second_call_of_a_layer_is_named():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(self.fc(x))

    assert failure(Twice(), torch.rand(1, 4)).layer == "fc#2"


def test_a_function_that_raises_is_named():
    class Add(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.a(x) + self.b(x)

    error = failure(nn.Sequential(Add()), torch.rand(1, 4))
    assert "function '0.add' was given (1, 3) and (1, 2) and raised RuntimeError: The size of tensor a (3)" in str(
        error
    )
    assert error.layer == "0.add"
    assert [layer.name for layer in error.trace] == ["0.a", "0.b"]


def test_the_users_own_exception_is_chained():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            self.fc(x)
            raise KeyError("no such thing")

    error = failure(nn.Sequential(Block()), torch.rand(1, 4))
    assert str(error).startswith("layer '0' (Block) was given (1, 4) and raised KeyError: 'no such thing'")
    assert isinstance(error.__cause__, KeyError)
    assert error.layer == "0"


def test_what_the_model_itself_raises():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            self.fc(x)
            raise ValueError

    error = failure(Model(), torch.rand(1, 4))
    assert str(error).startswith("the model (Model) was given (1, 4) and raised ValueError: no message")
    assert error.layer is None
    assert len(error.trace) == 1


def test_an_exception_that_the_model_catches_is_none():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow = nn.Linear(9, 4), nn.Linear(4, 4)

        def forward(self, x):
            try:
                x = self.wide(x)
            except RuntimeError:
                x = F.relu(x)
            return self.narrow(x)

    tracer = Tracer(Careful())
    for _ in range(2):
        trace = tracer(torch.rand(1, 4))
        assert [(layer.name, layer.parents) for layer in trace] == [("relu", ("input",)), ("narrow", ("relu",))]
        assert trace.error is None


def test_too_many_inputs():
    with pytest.raises(CaptureError, match=r"the tuple of 3 inputs does not fit Bilinear.forward\(input1"):
        capture(nn.Bilinear(2, 2, 2), (torch.rand(1, 2),) * 3)


@pytest.mark.parametrize(
    ("x", "held"),
    [({"img": torch.rand(1, 4)}, "a dict of img"), ((torch.rand(1, 4),) * 2, "a tuple of 2")],
)
def test_inputs_that_fit_no_parameters_are_said(x, held):
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, image):
            return self.linear(image)

    with pytest.raises(CaptureError, match=f"One.forward takes image, and was given {held} as its 'image'$"):
        capture(One(), x)
