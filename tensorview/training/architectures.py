"""The networks of the lab. Their first and last layers follow the data; names say what each layer is."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ..errors import OpenError

ARCHITECTURES = {
    "lenet5": "LeNet-5",
    "mlp": "Multilayer perceptron",
    "convnetjs": "ConvNetJS net",
    "resnet": "Small ResNet",
}
SMALLEST = 12  # pixels a side, below which a pooling would leave nothing


def lenet5(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """LeCun et al. 1998 with max pooling and ReLU, as the LeNet-5 that ships, for any size of image."""
    channels, height, width = shape
    size = (height // 2 - 4) // 2 * ((width // 2 - 4) // 2)
    return LeNet5(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, kernel_size=5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, kernel_size=5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * size, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            output=nn.Linear(84, classes),
        )
    )


def mlp(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two hidden layers on the bare pixels: what convolution is compared with. At 28 x 28 as large as LeNet-5."""
    channels, height, width = shape
    return MLP(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(channels * height * width, 72),
            relu1=nn.ReLU(),
            fc2=nn.Linear(72, 64),
            relu2=nn.ReLU(),
            output=nn.Linear(64, classes),
        )
    )


def convnetjs(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The net of A. Karpathy's ConvNetJS demo on MNIST (2014): two convolutions, two poolings, one dense layer."""
    channels, height, width = shape
    return ConvNetJS(
        OrderedDict(
            conv1=nn.Conv2d(channels, 8, kernel_size=5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 16, kernel_size=5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3),
            flatten=nn.Flatten(),
            output=nn.Linear(16 * (height // 2 // 3) * (width // 2 // 3), classes),
        )
    )


class LeNet5(nn.Sequential):
    """See `lenet5`."""


class MLP(nn.Sequential):
    """See `mlp`."""


class ConvNetJS(nn.Sequential):
    """See `convnetjs`."""


class Block(nn.Module):
    """Two convolutions with batch norm and a way around them (He et al. 2015): the skip is a 1 x 1 convolution where
    the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Identity() if stride == 1 and inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, H / stride, W / stride) of (N, inputs, H, W)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.skip(x))


class SmallResNet(nn.Module):
    """Three residual blocks of 8, 16 and 32 maps, the last two of half the size each, and an average over the last."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.block1 = Block(8, 8, 1)
        self.block2 = Block(8, 16, 2)
        self.block3 = Block(16, 32, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.output = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits of (N, channels, H, W)."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.block3(self.block2(self.block1(x)))
        return self.output(self.flatten(self.pool(x)))


def make_architecture(name: str, shape: tuple[int, ...], classes: int, seed: int = 0) -> nn.Module:
    """A network with fresh weights, the same for the same seed; other random numbers are left as they were.

    Args:
        name: one of `ARCHITECTURES`.
        shape: (C, H, W) of an input.
        classes: the number of outputs, which are logits.

    Raises:
        OpenError: there is no such architecture, or the images are too small for it.
    """
    check_architecture(name)
    channels, height, width = shape
    if min(height, width) < SMALLEST and name != "mlp":
        raise OpenError(
            f"{ARCHITECTURES[name]} needs images of {SMALLEST} pixels a side; these are {height} x {width}."
        )
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        if name == "resnet":
            model: nn.Module = SmallResNet(channels, classes)
        else:
            model = {"lenet5": lenet5, "mlp": mlp, "convnetjs": convnetjs}[name]((channels, height, width), classes)
    # So torch's convolutions and poolings on a CPU learn a tenth to a third more examples in a second.
    laid_out: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def check_architecture(name: str) -> None:
    """Raises OpenError where there is no such architecture."""
    if name not in ARCHITECTURES:
        raise OpenError(f"There is no architecture {name!r}: choose of {', '.join(ARCHITECTURES)}.")
