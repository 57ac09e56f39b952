"""The curves of a run: where their points stand, which share a chart, epochs, and the table of all metrics."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from tensorview.app.curves import HEIGHT, MOST_POINTS, WIDTH, as_csv, base_name, charts, is_held_out
from tensorview.runs import Metrics


def said(*lines: tuple[int, dict[str, float]]) -> Metrics:
    metrics = Metrics()
    for step, values in lines:
        metrics.add(json.dumps({"step": step, "metrics": values}).encode())
    return metrics


def points(chart: dict, name: str) -> np.ndarray:
    curve = next(each for each in chart["curves"] if each["name"] == name)
    return np.array([[float(v) for v in point.split(",")] for point in curve["points"].split()])


@pytest.mark.parametrize(
    ("name", "base", "held_out"),
    [
        ("loss", "loss", False),
        ("train_loss", "loss", False),
        ("validation_loss", "loss", True),
        ("val/acc", "acc", True),
        ("eval_f1", "f1", True),
        ("training_time", "training_time", False),
        ("learning_rate", "learning_rate", False),
        ("evaluation", "evaluation", False),
    ],
)
def test_a_prefix_says_on_which_data(name: str, base: str, held_out: bool) -> None:
    assert (base_name(name), is_held_out(name)) == (base, held_out)


def test_training_and_held_out_share_a_chart_and_its_scale() -> None:
    metrics = said((0, {"loss": 4.0, "lr": 0.1}), (10, {"loss": 2.0, "validation_loss": 3.0}), (20, {"loss": 0.0}))
    first, second = charts(metrics, 20)
    assert [first["name"], second["name"]] == ["loss", "lr"]
    assert [(c["name"], c["held_out"]) for c in first["curves"]] == [("loss", False), ("validation_loss", True)]
    assert (first["low"], first["high"], first["first"], first["last"]) == ("0", "4", 0, 20)
    np.testing.assert_allclose(points(first, "loss"), [[0, 0], [WIDTH / 2, HEIGHT / 2], [WIDTH, HEIGHT]])
    np.testing.assert_allclose(points(first, "validation_loss"), [[WIDTH / 2, HEIGHT / 4]])


def test_cleared_curves_begin_where_they_were_cleared() -> None:
    metrics = said(*((step, {"loss": float(100 - step)}) for step in range(101)))
    (chart,) = charts(metrics, 100, since=50)
    assert (chart["first"], chart["last"], chart["high"]) == (50, 100, "50")
    found = points(chart, "loss")
    assert len(found) == 51
    np.testing.assert_allclose(found[[0, -1]], [[0, 0], [WIDTH, HEIGHT]])


def test_an_epoch_is_the_mean_in_training_and_the_last_on_held_out_data() -> None:
    losses = np.random.default_rng(0).random(25)
    lines = [(k + 1, {"loss": losses[k], "epoch": (k + 1) / 10}) for k in range(25)]
    metrics = said(*lines, (24, {"val_loss": 0.9}), (25, {"val_loss": 0.5}))
    (chart,) = charts(metrics, 25, by_epoch=True)
    means = [losses[:10].mean(), losses[10:20].mean(), losses[20:].mean()]
    found = points(chart, "loss")
    np.testing.assert_allclose(found[:, 0], np.array([1, 2, 2.5]) / 3 * WIDTH, atol=0.06)
    low, high = min(*means, 0.5), max(*means, 0.5)
    np.testing.assert_allclose(found[:, 1], HEIGHT * (high - np.array(means)) / (high - low), atol=0.06)
    np.testing.assert_allclose(points(chart, "val_loss")[:, 1], [HEIGHT * (high - 0.5) / (high - low)], atol=0.06)


def test_without_epochs_the_curves_stay_over_steps() -> None:
    metrics = said((1, {"loss": 1.0}), (2, {"loss": 0.5}))
    assert charts(metrics, 2, by_epoch=True) == charts(metrics, 2)


def test_what_is_no_number_is_named_and_left_out() -> None:
    metrics = said((1, {"loss": 1.0}), (2, {"loss": float("nan")}), (3, {"loss": float("inf")}))
    (chart,) = charts(metrics, 3)
    assert chart["note"] == "loss is not a number from step 2"
    assert len(points(chart, "loss")) == 1
    assert chart["curves"][0]["newest"] == "inf"


def test_a_long_curve_keeps_its_peak() -> None:
    values = np.ones(10_000)
    values[4321] = 7.0
    metrics = said(*((step, {"loss": float(v)}) for step, v in enumerate(values)))
    found = points(charts(metrics, 9999)[0], "loss")
    assert len(found) <= MOST_POINTS + 2
    assert found[:, 1].min() == 0
    assert found[found[:, 1].argmin(), 0] == pytest.approx(4321 / 9999 * WIDTH, abs=0.06)


def test_the_table_has_a_row_for_each_step_and_a_column_for_each_metric() -> None:
    metrics = said((1, {"loss": 0.1}), (2, {"loss": 0.25, "acc": 1.0}))
    rows = list(csv.DictReader(io.StringIO(as_csv(metrics))))
    assert rows == [{"step": "1", "loss": "0.1", "acc": ""}, {"step": "2", "loss": "0.25", "acc": "1.0"}]
