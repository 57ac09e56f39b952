"""The metrics of a run as charts: points of SVG polylines."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ..runs import Metrics

WIDTH, HEIGHT = 300, 60
MOST_POINTS = 300
EPOCH = "epoch"
# What the lab notes of its probe; no curves.
NOTES = ("probe_index", "probe_label")
# What loops put before a metric's name to say on which data; those of one metric share a chart.
TRAIN = ("train",)
HELD_OUT = ("validation", "val", "valid", "held_out", "test", "eval")

Series = tuple[np.ndarray, np.ndarray]


def charts(metrics: Metrics, last: int, since: int = 0, by_epoch: bool = False) -> list[dict[str, Any]]:
    """A chart for every metric; `loss`, `train_loss` and `validation_loss` are curves of one.

    Args:
        last: the charts reach from `since` to this step, or to the last that said anything.
        since: the step that they begin with.
        by_epoch: show one value for every epoch, over epochs, where the run has a metric `epoch`: the mean of what is
            measured in training, the last of what is measured on held-out data.

    Returns:
        For each its `name`, its `curves` as `curve` gives them, the values at the lower and upper edge in words, the
        `first` and `last` step at its edges, and a `note` on what is no number.
    """
    series = {name: after(metrics.series(name), since) for name in metrics.names if name not in NOTES}
    epochs = series.pop(EPOCH, None)
    if by_epoch and epochs is not None and len(epochs[0]):
        series = {name: by_epochs(each, epochs, newest=is_held_out(name)) for name, each in series.items()}
        since, last = 0, 1
    series = {name: each for name, each in series.items() if len(each[0])}
    last = max([last, since + 1, *(int(np.ceil(steps[-1])) for steps, _ in series.values())])
    grouped: dict[str, dict[str, Series]] = {}
    for name, each in sorted(series.items(), key=lambda item: is_held_out(item[0])):
        grouped.setdefault(base_name(name), {})[name] = each
    return [chart(name, group, since, last) for name, group in grouped.items()]


def base_name(name: str) -> str:
    """`loss` for `validation_loss` and `train/loss`."""
    for prefix in (*TRAIN, *HELD_OUT):
        for mark in "_/.":
            if name.startswith(prefix + mark):
                return name[len(prefix) + 1 :]
    return name


def is_held_out(name: str) -> bool:
    """Whether a metric's name says that it is of data that the model does not learn from."""
    return base_name(name) != name and name.startswith(HELD_OUT)


def after(series: Series, since: int) -> Series:
    """The values from step `since` on."""
    steps, values = series
    return steps[steps >= since], values[steps >= since]


def by_epochs(series: Series, epochs: Series, newest: bool = False) -> Series:
    """The mean, or the newest, of each epoch's values, at its end or as far as it has come.

    Args:
        series: `(N,)` steps and values.
        epochs: `(M,)` steps, and how many epochs were over after each: 0.5 in the middle of the first.
    """
    finite = np.isfinite(series[1])
    steps, values = series[0][finite], series[1][finite]
    done = np.interp(steps, *epochs)
    found, first, count = np.unique(
        np.maximum(np.ceil(done - 1e-6), 1).astype(int), return_index=True, return_counts=True
    )
    last = first + count - 1  # steps are in order, and so are epochs
    of_each = values[last] if newest or not len(found) else np.add.reduceat(values, first) / count
    return np.minimum(found, done[last]), of_each


def chart(name: str, group: Mapping[str, Series], first: int, last: int) -> dict[str, Any]:
    """The curves of one metric between their least and their greatest value."""
    shown = [values[np.isfinite(values)] for _, values in group.values()]
    every = np.concatenate(shown)
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 0.0)
    broken = [
        f"{metric} is not a number from step {int(steps[~np.isfinite(values)][0]):,}"
        for metric, (steps, values) in group.items()
        if not np.isfinite(values).all()
    ]
    return {
        "name": name.replace("_", " "),
        "curves": [curve(metric, each, (first, last), (low, high)) for metric, each in group.items()],
        "low": said(low),
        "high": said(high),
        "first": first,
        "last": last,
        "note": "; ".join(broken),
    }


def curve(name: str, series: Series, span: tuple[int, int], limits: tuple[float, float]) -> dict[str, Any]:
    """A curve's `name`, `points` in a box of `WIDTH` x `HEIGHT` with (0, 0) at the top left, `held_out`, `newest`."""
    steps, values = series
    finite = np.isfinite(values)
    x, y = thinned(steps[finite], values[finite])
    (first, last), (low, high) = span, limits
    x = (x - first) / (last - first) * WIDTH
    y = HEIGHT / 2 + 0 * x if high == low else HEIGHT * (high - y) / (high - low)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return {
        "name": name,
        "points": points,
        "held_out": is_held_out(name),
        "newest": said(float(values[-1])) if len(values) else "",
    }


def thinned(steps: np.ndarray, values: np.ndarray) -> Series:
    """About `MOST_POINTS` of the points: of every stretch the least and the greatest, so that no peak is lost."""
    if len(steps) <= MOST_POINTS:
        return steps, values
    edges = np.linspace(0, len(steps), MOST_POINTS // 2 + 1).astype(int)
    kept = {0, len(steps) - 1}
    for start, stop in pairwise(edges):
        kept |= {start + int(values[start:stop].argmin()), start + int(values[start:stop].argmax())}
    chosen = np.array(sorted(kept))
    return steps[chosen], values[chosen]


def as_csv(metrics: Metrics) -> str:
    """Every metric of a run as a table: a row for each step, a column for each metric, empty where it said nothing."""
    rows: dict[int, dict[str, float]] = {}
    for name in metrics.names:
        steps, values = metrics.series(name)
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            rows.setdefault(step, {})[name] = value
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["step", *metrics.names])
    writer.writerows([step, *map(rows[step].get, metrics.names)] for step in sorted(rows))
    return file.getvalue()


def said(value: float) -> str:
    """A metric in words, four digits of it."""
    return f"{value:,.4g}" if np.isfinite(value) else {True: "NaN"}.get(bool(np.isnan(value)), f"{value}")
