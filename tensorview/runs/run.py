"""Reading a run, also while it grows."""

from __future__ import annotations

import bisect
import contextlib
import json
import os
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..capture import Trace
from ..errors import OpenError
from .contents import only
from .directory import METRICS, evaluation_name, read_about, step_name, steps_among
from .evaluation import Evaluation, read_evaluation
from .lock import is_alive, read_lock
from .place import Mark, place_of
from .store import located


class Metrics:
    """What a run said of its steps: a row of numbers for every name, in the order in which they came."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[array[int], array[float]]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """`(N,)` int64 steps and `(N,)` float64 values. Raises KeyError for a name that was never given."""
        steps, values = self._rows[name]
        return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)

    def at(self, step: int) -> dict[str, float]:
        """The newest value of every metric up to a step; without those that had none yet."""
        found = {}
        for name, (steps, values) in self._rows.items():
            after = bisect.bisect_right(steps, step)
            if after:
                found[name] = values[after - 1]
        return found

    def add(self, line: bytes) -> None:
        """Take a line of the file; one that is broken is left out."""
        try:
            said = json.loads(line)
            step = int(said["step"])
            numbers = {str(name): float(value) for name, value in said["metrics"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return
        if not 0 <= step < 2**63:
            return
        for name, value in numbers.items():
            steps, values = self._rows.setdefault(name, (array("q"), array("d")))
            if steps and step < steps[-1]:  # training went back to an earlier step
                keep = bisect.bisect_left(steps, step)
                del steps[keep:], values[keep:]
            steps.append(step)
            values.append(value)

    def __repr__(self) -> str:
        return f"Metrics({', '.join(f'{name}: {len(steps)}' for name, (steps, _) in self._rows.items())})"


class Run:
    """A run directory, read. Opening one reads names of files only, and takes as long for ten steps as for thousands.

        run = Run.open("runs/first")
        run.trace(run.steps[-1])["conv1"].values

    Attributes:
        path: the directory, or the URL of one on another file system.
        name: the last part of it.
        about: what `run.json` says.
        steps: the recorded steps that are there, in order.
        evaluations: the steps that have an evaluation on held-out data, in order; empty where the loop gave none.
        revision: grows when a trace that was there may have become another: the run was begun anew, or its newest
            step recorded again.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = located(path)
        self._place = place_of(self.path)
        self.name = self._place.name
        self.about: Mapping[str, Any] = {}
        self.steps: tuple[int, ...] = ()
        self.evaluations: tuple[int, ...] = ()
        self.revision = 0
        self._newest: tuple[int, Mark | None] = (-1, None)  # a step, and its file
        self._offset = -1  # of what has been read of the metrics; they have not been asked for
        self._metrics = Metrics()
        self._begin(read_about(self._place.folder, self.path))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run directory, by its path or by an fsspec URL such as s3://bucket/run.

        Raises:
            OpenError: there is none, or it is of another format.
        """
        return cls(path)

    def __repr__(self) -> str:
        span = f" {self.steps[0]} to {self.steps[-1]}" if self.steps else ""
        return f"Run('{self.path}', {self.about.get('model')}, {len(self.steps)} steps{span})"

    # What it is ----------------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """The model and the run's name."""
        return f"{self.about.get('model') or 'Model'} · {self.name}"

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.about.get("class_names", ()))

    @property
    def content(self) -> tuple[str, ...]:
        """What is recorded: of "activations", "weights", "gradients" and "activation_gradients"."""
        return tuple(self.about.get("content", ("activations",)))

    @property
    def growing(self) -> bool:
        """Whether a process is writing to it, as far as can be known."""
        holder = read_lock(self._place.folder)
        return holder is not None and is_alive(holder)

    @property
    def metrics(self) -> Metrics:
        """The metrics of all steps, read when they are first asked for."""
        if self._offset < 0:
            self._offset = 0
            self._tail()
        return self._metrics

    # Steps ---------------------------------------------------------------------------------------------------------

    def trace(self, step: int, content: str = "activations") -> Trace:
        """What was recorded of a step.

        Args:
            content: "activations"; "weights" or "gradients", whose layers have the parameters' names; or
                "activation_gradients", whose layers are those of the activations.

        Raises:
            OpenError: the step is not there, or its file is broken.
        """
        try:
            return only(Trace.load(self._place.fetch(step_name(step))), content)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise OpenError(f"Step {step} is not, or no longer, in {self.path}.") from error
            raise OpenError(f"Step {step} of {self.path} cannot be read ({error}).") from error

    def nbytes(self, step: int) -> int:
        """The size of a step's file in bytes; 0 where it is not there."""
        return self._place.nbytes(step_name(step))

    def evaluation(self, step: int) -> Evaluation:
        """How the model did on held-out data at a step of `evaluations`.

        Raises:
            OpenError: the step has no evaluation, or its file is broken.
        """
        with contextlib.suppress(OSError):
            self._place.fetch(evaluation_name(step))
        return read_evaluation(self._place.folder, step)

    def refresh(self) -> bool:
        """Look for what is new; returns whether anything is. A run that was begun anew is read from the start."""
        try:
            self._place.sync()
            about = read_about(self._place.folder, self.path)
        except (OpenError, OSError):
            return False  # it is being moved aside, or its file system is away
        if about.get("id") != self.about.get("id"):
            self._begin(about)
            self.revision += 1
            return True
        changed = self._look()
        return (self._tail() if self._offset >= 0 else False) or changed

    def _begin(self, about: Mapping[str, Any]) -> None:
        self.about = about
        self._offset, self._metrics = -1, Metrics()
        self.steps, self.evaluations, self._newest = (), (), (-1, None)
        self._look()

    def _look(self) -> bool:
        """See which files are there; whether there is anything new."""
        try:
            names = self._place.names()
        except OSError:
            return False
        if names is None:
            return False
        steps, evaluations = map(tuple, steps_among(names))
        again = self._is_rewritten()
        new = again or (steps, evaluations) != (self.steps, self.evaluations)
        self.revision += again
        self.steps, self.evaluations = steps, evaluations
        if steps and steps[-1] != self._newest[0]:
            self._newest = steps[-1], self._place.mark(step_name(steps[-1]))
        return new

    def _is_rewritten(self) -> bool:
        """Whether the step that was the newest at the last look has been recorded again since."""
        step, before = self._newest
        now = self._place.mark(step_name(step)) if step >= 0 else None
        self._newest = step, now
        return now not in (None, before)

    def _tail(self) -> bool:
        """Read the lines of metrics that have come; a line without its end waits for it."""
        path = self._place.folder / METRICS
        try:
            if path.stat().st_size <= self._offset:
                return False
            with path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return False
        whole = new.rfind(b"\n") + 1
        for line in new[:whole].splitlines():
            self._metrics.add(line)
        self._offset += whole
        return whole > 0
