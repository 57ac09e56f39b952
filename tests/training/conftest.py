"""Small data that a network learns in a few batches, and loops over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tensorview.opening import InputSpec
from tensorview.training.building import Recipe
from tensorview.training.data import Data, Images
from tensorview.training.hyperparameters import Hyperparameters
from tensorview.training.loop import Loop

SIDE = 16


def some_images(count: int, seed: int) -> Images:
    """Noise with a bright bar: across in the upper half, across in the lower, or down."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 60, (count, 1, SIDE, SIDE), generator=generator)
    bars = torch.zeros(3, 1, SIDE, SIDE, dtype=torch.int64)
    bars[0, :, 3:6], bars[1, :, 10:13], bars[2, :, :, 6:9] = 190, 190, 190
    return Images((pixels + bars[labels]).to(torch.uint8), labels)


@pytest.fixture(scope="session")
def bars() -> Data:
    return Data(
        name="bars",
        train=some_images(90, 1),
        held_out=some_images(36, 2),
        class_names=("upper", "lower", "upright"),
        input_spec=InputSpec((1, SIDE, SIDE)),
    )


@pytest.fixture(autouse=True)
def recording_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which steps are recorded and judged shall not depend on how fast the machine is."""
    monkeypatch.setattr("tensorview.training.loop.SHARE", 1.0)
    monkeypatch.setattr("tensorview.training.loop.REST", 0.0)
    monkeypatch.setattr("tensorview.training.loop.JUDGING", 1.0)


@pytest.fixture
def loop(tmp_path: Path, bars: Data) -> Iterator[Loop]:
    """LeNet-5 on the bars, in a run at `tmp_path / "lab"`."""
    made = Loop(tmp_path / "lab", bars, Recipe("lenet5"), Hyperparameters(batch_size=8, every=4, learning_rate=0.05))
    yield made
    made.close()
