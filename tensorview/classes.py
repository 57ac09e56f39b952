"""What a vector of outputs says about classes. Like `errors`, every folder may use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """One class: its `index`, its `name` and its `share`, a probability 0..1, or NaN."""

    index: int
    name: str
    share: float


def probabilities(output: Any) -> np.ndarray:
    """The probabilities that one output of a classifier stands for.

    Args:
        output: (K,) or (1, K) array or tensor of logits or log-probabilities, or of probabilities, which are told by
            lying in [0, 1] and summing to 1.

    Returns:
        (K,) float64 in [0, 1] with sum 1: probabilities as they are, others through the softmax
        `exp(x - max x) / sum exp(x - max x)`. All NaN where an output is NaN or +Inf.

    Raises:
        ValueError: the output is not one vector.
    """
    if hasattr(output, "detach"):
        output = output.detach().cpu().double().numpy()
    values = np.asarray(output, dtype=np.float64)
    if values.ndim == 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"an output of shape {values.shape} is not one vector of classes")
    if np.isnan(values).any() or np.isposinf(values).any() or np.isneginf(values).all():
        return np.full(values.shape, np.nan)
    if values.min() >= 0 and values.max() <= 1 and abs(values.sum() - 1) < 1e-3:
        return values / values.sum()
    shares = np.exp(values - values.max())
    return shares / shares.sum()


def ranked(output: Any, names: Sequence[str] = (), most: int = 5) -> tuple[Prediction, ...]:
    """The `most` likeliest classes of one output, the likeliest first; one without a name is called "class 12".

    Raises:
        ValueError: the output is not one vector.
    """
    shares = probabilities(output)
    order = np.argsort(-np.nan_to_num(shares, nan=-1.0), kind="stable")[:most]
    return tuple(Prediction(int(i), names[i] if i < len(names) else f"class {i}", float(shares[i])) for i in order)
