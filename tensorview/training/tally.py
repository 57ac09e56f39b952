"""What is counted of batches: the accuracy over the last of them, and when an epoch is over."""

from __future__ import annotations

from collections import deque

WINDOW = 1000  # examples


class Tally:
    """Adds up batches, each with how many of its examples were right.

    Args:
        epoch: how many examples make an epoch.
    """

    def __init__(self, epoch: int) -> None:
        self._size = epoch
        self._window: deque[tuple[int, int]] = deque()
        self._count = 0

    def add(self, right: int, count: int) -> None:
        """Add a batch of `count` examples."""
        self._window.append((right, count))
        while len(self._window) > 1 and sum(n for _, n in self._window) - self._window[0][1] >= WINDOW:
            self._window.popleft()
        self._count += count

    @property
    def accuracy(self) -> float:
        """The share of the last 1,000 examples, in whole batches, that was right when it was learned from."""
        return sum(right for right, _ in self._window) / sum(count for _, count in self._window)

    @property
    def is_epoch_done(self) -> bool:
        """Whether an epoch's examples have come since it was begun."""
        return self._count >= self._size

    def begin_epoch(self) -> None:
        """Count the next epoch from here."""
        self._count = 0
