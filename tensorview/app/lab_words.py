"""What the training lab says of its trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..training import DATA, Status
from .evaluated import percent

STARTABLE = ("ready", "paused")
# (metric, label, unit)
NUMBERS = (
    ("loss", "loss of the batch", ""),
    ("weight_decay_loss", "weight-decay loss", ""),
    ("train_accuracy", "training accuracy", "%"),
    ("validation_accuracy", "held-out accuracy", "%"),
    ("forward_ms", "forward, an example", "ms"),
    ("backward_ms", "backward, an example", "ms"),
)
STATES = {
    "starting": "The trainer starts …",
    "loading": "The data are loaded …",
    "ready": "The weights are random. Press Start.",
    "running": "Training",
    "paused": "Paused",
    "ended": "The trainer has ended.",
    "failed": "Stopped",
}


def described(status: Status, metrics: Mapping[str, float]) -> dict[str, Any]:
    """A trainer's status for the page.

    Args:
        metrics: the newest of the run.
    """
    numbers = [{"name": "examples", "label": "examples seen", "text": f"{status.examples:,}"}]
    shown = [*NUMBERS, *((("learning_rate", "learning rate now", ""),) if status.hyper.cycle else ())]
    numbers += [
        {"name": name, "label": label, "text": measured(metrics[name], unit)}
        for name, label, unit in shown
        if name in metrics
    ]
    return {
        "state": status.state,
        "can_start": status.state in STARTABLE,
        "text": said_of(status),
        "message": status.message,
        "progress": status.progress if status.state in ("starting", "loading") else None,
        "warnings": list(status.warnings) if status.step else [],
        "architecture": status.architecture,
        "data": title_of(status.data),
        "hyper": {name: f"{v:g}" if isinstance(v, float) else str(v) for name, v in status.hyper.as_dict().items()},
        "probe": status.probe_index,
        "numbers": numbers,
    }


def tried(about: Mapping[str, Any], step: int, metrics: Mapping[str, float]) -> dict[str, str]:
    """A network that is, or was, trained, and how far it has come.

    Args:
        about: what the run says of itself.
        step: its last.
        metrics: its newest.
    """
    return {
        "title": f"{about.get('model')}, {about.get('data')}",
        "steps": f"{step:,}",
        "accuracy": percent(metrics.get("validation_accuracy", float("nan"))),
    }


def title_of(spec: str) -> str:
    """The name of data: of a folder its last part, told from data that come by that name."""
    if spec in DATA:
        return spec
    name = Path(spec).name or spec
    return f"{name} (folder)" if name in DATA else name


def said_of(status: Status) -> str:
    """How far a training is, in a line."""
    words = STATES[status.state]
    if not status.step:
        return words
    return f"{words} · step {status.step:,} · epoch {status.epoch:.1f}"


def measured(value: float, unit: str) -> str:
    """`97.2 %`, `0.13 ms`, `0.4`."""
    return percent(value) if unit == "%" else f"{value:.3g} {unit}".strip()
