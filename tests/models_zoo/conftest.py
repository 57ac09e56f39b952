"""torchvision's models, made in milliseconds: weights are views of one block of random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from tensorview.opening.torchvision_shim import import_torchvision

_NAMES = "uniform normal trunc_normal xavier_uniform xavier_normal kaiming_uniform kaiming_normal orthogonal"
RANDOM_STARTS = tuple(f"{name}_" for name in _NAMES.split())
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False, "transform_input": True},
    "inception_v3": {"init_weights": False, "transform_input": True},
    **{f"vit_{size}": {"image_size": 64} for size in ("b_16", "b_32", "l_16", "l_32")},
    "vit_h_14": {"image_size": 56},
}
SIDES = {"alexnet": 64, "inception_v3": 80, "maxvit_t": 224, "vit_h_14": 56, "vgg": 32, "resne": 32, "regnet": 32}


class Weights:
    """Stands in for the random starts of `torch.nn.init`: a parameter becomes a view of a block of numbers.

    There is one block for each power of two of the fan-in, with the deviation that keeps values alive through
    hundreds of layers.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, torch.Tensor] = {}
        self.offset = 0

    def __call__(self, tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        fan_in, size = tensor[:1].numel(), tensor.numel()
        power = round(math.log2(max(fan_in, 1)))
        block = self.blocks.get(power, torch.empty(0))
        if size + 1000 > len(block):
            generator = torch.Generator().manual_seed(power)
            block = torch.empty(size + 1000).normal_(0, (1.7 / 2**power) ** 0.5, generator=generator)
            self.blocks[power] = block
        self.offset = (self.offset + 7) % 1000
        tensor.data = block[self.offset : self.offset + size].view(tensor.shape)
        return tensor


@contextmanager
def cheap_starts(weights: Weights) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in RANDOM_STARTS:
            patch.setattr(torch.nn.init, name, weights)
        yield


@pytest.fixture(scope="session")
def side_of() -> Callable[[str], int]:
    """`side_of(name)`: the side of a small image that the model takes."""
    return lambda name: next((side for start, side in SIDES.items() if name.startswith(start)), 64)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., nn.Module]:
    """`make_model(name, **options)`: a torchvision model in eval mode; `alone=True` for numbers that no other has."""
    weights = Weights()
    models = import_torchvision().models

    def make(name: str, alone: bool = False, **options: Any) -> nn.Module:
        with cheap_starts(Weights() if alone else weights):
            model = models.get_model(name, weights=None, **OPTIONS.get(name, {}), **options).eval()
        if name.startswith("vit"):  # zeros to begin with: whatever is wrong would not show
            head = model.heads.head.weight
            head.data = torch.randn(head.shape, generator=torch.Generator().manual_seed(0)) / head.shape[1] ** 0.5
        return model

    make.cheap_starts = lambda: cheap_starts(weights)
    return make
