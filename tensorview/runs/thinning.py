"""Which step goes when more are kept than were asked for."""

from __future__ import annotations

from collections.abc import Sequence


def expendable(steps: Sequence[int]) -> int:
    """The position of the step whose loss leaves the smallest gap; the first and the last step always stay.

    Taken again and again while steps come, what stays is spread evenly over the run.

    Args:
        steps: three or more, in order.
    """
    return min(range(1, len(steps) - 1), key=lambda i: (steps[i + 1] - steps[i - 1], steps[i]))
