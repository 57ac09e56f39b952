"""Traces by hand, and the shipped LeNet-5."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tensorview.models.lenet5 import LeNet5

from tensorview.capture import Layer, Trace, capture

torch.set_num_threads(1)
TYPES = {"input": "Input", "convolution": "Conv2d", "linear": "Linear", "activation": "ReLU", "pooling": "MaxPool2d"}

Maker = Callable[..., Trace]


def _layer(name: str, kind: str, values: object, parents: tuple[str, ...] = ()) -> Layer:
    if isinstance(values, tuple):  # a shape without values
        return Layer(name, kind, TYPES.get(kind, kind), name, 1, values, "float32", parents)
    array = np.asarray(values)
    return Layer(name, kind, TYPES.get(kind, kind), name, 1, array.shape, str(array.dtype), parents, array)


@pytest.fixture(scope="session")
def chain() -> Maker:
    """`chain(first, second, ...)`: a trace in which each array feeds the next; `(kind, array)` where the kind matters.

    A tuple of integers in place of an array is the shape of a layer without values. The first is the input, called
    "input"; the others are called "layer1", "layer2", ... The last is the output.
    """

    def make(*parts: object) -> Trace:
        layers: list[Layer] = []
        for i, part in enumerate(parts):
            named = isinstance(part, tuple) and part and isinstance(part[0], str)
            kind, values = part if named else ("convolution" if i else "input", part)
            name = f"layer{i}" if i else "input"
            layers.append(_layer(name, kind, values, (layers[-1].name,) if layers else ()))
        return Trace((layers[0],), tuple(layers[1:]), (layers[-1].name,))

    return make


@pytest.fixture(scope="session")
def lenet() -> Trace:
    """LeNet-5 with random weights that has seen an L."""
    torch.manual_seed(3)
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, 4:24, 8:11] = 1.0
    x[0, 0, 21:24, 8:20] = 1.0
    return capture(LeNet5().eval(), x)


def _of_torchvision(name: str, size: int, **options: object) -> Trace:
    """A network with random weights, on an image of `size` x `size`."""
    pytest.importorskip("PIL")
    from tensorview.opening.torchvision_shim import import_torchvision

    import_torchvision()
    import torchvision.models

    torch.manual_seed(0)
    return capture(getattr(torchvision.models, name)(**options).eval(), torch.rand(1, 3, size, size))


@pytest.fixture(scope="session")
def resnet18() -> Trace:
    """torchvision's ResNet-18 with random weights, on an image of 64 x 64."""
    return _of_torchvision("resnet18", 64)


@pytest.fixture(scope="session")
def googlenet() -> Trace:
    """torchvision's GoogLeNet with random weights, on an image of 224 x 224."""
    return _of_torchvision("googlenet", 224, init_weights=False, aux_logits=False)
