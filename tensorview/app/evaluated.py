"""An evaluation on held-out data in words and colours, as the page shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..runs import Evaluation
from .texts import data_url

MOST_CELLS = 20  # classes a side that a confusion matrix has numbers for
COLUMNS = 6  # of the sheet of pictures


def evaluated(evaluation: Evaluation, class_names: Sequence[str], step: int) -> dict[str, Any]:
    """What the page says of an evaluation.

    Returns:
        `text` and `step`; `classes`, with the `name` and the `share` that was recognised of each; the confusion matrix
        as `rows` of cells, or as a picture `matrix` where there are too many classes to read; `shown`, the examples
        with the classes that the network thinks likeliest, and the `sheet` of their pictures.
    """
    names = [class_names[i] if i < len(class_names) else f"class {i}" for i in range(len(evaluation.confusion))]
    right, count = int(np.trace(evaluation.confusion)), evaluation.count
    few = len(names) <= MOST_CELLS
    return {
        "step": step,
        "accuracy": percent(evaluation.accuracy),
        "text": f"{right:,} of {count:,} held-out examples are recognised.",
        "classes": [class_row(name, share) for name, share in zip(names, evaluation.class_accuracy, strict=True)],
        "rows": matrix_rows(evaluation.confusion, names) if few else [],
        "names": names if few else [],
        "matrix": "" if few else data_url(matrix_picture(evaluation.confusion)),
        "shown": [shown(evaluation, k, names) for k in range(len(evaluation.labels))],
        "sheet": sheet_of(evaluation.images),
        "warnings": list(evaluation.warnings),
    }


def percent(share: float) -> str:
    """`97.2 %`; a dash for none."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def class_row(name: str, share: float) -> dict[str, Any]:
    return {"name": name, "share": 0.0 if math.isnan(share) else float(share), "text": percent(share)}


def matrix_rows(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each true class: its `name` and its `cells`, each with what it counts and the share of its row."""
    totals = np.maximum(confusion.sum(1, keepdims=True), 1)
    rows = []
    for i, (counts, shares) in enumerate(zip(confusion, confusion / totals, strict=True)):
        cells = [
            {
                "count": int(count),
                "share": round(float(share), 3),
                "right": i == j,
                "title": said(names, i, j, int(count)),
            }
            for j, (count, share) in enumerate(zip(counts, shares, strict=True))
        ]
        rows.append({"name": names[i], "cells": cells})
    return rows


def said(names: Sequence[str], truth: int, guess: int, count: int) -> str:
    """A cell of a confusion matrix in words."""
    taken = "recognised" if truth == guess else f"taken for {names[guess]}"
    return f"{count:,} of class {names[truth]} {taken}"


def matrix_picture(confusion: np.ndarray) -> np.ndarray:
    """`(C, C)` uint8: the share of each row, the brighter the more."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    return (255 * np.sqrt(shares)).round().astype(np.uint8)


def shown(evaluation: Evaluation, k: int, names: Sequence[str]) -> dict[str, Any]:
    """One example: its place on the sheet, its truth, whether the network is right, bars for the likeliest classes."""
    label = int(evaluation.labels[k])
    bars = [
        {**class_row(names[int(c)], float(p)), "true": int(c) == label}
        for c, p in zip(evaluation.top[k], evaluation.probabilities[k], strict=True)
    ]
    right = int(evaluation.top[k][0]) == label and not math.isnan(float(evaluation.probabilities[k][0]))
    return {**place(k), "truth": names[label], "right": right, "bars": bars}


def sheet_of(images: np.ndarray) -> dict[str, Any]:
    """The sheet of some pictures as the page shows it, with the number of its `rows` and `columns`."""
    return {
        "picture": data_url(sheet(images), most=4096),
        "columns": COLUMNS,
        "rows": max(1, -(-len(images) // COLUMNS)),
    }


def place(k: int) -> dict[str, int]:
    """Where the k-th picture stands on a sheet."""
    return {"column": k % COLUMNS, "row": k // COLUMNS}


def sheet(images: np.ndarray) -> np.ndarray | None:
    """The pictures `(K, H, W)` or `(K, H, W, 3)` in rows of `COLUMNS`, as one uint8 picture; `None` for none."""
    if not len(images):
        return None
    missing = -len(images) % COLUMNS
    full = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
    rows = full.reshape(-1, COLUMNS, *full.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(-1, COLUMNS * full.shape[2], *full.shape[3:]))
