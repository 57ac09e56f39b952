"""Your own model on a page of its own. `--no-browser` only says the address, `--once` ends at once."""

import sys

import torch
from torch import nn

import tensorview as tv

model = nn.Sequential(
    nn.Conv2d(1, 4, kernel_size=3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(4, 8, kernel_size=3),
    nn.Flatten(),
    nn.Linear(8 * 6 * 6, 2),
)
viewer = tv.explore(model, torch.rand(1, 1, 16, 16), open=["0"], browser="--no-browser" not in sys.argv)
if "--once" in sys.argv:
    viewer.close()
else:
    viewer.wait()  # until Ctrl-C
