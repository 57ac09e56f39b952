"""When a page's words about what is shown are written anew."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic


class Words:
    """Calls what puts into words what is shown, now or a little later.

    For a browser, writing a page anew is as much work as drawing the scene.

    Args:
        teller: the first of the `tellers`.
        flush: sends what they have said.

    Attributes:
        tellers: what puts a part of it into words.
    """

    def __init__(self, teller: Callable[[], None], flush: Callable[[], object]) -> None:
        self.tellers = [teller]
        self._flush = flush
        self._told = -math.inf
        self._later: asyncio.TimerHandle | None = None

    def tell(self, apart: float = 0.0) -> None:
        """Say anew all that is said, see `describe`, and send it."""
        self.describe(apart, apart)
        self._flush()

    def describe(self, apart: float, latest: float) -> None:
        """Put all that is said into words, for the next flush.

        Args:
            apart: seconds that this leaves since the last time; what comes sooner waits.
            latest: seconds since the last time after which what waits is said, as things then stand.
        """
        since = monotonic() - self._told
        if since >= apart:
            if self._later is not None:
                self._later.cancel()
            self._told, self._later = monotonic(), None
            for teller in self.tellers:
                teller()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(max(0.0, latest - since), self.tell)
