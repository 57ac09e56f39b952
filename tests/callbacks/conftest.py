from __future__ import annotations

import pytest
import torch

from tensorview.opening.torchvision_shim import import_torchvision

import_torchvision()  # lightning and transformers import it, and it may have been built for another torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
