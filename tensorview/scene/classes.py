"""What a vector of outputs says about classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """One class: its `index`, its `name` and its `share`, a probability 0..1."""

    index: int
    name: str
    share: float


def probabilities(output: np.ndarray) -> np.ndarray:
    """`(K,)` float64 probabilities from the `(K,)` outputs of a classifier.

    Outputs that already are a distribution (none negative, sum 1) are returned as they are, others through the
    softmax `exp(x - max x) / sum exp(x - max x)`. Where no output is finite, or NaN is among them, every class has an
    equal share.
    """
    x = np.asarray(output, dtype=float).reshape(-1)
    if not len(x) or np.isnan(x).any():
        return np.full(len(x), 1 / max(1, len(x)))
    if (x >= 0).all() and abs(x.sum() - 1) < 1e-3:
        return x
    top = x.max()
    if not np.isfinite(top):
        even = x == top
        return even / even.sum()
    share = np.exp(x - top)
    return share / share.sum()


def ranked(output: np.ndarray, names: Sequence[str] = (), most: int = 5) -> list[Prediction]:
    """The `most` likeliest classes of `(K,)` outputs, the likeliest first; without names a class is its index."""
    share = probabilities(output)
    order = np.argsort(-share, kind="stable")[:most]
    return [Prediction(int(i), names[i] if i < len(names) else str(i), float(share[i])) for i in order]
