"""The metrics of a run as curves: points of SVG polylines."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..runs import Metrics

WIDTH, HEIGHT = 300, 60
MOST_POINTS = 300


def curves(metrics: Metrics, last: int) -> list[dict[str, Any]]:
    """A curve for every metric, all over the same steps, 0 to `last` or the last that said anything.

    Returns:
        For each its `name`, its `points` in a box of `WIDTH` x `HEIGHT` with (0, 0) at the top left, the values at the
        lower and upper edge in words, the step at the right edge, and a `note` on what is no number.
    """
    series = {name: metrics.series(name) for name in metrics.names}
    last = max([last, 1, *(int(steps[-1]) for steps, _ in series.values() if len(steps))])
    return [curve(name, steps, values, last) for name, (steps, values) in series.items()]


def curve(name: str, steps: np.ndarray, values: np.ndarray, last: int) -> dict[str, Any]:
    finite = np.isfinite(values)
    shown = thinned(steps[finite], values[finite])
    low, high = (float(shown[1].min()), float(shown[1].max())) if len(shown[1]) else (0.0, 0.0)
    x = shown[0] / last * WIDTH
    y = HEIGHT / 2 + 0 * x if high == low else HEIGHT * (high - shown[1]) / (high - low)
    note = "" if finite.all() else f"not a number from step {int(steps[~finite][0]):,}"
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return {"name": name, "points": points, "low": said(low), "high": said(high), "last": last, "note": note}


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """About `MOST_POINTS` of the points: of every stretch the least and the greatest, so that no peak is lost."""
    if len(steps) <= MOST_POINTS:
        return steps, values
    edges = np.linspace(0, len(steps), MOST_POINTS // 2 + 1).astype(int)
    kept = {0, len(steps) - 1}
    for start, stop in pairwise(edges):
        kept |= {start + int(values[start:stop].argmin()), start + int(values[start:stop].argmax())}
    chosen = np.array(sorted(kept))
    return steps[chosen], values[chosen]


def said(value: float) -> str:
    """A metric in words, four digits of it."""
    return f"{value:,.4g}" if np.isfinite(value) else {True: "NaN"}.get(bool(np.isnan(value)), f"{value}")
