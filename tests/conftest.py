"""What every test needs: few threads, so that a small machine is not slower for having more of them."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    import torch

    torch.set_num_threads(1)
