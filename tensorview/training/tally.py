"""What is counted of batches: the accuracy over the last of them, and the means over an epoch."""

from __future__ import annotations

from collections import deque

WINDOW = 1000  # examples


class Tally:
    """Adds up batches, each with its loss and how many of its examples were right.

    Args:
        epoch: how many examples make an epoch.
    """

    def __init__(self, epoch: int) -> None:
        self._size = epoch
        self._window: deque[tuple[int, int]] = deque()
        self._loss, self._right, self._count = 0.0, 0, 0

    def add(self, loss: float, right: int, count: int) -> None:
        """Add a batch of `count` examples with the mean loss `loss`."""
        self._window.append((right, count))
        while len(self._window) > 1 and sum(n for _, n in self._window) - self._window[0][1] >= WINDOW:
            self._window.popleft()
        self._loss, self._right, self._count = self._loss + loss * count, self._right + right, self._count + count

    @property
    def accuracy(self) -> float:
        """The share of the last 1,000 examples, in whole batches, that was right when it was learned from."""
        return sum(right for right, _ in self._window) / sum(count for _, count in self._window)

    @property
    def is_epoch_done(self) -> bool:
        """Whether an epoch's examples have come since the last one was taken."""
        return self._count >= self._size

    def take_epoch(self) -> dict[str, float]:
        """The means over the epoch, "epoch_loss" and "epoch_accuracy"; the next one begins."""
        means = {"epoch_loss": self._loss / self._count, "epoch_accuracy": self._right / self._count}
        self._loss, self._right, self._count = 0.0, 0, 0
        return means
