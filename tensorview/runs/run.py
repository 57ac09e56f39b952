"""Reading a run, also while it grows."""

from __future__ import annotations

import bisect
import json
import os
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..capture import Trace
from ..errors import OpenError
from .contents import only
from .directory import METRICS, read_about, step_path, steps_in
from .evaluation import Evaluation, read_evaluation
from .lock import is_alive, read_lock

# A change within the clock tick of the last look would not show in the folder's time.
COARSE_SECONDS = 2.0


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
        except (ValueError, TypeError, KeyError, AttributeError):
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
        path: the directory.
        about: what `run.json` says.
        steps: the recorded steps that are there, in order.
        evaluations: the steps that have an evaluation on held-out data, in order; empty where the loop gave none.
        revision: grows when a trace that was there may have become another: the run was begun anew, or its newest
            step recorded again.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.about: Mapping[str, Any] = {}
        self.steps: tuple[int, ...] = ()
        self.evaluations: tuple[int, ...] = ()
        self.revision = 0
        self._newest: tuple[int, tuple[int, ...] | None] = (-1, None)  # a step, and its file
        self._looked_at = 0
        self._offset = -1  # of what has been read of the metrics; they have not been asked for
        self._metrics = Metrics()
        self._begin()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run directory.

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
        return f"{self.about.get('model') or 'Model'} · {self.path.resolve().name}"

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
        holder = read_lock(self.path)
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
        path = step_path(self.path, step)
        try:
            return only(Trace.load(path), content)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise OpenError(f"Step {step} is not, or no longer, in {self.path}.") from error
            raise OpenError(f"Step {step} of {self.path} cannot be read ({error}).") from error

    def nbytes(self, step: int) -> int:
        """The size of a step's file in bytes; 0 where it is not there."""
        try:
            return step_path(self.path, step).stat().st_size
        except OSError:
            return 0

    def evaluation(self, step: int) -> Evaluation:
        """How the model did on held-out data at a step of `evaluations`.

        Raises:
            OpenError: the step has no evaluation, or its file is broken.
        """
        return read_evaluation(self.path, step)

    def refresh(self) -> bool:
        """Look for what is new; returns whether anything is. A run that was begun anew is read from the start."""
        try:
            about = read_about(self.path)
        except OpenError:
            return False  # it is being moved aside, or its file system is away
        if about.get("id") != self.about.get("id"):
            self._begin()
            self.revision += 1
            return True
        changed = self._look()
        return (self._tail() if self._offset >= 0 else False) or changed

    def _begin(self) -> None:
        self.about = read_about(self.path)
        self._looked_at, self._offset, self._metrics = 0, -1, Metrics()
        self.steps, self.evaluations, self._newest = (), (), (-1, None)
        self._look()

    def _is_rewritten(self) -> bool:
        """Whether the step that was the newest at the last look has been recorded again since."""
        step, before = self._newest
        now = self._written(step)
        self._newest = step, now
        return now not in (None, before)

    def _note_newest(self) -> None:
        if self.steps and self.steps[-1] != self._newest[0]:
            self._newest = self.steps[-1], self._written(self.steps[-1])

    def _written(self, step: int) -> tuple[int, ...] | None:
        """What tells a step's file from another of that name; `None` where there is none."""
        try:
            found = step_path(self.path, step).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _look(self) -> bool:
        """See which files are there, if the folder has changed since the last look; whether there is anything new."""
        try:
            changed = os.stat(self.path).st_mtime_ns
            if changed == self._looked_at:
                return False
            steps, evaluations = map(tuple, steps_in(self.path))
        except OSError:
            return False
        again = self._is_rewritten()
        new = again or (steps, evaluations) != (self.steps, self.evaluations)
        self.revision += again
        self.steps, self.evaluations = steps, evaluations
        self._note_newest()
        settled = time.time() - changed / 1e9 > COARSE_SECONDS
        self._looked_at = changed if settled else 0
        return new

    def _tail(self) -> bool:
        """Read the lines of metrics that have come; a line without its end waits for it."""
        path = self.path / METRICS
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
