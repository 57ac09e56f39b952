"""Memory for the values of passes, used again when nobody holds any of them."""

from __future__ import annotations

import weakref

import numpy as np

MOST_KEPT = 2


class Rooms:
    """Hands out arrays of which no part is in use.

    Fresh pages of memory cost a page fault each: for the values of a large network half as much as its forward pass.
    At most `MOST_KEPT` arrays are kept, as a viewer needs that shows one pass while the next one runs.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[np.ndarray, weakref.ref[np.ndarray]]] = []

    def take(self, size: int) -> np.ndarray:
        """`(size,)` float32 of any content; it is used again when neither it nor a view of it is alive."""
        free = next((memory for memory, lent in self._kept if lent() is None and len(memory) == size), None)
        memory = np.empty(size, np.float32) if free is None else free
        # An array upon a buffer is the base of all its views; one upon an array would not be.
        lent = np.frombuffer(memory.data, np.float32)
        others = [(kept, user) for kept, user in self._kept if kept is not memory and len(kept) == size]
        self._kept = [*others[-(MOST_KEPT - 1) :], (memory, weakref.ref(lent))]
        return lent
