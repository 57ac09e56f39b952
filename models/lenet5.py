"""LeNet-5 with max pooling and ReLU: reads one handwritten digit.

After LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998),
with max pooling, ReLU and a dense last layer where the paper has trained averages, tanh and radial basis
functions. The weights beside this file and how they were trained: see lenet5.md.
"""

from __future__ import annotations

import torch
from torch import nn


class LeNet5(nn.Module):
    """Seven layers that have weights or pool, 61,706 parameters.

    Input: (N, 1, 28, 28) float32 in [0, 1], 0 = paper, 1 = ink.
    Output: (N, 10) float32 logits, one for each digit.
    """

    title = "LeNet-5"
    description = "Reads one handwritten digit. Trained on MNIST."
    input_shape = (1, 28, 28)
    input_range = (0.0, 1.0)
    class_names = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    preparation = "digit"
    weights = "lenet5.safetensors"
    samples = "digits.npz"

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(400, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.output = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))  # (N, 6, 14, 14)
        x = self.pool2(self.relu2(self.conv2(x)))  # (N, 16, 5, 5)
        x = self.flatten(x)  # (N, 400)
        x = self.relu3(self.fc1(x))
        x = self.relu4(self.fc2(x))
        return self.output(x)
