"""How a network does on held-out images. What is counted, scikit-learn counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runs import Evaluation
from .data import Data
from .health import Health
from .watching import watching

SHOWN = 24  # examples whose prediction is kept
BATCH = 250
TOP = 3


@dataclass(frozen=True)
class Judged:
    """An evaluation, and the mean cross-entropy over its examples."""

    evaluation: Evaluation
    loss: float


def evaluate(
    model: nn.Module,
    data: Data,
    count: int | None = None,
    turn: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Judged | None:
    """Run the model, in eval mode and without gradients, on held-out images; its mode is put back.

    Args:
        count: how many of them, the same each time; all by default.
        turn: which of them are kept to be looked at: the next ones in an order that is the same each time.
        stop: asked between batches whether to give up.

    Returns:
        What came of it, `None` where it was given up.
    """
    order = torch.randperm(len(data.held_out), generator=torch.Generator().manual_seed(0))[:count]
    outputs: list[Tensor] = []
    with watching(model) as health, torch.no_grad():
        for rows in order.split(BATCH):
            if stop():
                return None
            outputs.append(logits_of(model, data, rows))
    logits = torch.cat(outputs)
    labels = data.held_out.labels[order]
    shown = (torch.arange(min(SHOWN, len(order))) + turn * SHOWN) % len(order)
    return Judged(_evaluation(data, logits, labels, order, shown, health), float(F.cross_entropy(logits, labels)))


def logits_of(model: nn.Module, data: Data, rows: Tensor) -> Tensor:
    """(N, C) float32 on the CPU: what the model makes of held-out images in the mode that it is in."""
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    output: Tensor = model(data.inputs(data.held_out.pixels[rows].to(device)))
    return output.float().cpu()


def _evaluation(data: Data, logits: Tensor, labels: Tensor, order: Tensor, shown: Tensor, health: Health) -> Evaluation:
    from sklearn.metrics import confusion_matrix, recall_score

    classes = np.arange(len(data.class_names))
    truth, guessed = labels.numpy(), logits.argmax(1).numpy()
    probabilities, top = logits[shown].double().softmax(1).sort(dim=1, descending=True, stable=True)
    return Evaluation(
        confusion=confusion_matrix(truth, guessed, labels=classes).astype(np.int64),
        class_accuracy=recall_score(truth, guessed, labels=classes, average=None, zero_division=np.nan),
        images=data.held_out.pictures(order[shown]),
        labels=truth[shown.numpy()],
        top=top[:, :TOP].numpy(),
        probabilities=probabilities[:, :TOP].numpy(),
        warnings=health.warnings(),
    )
