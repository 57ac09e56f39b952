"""Hugging Face: `Trainer(..., callbacks=[WatchCallback(probe, "runs/first")])`."""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .recording import Recording

SUMMARY = "train_runtime"  # stands in what is logged of a training as a whole
LEFT_OUT = ("epoch", "total_flos")


class WatchCallback(TrainerCallback):
    """Records what a model in training makes of a probe.

    Steps are the trainer's `global_step`, metrics are what it logs (`logging_steps`) and evaluates. A training that
    goes on from a checkpoint goes on with the run that is in the directory.

    `Trainer` tells its callbacks nothing of an exception: then the run ends with the process or with the trainer, or
    when the trainer trains again.

    Args:
        probe, path, options: those of `tensorview.watch`; the probe may be what a tokenizer returns.

    Raises:
        TypeError: `watch` has no such option.
    """

    def __init__(self, probe: Any, path: str | os.PathLike[str], **options: Any) -> None:
        self._recording = Recording(probe, path, options)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._recording.begin(kwargs["model"], state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._recording.step(state.global_step, {})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        if SUMMARY not in logs:
            numbers = {k: v for k, v in logs.items() if isinstance(v, (int, float)) and k not in LEFT_OUT}
            self._recording.step(state.global_step, numbers)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._recording.end(record_last=True)
