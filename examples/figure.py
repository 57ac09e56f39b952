"""A figure for a paper: your own model, every map of two layers, on a transparent background."""

import torch
from torch import nn

import tensorview as tv


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=3, padding=1)
        self.shortcut = nn.Conv2d(3, 8, kernel_size=1)
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.classify = nn.Linear(8 * 8 * 8, 3)

    def forward(self, x):
        x = torch.relu(self.conv(x)) + self.shortcut(x)  # functional calls and skips are seen too
        return self.classify(self.pool(x).flatten(1))


torch.manual_seed(1)
rows, columns = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
x = torch.stack([rows**2 + columns**2 < 0.5, rows > columns, rows.abs() < 0.3]).float()[None]

trace = tv.capture(SmallNet(), x)
scene = tv.Scene(trace, open=["conv", "relu"], theme="light", class_names=["circle", "slope", "bar"])
tv.screenshot(scene, "figure.png", size=(2400, 1350), transparent=True, legend=True)
print("figure.png is written")
