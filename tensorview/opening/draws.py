"""Random weights that are the same each time, so that a picture of an untrained model can be made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_draws() -> Iterator[None]:
    """torch's random numbers begin at seed 0 inside, and go on afterwards as if none had been drawn (CPU only)."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        yield
