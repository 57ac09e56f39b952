"""The training itself: a batch at a time, recorded as a run."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import OpenError
from ..runs import CONTENTS, Recorder
from ..runs.probe import Probe as RecordedProbe
from .building import Recipe
from .checkpoint import Checkpoint, checkpoint_bytes, load_into
from .data import Data
from .evaluating import Judged, evaluate
from .health import Norms, broken_weights, gradient_warnings
from .hyperparameters import Hyperparameters, apply, make_optimizer
from .sound import SoundWeights
from .tally import Tally

SUBSET = 500  # held-out examples that are judged while it runs; all of them at the end of an epoch
EVALUATE_EVERY = 100  # batches
JUDGING = 0.02  # of the time that judging may take
LONGEST = 1.5  # seconds that the end of an epoch waits to be judged
SHARE = 0.15  # of the time that recording may take, of a network that takes long
REST = 0.15  # seconds from one recorded step to the next, of one that does not
DISK = 512_000_000  # bytes of recorded steps
MOST_STEPS, FEWEST_STEPS = 2000, 30


@dataclass(frozen=True)
class Probe:
    """What is looked at: a held-out example by its index, or a drawn image.

    Attributes:
        x: (1, C, H, W) float32.
        index: of the held-out example; `None` for a drawing.
        label: the true class; `None` where it is not known.
    """

    x: Tensor
    index: int | None
    label: int | None

    def loss(self, logits: Tensor) -> Tensor:
        """The cross-entropy of logits (1, C) for the true class, or for the likeliest where that is not known."""
        label = logits.argmax(1) if self.label is None else torch.tensor([self.label], device=logits.device)
        return F.cross_entropy(logits, label)


class Loop:
    """Trains a network on labelled images and records it in a run directory.

    Args:
        path: the run directory. A run that is there already moves to "lab.1" beside it, unless it never began.
        data: what to learn.
        recipe: the network.
        hyper: how.
        model: what `recipe` has built on these data already.
        probe: what is looked at; the first held-out example by default.
        checkpoint: go on from there.
        device: where to train; a GPU if there is one.
        instead_of: the loop that records there until now. It is closed once nothing here can be refused.

    Attributes:
        step: how many batches have been learned from.
        examples: how many examples.
        warnings: what is wrong with the network, each naming its layer; as of the last evaluation and batch.
        halted: why training cannot go on as it is, as a sentence; empty while it can.

    Raises:
        OpenError: the network does not fit the data, or the checkpoint the network; the batch is larger than the data;
            another process records there.
        CaptureError: the network cannot be recorded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        data: Data,
        recipe: Recipe,
        hyper: Hyperparameters,
        *,
        model: nn.Module | None = None,
        probe: Probe | None = None,
        checkpoint: Checkpoint | None = None,
        device: str | None = None,
        instead_of: Loop | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.recipe, self.hyper = recipe, hyper
        self.model, self.data = recipe.build(data) if model is None else (model, data)
        self._check_batch(hyper.batch_size)
        self.model.to(self.device).train()
        self.optimizer = make_optimizer(self.model.parameters(), hyper)
        self.step = self.examples = 0
        if checkpoint is not None:
            load_into(checkpoint, self.model, self.optimizer)
            self.step, self.examples = checkpoint.step, checkpoint.examples
        self.warnings: tuple[str, ...] = ()
        self.halted = ""
        self._random = torch.Generator().manual_seed(recipe.seed)
        self._order = torch.empty(0, dtype=torch.int64)
        self._tally = Tally(len(self.data.train))
        self._sound = SoundWeights(len(self.data.class_names), self.model, self.optimizer, self.step)
        self._norms = Norms(self.model)
        self._evaluated, self._turn = self.step, 0
        self._judged = self._rest = 0.0
        self.probe = self._example(0) if probe is None else probe
        judged = evaluate(self.model, self.data, SUBSET, self._turn)
        assert judged is not None
        if instead_of is not None:
            RecordedProbe(self.model, self.probe.x, loss=self.probe.loss)()
            instead_of.close()
        self.recorder = Recorder(
            self.model,
            self.probe.x,
            path,
            every=hyper.every,
            content=CONTENTS,
            probe_loss=self.probe.loss,
            keep=self._steps_to_keep(),
            class_names=self.data.class_names,
            first=self.step,
            share=SHARE,
            rest=REST,
            about=self._about(),
        )
        self._take(judged, whole=False)

    # What it is ----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> float:
        """How often every training example has been seen."""
        return self.examples / len(self.data.train)

    def _about(self) -> dict[str, Any]:
        return {
            "model": self.recipe.title,
            "architecture": self.recipe.architecture,
            "data": self.data.name,
            "train_examples": len(self.data.train),
            "held_out_examples": len(self.data.held_out),
            "hyperparameters": self.hyper.as_dict(),
            "seed": self.recipe.seed,
            "probe": {"index": self.probe.index, "label": self.probe.label},
        }

    def _steps_to_keep(self) -> int:
        """How many recorded steps fit on the disk: weights and gradients, and activations and theirs, at most."""
        parameters = sum(value.numel() for value in self.model.parameters())
        pixels = math.prod(self.data.input_spec.shape)
        step = 8 * min(parameters, 1_000_000) + 8 * min(40 * pixels, 1_000_000)
        return max(FEWEST_STEPS, min(MOST_STEPS, DISK // step))

    def _check_batch(self, size: int) -> None:
        if size > len(self.data.train):
            raise OpenError(f"batch_size is {size:,}; {self.data.name} has {len(self.data.train):,} training examples.")

    # Commands ------------------------------------------------------------------------------------------------------

    def set(self, **values: Any) -> None:
        """Change hyperparameters from the next batch on. Raises OpenError: a value is not possible; none is changed."""
        hyper = self.hyper.changed(**values)
        self._check_batch(hyper.batch_size)
        if hyper.optimizer != self.hyper.optimizer:
            self.optimizer = make_optimizer(self.model.parameters(), hyper)
        self.hyper = hyper
        self.recorder.every = hyper.every

    def look_at(self, index: int | None = None, image: np.ndarray | None = None, label: int | None = None) -> None:
        """Look at another held-out example, or a drawn image (H, W) uint8, and record the step anew.

        Raises:
            OpenError: there is no such example, or it is no image.
        """
        if image is not None:
            probe = Probe(self.data.prepared(image), None, self._class(label))
        else:
            probe = self._example(0 if index is None else index)
        numbers = {"probe_index": probe.index, "probe_label": probe.label}
        known = {name: -1 if value is None else value for name, value in numbers.items()}
        self.recorder.record(probe.x, probe.loss, **known)
        self.probe = probe

    def _example(self, index: int) -> Probe:
        count = len(self.data.held_out)
        if not 0 <= index < count:
            raise OpenError(f"There is no held-out example {index}; there are {count:,}, the first is 0.")
        pixels = self.data.held_out.pixels[index : index + 1]
        return Probe(self.data.inputs(pixels), index, int(self.data.held_out.labels[index]))

    def _class(self, label: int | None) -> int | None:
        if label is not None and not 0 <= label < len(self.data.class_names):
            raise OpenError(f"There is no class {label}; there are {len(self.data.class_names)}, the first is 0.")
        return label

    def checkpoint(self) -> bytes:
        """The training as one safetensors file, see `tensorview.training.checkpoint`."""
        about = {**self._about(), "step": self.step, "examples": self.examples}
        return checkpoint_bytes(self.model, self.optimizer, about)

    def close(self) -> None:
        """End the run; the step that was reached is recorded."""
        self.recorder.close(record_last=True)

    # A batch -------------------------------------------------------------------------------------------------------

    def batch(self) -> float:
        """Learn from one batch; returns its data loss. Where that is no number, nothing is learned, and `halted` set.

        After a halt it goes on from the newest weights that were sound.
        """
        if self.halted:
            self._go_back()
        rows = self._draw(self.hyper.batch_size)
        labels = self.data.train.labels[rows].to(self.device)
        x = self.data.inputs(self.data.train.pixels[rows].to(self.device))
        x = self.data.augmentation(x, self._random)
        began = time.perf_counter()
        logits = self.model(x)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.hyper.label_smoothing)
        value = loss.item()
        forward = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        backward = time.perf_counter()
        norms, squares = self._norms()
        if not math.isfinite(value):
            self._halt(value)
            return value
        apply(self.optimizer, self.hyper, self.epoch)
        self.optimizer.step()
        self.step += 1
        self.examples += len(rows)
        right = int((logits.detach().argmax(1) == labels).sum())
        # What weight decay adds to the loss that is descended; the sum may be infinite.
        penalty = self.hyper.weight_decay / 2 * squares if self.hyper.weight_decay else 0.0
        self._say(value, right, penalty, norms, (forward - began, backward - forward))
        self._look_after(value, norms)
        return value

    def _draw(self, count: int) -> Tensor:
        """Indices of the next examples: every epoch has all of them in another order, and no batch is cut short."""
        while len(self._order) < count:
            more = torch.randperm(len(self.data.train), generator=self._random)
            self._order = torch.cat([self._order, more])
        rows, self._order = self._order[:count], self._order[count:]
        return rows

    def _say(
        self, loss: float, right: int, penalty: float, norms: dict[str, float], seconds: tuple[float, float]
    ) -> None:
        """Record a batch: a line of metrics, and the step where it is due."""
        count = self.hyper.batch_size
        self._tally.add(right, count)
        metrics = {
            "loss": loss,
            "weight_decay_loss": penalty,
            "train_accuracy": self._tally.accuracy,
            "gradient_norm": math.hypot(*norms.values()),
            "forward_ms": seconds[0] * 1e3 / count,
            "backward_ms": seconds[1] * 1e3 / count,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "examples": self.examples,
            "epoch": self.epoch,
        }
        self.recorder.step(self.step, **{name: float(f"{value:.6g}") for name, value in metrics.items()})

    # What goes wrong -----------------------------------------------------------------------------------------------

    def _look_after(self, loss: float, norms: dict[str, float]) -> None:
        """Name exploding gradients as they happen, and keep weights that are sound to go back to."""
        exploding = gradient_warnings(norms)
        if exploding:
            self.warnings = (*exploding, *(said for said in self.warnings if " gradients " not in said))
        else:
            self._sound.offer(self.model, self.optimizer, self.step, loss)

    def _halt(self, loss: float) -> None:
        """Stop before weights are spoilt by a loss that is no number."""
        self.warnings = broken_weights(self.model) or self.warnings
        what = "not a number" if math.isnan(loss) else "infinite"
        self.halted = (
            f"The loss is {what} after step {self.step:,}, so training has paused: lower the learning rate and start "
            f"again, which goes on from the weights of step {self._sound.step:,}, or reset."
        )
        self.recorder.step(self.step, loss=loss)

    def _go_back(self) -> None:
        self._sound.restore(self.model, self.optimizer)
        self.halted, self.warnings = "", ()

    # Judging -------------------------------------------------------------------------------------------------------

    def evaluate_when_due(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Judge on held-out data: all at the end of an epoch, some now and then; returns whether that was done.

        It waits where it would take more than `JUDGING` of the time; the end of an epoch for `LONGEST` at most.
        """
        waited = time.perf_counter() - self._judged
        if self._tally.is_epoch_done:
            return waited >= min(self._rest, LONGEST) and self.evaluate(whole=True, stop=stop)
        due = self.step - self._evaluated >= EVALUATE_EVERY
        return due and waited >= self._rest and self.evaluate(stop=stop)

    def evaluate(self, whole: bool = False, stop: Callable[[], bool] = lambda: False) -> bool:
        """Judge on held-out data and record it; returns whether it was not given up.

        Args:
            whole: on all of them, which ends an epoch if one is done.
            stop: asked now and then whether to give up.
        """
        began = time.perf_counter()
        judged = evaluate(self.model, self.data, None if whole else SUBSET, self._turn, stop)
        if judged is not None:
            self._take(judged, whole)
            self._judged = time.perf_counter()
            self._rest = (self._judged - began) * (1 / JUDGING - 1)
        return judged is not None

    def _take(self, judged: Judged, whole: bool) -> None:
        self._evaluated, self._turn = self.step, self._turn + 1
        gradients = tuple(said for said in self.warnings if " gradients " in said) if self.halted else ()
        self.warnings = (*gradients, *judged.evaluation.warnings)
        metrics = {"validation_loss": judged.loss, "validation_accuracy": judged.evaluation.accuracy}
        if whole and self._tally.is_epoch_done:
            self._tally.begin_epoch()
        self.recorder.evaluate(judged.evaluation, **metrics)
