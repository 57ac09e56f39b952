"""PyTorch Lightning: `Trainer(callbacks=[WatchCallback(probe, "runs/first")])`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    from pytorch_lightning import Callback, LightningModule, Trainer  # its name alone

from .recording import Recording


class WatchCallback(Callback):
    """Records what a module in training makes of a probe.

    Steps are the trainer's `global_step`. Metrics are those that the module logs, as often as the trainer does
    (`log_every_n_steps`), and at the end of every validation; where it logs none, the loss. A training that goes on
    from a checkpoint goes on with the run that is in the directory.

    Args:
        probe, path, options: those of `tensorview.watch`; the probe is what the module's `forward` takes.

    Raises:
        TypeError: `watch` has no such option.
    """

    def __init__(self, probe: Any, path: str | os.PathLike[str], **options: Any) -> None:
        self._recording = Recording(probe, path, options)
        self._step = 0
        self._said: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step, self._said = trainer.global_step, {}
        # A sharded module runs only from its outermost wrapper, which is the trainer's.
        self._recording.begin(trainer.model or pl_module, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:
            return  # gradients are being accumulated
        self._step = trainer.global_step
        metrics: dict[str, float] = {}
        if self._step % max(1, trainer.log_every_n_steps) == 0:
            metrics = self._fresh(trainer)
            if not trainer.callback_metrics and isinstance(outputs, Mapping) and "loss" in outputs:
                metrics = {"loss": float(outputs["loss"])}
        self._recording.step(self._step, metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._recording.step(self._step, self._fresh(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._recording.step(self._step, self._fresh(trainer))
        self._recording.end(record_last=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._recording.end()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._recording.end()

    def _fresh(self, trainer: Trainer) -> dict[str, float]:
        """The metrics that are not as they were; the trainer keeps those of the last epoch among them."""
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        fresh = {name: value for name, value in found.items() if self._said.get(name) != value}
        self._said = found
        return fresh
