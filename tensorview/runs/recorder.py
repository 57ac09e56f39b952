"""Recording a training loop, whatever it looks like."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import time
import warnings
import weakref
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from ..capture import Trace
from ..errors import CaptureError, OpenError
from .contents import CONTENTS, with_parameters
from .directory import FORMAT
from .evaluation import Evaluation
from .probe import Probe, is_sharded
from .viewer import open_viewer
from .writer import Writer

BUDGET = 4_000_000


class Recorder:
    """Records what a model in training makes of a probe; see `watch`.

    Training is left as it is found: hooks, modes, buffers, gradients and random generators are put back. What goes
    wrong while it records ends the recording with one warning, and never the training.

    Beyond what `watch` has:

    Args:
        first: the number of the step that the model is at, where training goes on from a checkpoint.
        share: most of the time, in (0, 1], that recording may take: a step that comes earlier waits until it may.
        about: what else `run.json` says, as JSON.

    Attributes:
        path: the run directory.
        every: how many steps of training come to a recorded one; may be changed at any time.
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
        first: int = 0,
        share: float | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.number, self.seconds = first, 0.0
        self._content = _checked(content, every, keep, budget)
        self.every, self._budget, self._share = every, budget, share
        self._may_look = 0.0  # the time before which recording would take more than its share
        self._looked = first
        self._odd: set[str] = set()
        self._writer: Writer | None = None
        self._probe: Probe | None = Probe(model, probe, in_eval, budget)
        self._owner = os.getpid()
        self._sharded = is_sharded(model)  # such a model runs in all processes or in none
        if self._sharded and resume:
            raise OpenError("a run of a sharded model cannot be resumed: record to another directory.")
        if not (_is_first_process() or self._sharded):
            self._probe = None
        started = time.perf_counter()
        trace = self._look()
        if trace is not None and _is_first_process():
            said = {**self._about(trace, every, keep, class_names), **(about or {})}
            self._begin(said, keep, resume)
            if self.number == first:
                try:
                    self._keep_trace(trace)
                except Exception as error:
                    self._give_up(error)
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
                self._may_look = now + (now - started) * (1 / self._share - 1)
        self._say(metrics)
        self.seconds += time.perf_counter() - started

    def record(self, probe: Any = None) -> None:
        """Record the step that was reached, also where it has been or is not due.

        Args:
            probe: another input to look at from now on, as `watch` takes it.

        Raises:
            CaptureError: the probe is no tensor.
        """
        started = time.perf_counter()
        if probe is not None and self._probe is not None:
            self._probe.look_at(probe)
        self._record()
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
            "model": trace.model_name,
            "inputs": [{"name": x.name, "shape": x.shape, "dtype": x.dtype} for x in trace.inputs],
            "class_names": [str(name) for name in class_names],
            "every": every,
            "keep": keep,
            "content": self._content,
        }

    def _begin(self, about: dict[str, Any], keep: int | None, resume: bool) -> None:
        """Open the directory. Raises OpenError; what the disk refuses is a warning."""
        try:
            self._writer = Writer(self.path, about, keep, resume)
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
        found = {name: _number(value) for name, value in metrics.items()}
        for name in [name for name, value in found.items() if value is None and name not in self._odd]:
            self._odd.add(name)
            _warn(f"the metric '{name}' is a {type(metrics[name]).__name__}, not a number, and is not recorded")
        return {name: value for name, value in found.items() if value is not None}

    def _give_up(self, error: Exception) -> None:
        """Stop recording with a warning; metrics go on where only the model's pass fails."""
        if isinstance(error, CaptureError):
            _warn(f"the probe is no longer recorded in {self.path}, metrics are: {error}")
            self._probe = None
            return
        _warn(f"recording to {self.path} ends at step {self.number}: {error or type(error).__name__}")
        if not self._sharded:
            self._probe = None
        writer, self._writer = self._writer, None
        if writer is not None:
            self._finalizer.detach()
            writer.close()


def watch(
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
    open: bool = False,
) -> Recorder:
    """Record a training loop, to be seen with `tensorview watch` while it runs and afterwards.

        with tv.watch(model, probe, "runs/first", every=50) as run:
            for batch in loader:
                ...
                run.step(loss=loss.item())

    The model before the first step is recorded as step 0, then every `every`-th step, and the last.

    Args:
        model: the model that is trained.
        probe: an input with its batch dimension, as `capture` takes it, whose first sample is followed.
        path: the run directory. A run that is there already moves to "first.1" beside it.
        every: how many steps of training come to a recorded one.
        content: what is recorded of each: "activations", "weights", "gradients" (of the parameters, where a backward
            pass has left some), or several of them.
        keep: how many recorded steps to keep; the first and the last stay, and others spread evenly between them.
            `None` keeps all.
        budget: most bytes of the activations in a recorded step, and as many of the weights and of the gradients.
            Larger layers are reduced to what a closed box shows of them, which the trace's warnings say.
        class_names: one for each output of a classifier.
        in_eval: run the probe in eval mode, whatever mode the model is in. False: in the mode that it is in.
        resume: go on with the run that is in the directory.
        open: show the page at once, as long as this process runs.

    Returns:
        The recorder: `step(...)` after every step, and `close()` at the end, or used as a context. In other processes
        than the first of `torch.distributed` it does nothing.

    Raises:
        CaptureError: the model cannot run the probe.
        OpenError: another process is recording to the directory; an argument is not possible.
    """
    recorder = Recorder(
        model,
        probe,
        path,
        every=every,
        content=content,
        keep=keep,
        budget=budget,
        class_names=class_names,
        in_eval=in_eval,
        resume=resume,
    )
    if open and recorder.is_recording:
        open_viewer(recorder.path)
    return recorder


def _checked(content: str | Iterable[str], every: int, keep: int | None, budget: int) -> tuple[str, ...]:
    wanted: Collection[str] = (content,) if isinstance(content, str) else tuple(content)
    odd = [name for name in wanted if name not in CONTENTS]
    if odd or not wanted:
        raise OpenError(f"content is {odd[0] if odd else 'empty'!r}; choose of {', '.join(CONTENTS)}.")
    if every < 1:
        raise OpenError(f"every is {every}; it is a number of steps, 1 or more.")
    if keep is not None and keep < 2:
        raise OpenError(f"keep is {keep}; it is 2 or more, for the first and the last step.")
    if budget < 1:
        raise OpenError(f"budget is {budget}; it is a number of bytes, 1 or more.")
    return tuple(name for name in CONTENTS if name in wanted)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _is_first_process() -> bool:
    """Whether this process is the only one of a training, or its first."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


def _warn(message: str) -> None:
    # With warnings as errors a warning would end the training.
    try:
        warnings.warn(f"tensorview: {message}", RuntimeWarning, stacklevel=4)
    except RuntimeWarning:
        with contextlib.suppress(OSError):
            print(f"tensorview: {message}", file=sys.stderr)
