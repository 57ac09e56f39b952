"""What the callbacks share: a recorder that lives as long as one training, and goes on where a checkpoint does."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..runs import Recorder, watch


class Recording:
    """A run of each training that a framework begins.

    Args:
        probe, path, options: those of `tensorview.watch`; `resume` is found out by the step that training begins at.

    Raises:
        TypeError: `watch` has no such option.
    """

    def __init__(self, probe: Any, path: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
        inspect.signature(watch).bind(None, probe, path, **options)
        self._probe, self._path, self._options = probe, path, dict(options)
        self.run: Recorder | None = None

    def begin(self, model: nn.Module, step: int) -> None:
        """Begin a run, or go on with the one that is there if training begins after its first step.

        Raises:
            CaptureError: the model cannot run the probe.
            OpenError: another process is recording to the directory; an option is not possible.
        """
        self.end()  # of a training that an exception ended
        self.run = watch(model, self._probe, self._path, **{"first": step, "resume": step > 0, **self._options})

    def step(self, number: int, metrics: Mapping[str, Any]) -> None:
        """Say that a step is done, or more of the step that was; names may have any letters."""
        if self.run is not None:
            self.run.step(number, **metrics)

    def end(self, record_last: bool = False) -> None:
        """End the run; as often as wanted."""
        run, self.run = self.run, None
        if run is not None:
            run.close(record_last)
