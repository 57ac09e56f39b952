"""Recording a training loop, whatever it looks like."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from ..capture import Trace
from ..capture.gradients import Loss
from ..errors import CaptureError, OpenError
from .contents import with_parameters
from .directory import FORMAT
from .evaluation import Evaluation
from .far_writer import FarWriter
from .options import BUDGET, check_every, check_sharded, checked, number
from .probe import Probe, is_sharded, name_of
from .store import located
from .warning import warn
from .writer import Writer


class Recorder:
    """Records what a model in training makes of a probe; see `watch`.

    Training is left as it is found: hooks, modes, buffers, gradients and random generators are put back. What goes
    wrong while it records ends the recording with one warning, and never the training.

    Beyond what `watch` has:

    Args:
        share: most of the time, in (0, 1], that recording may take: a step that comes earlier waits until it may.
        rest: seconds from the end of one recorded step to the next at least, with a `share`.
        about: what else `run.json` says, as JSON.

    Attributes:
        path: the run directory.
        number: how many steps have been counted.
        seconds: how long recording has taken in all.
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        path: str | os.PathLike[str],
        *,
        every: int = 50,
        content: str | Iterable[str] = ("activations",),
        keep: int | None = None,
        budget: int = BUDGET,
        class_names: Iterable[str] = (),
        in_eval: bool = True,
        resume: bool = False,
        probe_loss: Loss | None = None,
        first: int = 0,
        share: float | None = None,
        rest: float = 0.0,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = located(path)
        self.number, self.seconds = first, 0.0
        self._content = checked(content, every, keep, budget, probe_loss)
        self._every, self._budget, self._share, self._rest = every, budget, share, rest
        self._may_look = 0.0  # the time before which recording would take more than its share
        self._looked = first
        self._odd: set[str] = set()
        self._writer: Writer | FarWriter | None = None
        self._owner = os.getpid()
        self._sharded = is_sharded(model)  # such a model runs in all processes or in none
        if self._sharded:
            check_sharded(self._content, resume)
            self._share = None  # clocks differ, and all processes must run the probe at the same steps
        loss = probe_loss if "activation_gradients" in self._content else None
        self._probe: Probe | None = Probe(model, probe, in_eval, budget, loss)
        if not (_is_first_process() or self._sharded):
            self._probe = None
        started = time.perf_counter()
        trace = self._look()
        if trace is not None and _is_first_process():
            said = {**self._about(trace, every, keep, class_names), **(about or {})}
            self._begin(said, keep, resume)
            if self.number == first:
                self._keep_or_give_up(trace)
        self.seconds = time.perf_counter() - started

    # For the loop --------------------------------------------------------------------------------------------------

    def step(self, number: int | None = None, /, **metrics: Any) -> None:
        """Say that a step of training is done; every `every`-th one is recorded.

        Args:
            number: which step it is; by default one more than the last.
            metrics: numbers to record with it, or tensors of one.
        """
        started = time.perf_counter()
        self.number = self.number + 1 if number is None else int(number)
        due = self.number // self.every > self._looked // self.every or self.number < self._looked
        if due and started >= self._may_look:
            self._record()
            if self._share is not None:
                now = time.perf_counter()
                self._may_look = now + max(self._rest, (now - started) * (1 / self._share - 1))
        self._say(metrics)
        self.seconds += time.perf_counter() - started

    def record(self, probe: Any = None, probe_loss: Loss | None = None, **metrics: Any) -> None:
        """Record the step that was reached, also where it has been or is not due.

        Of a sharded model all processes call it at the same step.

        Args:
            probe: another input to look at from now on, as `watch` takes it.
            probe_loss: the loss of that input, as `watch` takes it; by default the one that there is.
            metrics: numbers to write with it.

        Raises:
            CaptureError: the model cannot run that input; the one before stays.
        """
        started = time.perf_counter()
        if probe is None:
            self._say(metrics)
            self._record()
        elif self._probe is not None:
            before = self._probe
            self._probe = before.changed(probe, probe_loss if "activation_gradients" in self._content else None)
            try:
                trace = self._look()
            except CaptureError:
                self._probe = before
                raise
            self._say(metrics)  # before the trace, so that whoever reads that knows what it is of
            self._keep_or_give_up(trace)
        self.seconds += time.perf_counter() - started

    def evaluate(self, evaluation: Evaluation, **metrics: Any) -> None:
        """Write how the model did on held-out data at the step that was reached, and metrics with it."""
        started = time.perf_counter()
        if self._writer is not None:
            try:
                self._writer.evaluate(self.number, evaluation)
            except Exception as error:
                self._give_up(error)
        self._say(metrics)
        self.seconds += time.perf_counter() - started

    @property
    def every(self) -> int:
        """How many steps of training come to a recorded one; may be set at any time. Raises OpenError."""
        return self._every

    @every.setter
    def every(self, every: int) -> None:
        check_every(every)
        self._every = every

    def close(self, record_last: bool = False) -> None:
        """End the run; as often as wanted.

        Args:
            record_last: record the step that was reached, if it has not been.
        """
        if os.getpid() != self._owner:
            return
        if record_last and self.number > self._looked:
            self._record()
        self._probe = None
        writer, self._writer = self._writer, None
        if writer is not None:
            self._finalizer.detach()
            writer.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(record_last=kind is None)

    def __repr__(self) -> str:
        state = "recording" if self.is_recording else "not recording"
        return f"Recorder('{self.path}', step {self.number}, {state}, {self.bytes_per_step:,} bytes a recorded step)"

    @property
    def is_recording(self) -> bool:
        """Whether steps are written; not in other processes than the first, after a fault, and when it is closed."""
        return self._writer is not None

    @property
    def bytes_per_step(self) -> int:
        """The mean size of a recorded step; 0 before the first."""
        return round(self._size[0] / self._size[1]) if self._size[1] else 0

    _size = (0, 0)

    # Inside --------------------------------------------------------------------------------------------------------

    def _about(self, trace: Trace, every: int, keep: int | None, class_names: Iterable[str]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "tensorview": importlib.metadata.version("tensorview"),
            "model": name_of(self._probe.model) if self._probe is not None else trace.model_name,
            "inputs": [{"name": x.name, "shape": x.shape, "dtype": x.dtype} for x in trace.inputs],
            "class_names": [str(name) for name in class_names],
            "every": every,
            "keep": keep,
            "content": self._content,
        }

    def _begin(self, about: dict[str, Any], keep: int | None, resume: bool) -> None:
        """Open the directory. Raises OpenError; what the disk refuses is a warning."""
        try:
            self._writer = writer_at(self.path, about, keep, resume)
        except OSError as error:
            if isinstance(error, OpenError):
                raise
            self._give_up(error)
            return
        self._finalizer = weakref.finalize(self, self._writer.close)
        if resume and self._writer.steps:
            self.number = self._looked = self._writer.steps[-1]
        if self._writer.moved is not None:
            print(f"tensorview: the run that was in {self.path} is now in {self._writer.moved}", file=sys.stderr)

    def _look(self) -> Trace | None:
        """Run the probe. Nothing that only one process knows may decide whether, for the sake of sharded models."""
        self._looked = self.number
        return None if self._probe is None else self._probe()

    def _record(self) -> None:
        try:
            self._keep_trace(self._look())
        except Exception as error:
            self._give_up(error)

    def _keep_or_give_up(self, trace: Trace | None) -> None:
        try:
            self._keep_trace(trace)
        except Exception as error:
            self._give_up(error)

    def _keep_trace(self, trace: Trace | None) -> None:
        if trace is None or self._probe is None or self._writer is None:
            return
        full = with_parameters(trace, self._probe.model, self._content, self._budget)
        self._writer.add(self.number, full)
        self._size = self._writer.bytes, self._writer.written

    def _say(self, metrics: dict[str, Any]) -> None:
        if metrics and self._writer is not None:
            try:
                self._writer.say(self.number, self._numbers(metrics))
            except Exception as error:
                self._give_up(error)

    def _numbers(self, metrics: dict[str, Any]) -> dict[str, float]:
        """The metrics as floats; one that is no number is left out, and named once."""
        found = {name: number(value) for name, value in metrics.items()}
        for name in [name for name, value in found.items() if value is None and name not in self._odd]:
            self._odd.add(name)
            warn(f"the metric '{name}' is a {type(metrics[name]).__name__}, not a number, and is not recorded")
        return {name: value for name, value in found.items() if value is not None}

    def _give_up(self, error: Exception) -> None:
        """Stop recording with a warning; metrics go on where only the model's pass fails."""
        if isinstance(error, CaptureError):
            warn(f"the probe is no longer recorded in {self.path}, metrics are: {error}")
            self._probe = None
            return
        warn(f"recording to {self.path} ends at step {self.number}: {error or type(error).__name__}")
        if not self._sharded:
            self._probe = None
        writer, self._writer = self._writer, None
        if writer is not None:
            self._finalizer.detach()
            writer.close()


def writer_at(path: Path | str, about: dict[str, Any], keep: int | None, resume: bool) -> Writer | FarWriter:
    """What writes to a path of this machine, or to the URL of another file system. Raises as they do."""
    return Writer(path, about, keep, resume) if isinstance(path, Path) else FarWriter(path, about, keep, resume)


def _is_first_process() -> bool:
    """Whether this process is the only one of a training, or its first."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"
