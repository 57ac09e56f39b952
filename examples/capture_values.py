"""What happens inside a model: every layer's values, their statistics, and who feeds whom."""

import torch
from torch import nn

import tensorview as tv

model = nn.Sequential(
    nn.Conv2d(1, 6, kernel_size=5),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(6 * 12 * 12, 10),
)
trace = tv.capture(model, torch.rand(1, 1, 28, 28))

for layer in trace:
    stats = layer.stats
    print(f"{layer.name:>2}  {layer.module_type:<10} {layer.shape!s:<13} {stats.min:+.2f} to {stats.max:+.2f}")

print(trace["0"].values[5].mean())  # the sixth feature map of the convolution, a numpy array
print(trace.graph.edges)
