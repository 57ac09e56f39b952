"""How a classifier did on held-out data at a step: a file of the run beside the traces."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import OpenError
from .directory import evaluation_path
from .thinning import expendable

KEEP = 200


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier made of held-out examples, of C classes; K of the examples are kept to be looked at.

    Attributes:
        confusion: (C, C) int64, how many examples of the class of the row were taken for the class of the column.
        class_accuracy: (C,) float64 in [0, 1], the share of each class that was recognised (its recall); NaN for
            a class without examples.
        images: (K, H, W) or (K, H, W, 3) uint8.
        labels: (K,) int64, the true class of each.
        top: (K, T) int64, the likeliest classes of each, the likeliest first; T is 3, or C where there are fewer.
        probabilities: (K, T) float64 in [0, 1], theirs; NaN where the network gives NaN.
        warnings: what is wrong with the network, each naming its layer.
    """

    confusion: np.ndarray
    class_accuracy: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    top: np.ndarray
    probabilities: np.ndarray
    warnings: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many examples there were."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of the examples that were recognised, in [0, 1]; NaN without examples."""
        return float(np.trace(self.confusion)) / self.count if self.count else float("nan")

    def __repr__(self) -> str:
        return f"<Evaluation of {self.count} examples, {len(self.confusion)} classes, {self.accuracy:.2%} right>"


ARRAYS = tuple(field.name for field in fields(Evaluation) if field.name != "warnings")


def write_evaluation(folder: Path, step: int, evaluation: Evaluation, steps: Sequence[int], keep: int = KEEP) -> None:
    """Write the evaluation of a step, and take away what is more than `keep` of them; `steps` are those there already.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    path = evaluation_path(folder, step)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    arrays = {name: np.ascontiguousarray(getattr(evaluation, name)) for name in ARRAYS}
    try:
        save_file(arrays, unfinished, {"warnings": json.dumps(evaluation.warnings)})
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    left = sorted({*steps, step})
    while len(left) > keep:
        evaluation_path(folder, left.pop(expendable(left))).unlink(missing_ok=True)


def read_evaluation(folder: Path, step: int) -> Evaluation:
    """Read the evaluation of a step. Raises OpenError: there is none, or its file is broken."""
    path = evaluation_path(folder, step)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
            warnings = json.loads((file.metadata() or {}).get("warnings", "[]"))
    except FileNotFoundError as error:
        raise OpenError(f"Step {step} has no evaluation in {folder}.") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise OpenError(f"The evaluation of step {step} of {folder} cannot be read ({error}).") from error
    return Evaluation(**arrays, warnings=tuple(warnings))
