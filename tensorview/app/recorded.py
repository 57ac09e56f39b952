"""A session whose traces come from a recording. What shows them does not know the difference."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn

from ..capture import Trace
from ..errors import OpenError
from ..opening import Subject
from ..opening.preprocessing import InputSpec, to_picture
from ..runs import Evaluation, Metrics
from ..scene import Camera, Look
from .passes import look_for
from .session import Session, Shown

WAIT_SECONDS = 10.0


class Recording(Protocol):
    """What plays: a `Run`, or a `CheckpointRun`."""

    @property
    def path(self) -> Path | str: ...
    @property
    def name(self) -> str: ...
    @property
    def about(self) -> Mapping[str, Any]: ...
    @property
    def evaluations(self) -> tuple[int, ...]: ...
    @property
    def revision(self) -> int: ...
    @property
    def title(self) -> str: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def content(self) -> tuple[str, ...]: ...
    @property
    def steps(self) -> tuple[int, ...]: ...
    @property
    def growing(self) -> bool: ...
    @property
    def metrics(self) -> Metrics: ...
    def trace(self, step: int, content: str = "activations") -> Trace: ...
    def evaluation(self, step: int) -> Evaluation: ...
    def nbytes(self, step: int) -> int: ...
    def refresh(self) -> bool: ...


class RecordedSession(Session):
    """A recording with one of its steps in it; an input of this session is the number of a step.

    Attributes:
        recording: where the steps come from.
        content: which part of a step is shown: one of `runs.CONTENTS`.
        step: the step that is shown.

    Raises:
        OpenError: no step has been recorded, or none can be read.
        SceneError: there is no layer or module of a name.
    """

    takes_drawings = False
    takes_pictures = False
    has_scene_file = False

    def __init__(
        self,
        recording: Recording,
        look: Look | None = None,
        camera: Camera | None = None,
        open: str | Iterable[str] | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.recording = recording
        self.content = recording.content[0]
        self._content_shown = self.content
        self._looks: dict[str, Look] = {}
        _wait_for_a_step(recording, wait)
        self.step, self._passed_over = _newest_readable(recording, self.content)
        self._loaded = self.step
        subject = Subject(recording.name, nn.Identity(), InputSpec(()), recording.class_names, recording.title)
        look = look or Look()
        if self.content != "activations" and look.encoding == Look().encoding:
            look = look.changed(encoding="signed")
        super().__init__(subject, None, look, camera, open)
        self.preview = _picture(self.scene.trace)

    @property
    def paths(self) -> tuple[str | os.PathLike[str], ...]:
        return (self.recording.path,)

    @property
    def is_running(self) -> bool:
        """Whether steps are likely to come soon, as far as is known."""
        return self.recording.growing

    @property
    def is_drawn(self) -> bool:
        return False

    @property
    def is_blank(self) -> bool:
        return False

    def first_input(self) -> int:
        return self.step

    def empty_input(self) -> int:
        return self.step

    def run(self, x: Any) -> tuple[Trace, str]:
        """The trace of step `x`; may be called from another thread, one call at a time. Raises OpenError."""
        trace = self.recording.trace(x, self.content)
        self._loaded = x
        said, self._passed_over = self._passed_over, ""
        return trace, said

    def show(self, trace: Trace, failure: str = "") -> Shown:
        """Take a step's trace into the scene; another content has a look of its own."""
        self.step = self._loaded
        self.preview = _picture(trace)
        renamed = self._take_names()
        if self.content == self._content_shown and not renamed:
            return super().show(trace, failure)
        self._looks[self._content_shown] = self.scene.look
        super().show(trace, failure)
        look = self._looks.get(self.content, self.scene.look)
        encoding = "signed" if self.content not in ("activations", *self._looks) else look.encoding
        self._content_shown = self.content
        fitting = look_for(trace, look)
        expanded = None if look.expanded is None else look.expanded & frozenset(self.scene.modules.names)
        names = self.recording.class_names if self.content == "activations" else ()  # gradients are no logits
        self.change(open=fitting.open, hidden=fitting.hidden, expanded=expanded, encoding=encoding, class_names=names)
        return Shown(None, failure)

    def _take_names(self) -> bool:
        """Take title and class names of another run that is now in the directory; whether the classes are others."""
        named = self.recording.title, self.recording.class_names
        if named == (self.subject.title, self.subject.class_names):
            return False
        changed = self.subject.class_names != self.recording.class_names
        self.subject = replace(self.subject, title=named[0], class_names=named[1])
        return changed


def _wait_for_a_step(recording: Recording, seconds: float) -> None:
    """A run that has just begun may have no step yet."""
    end = time.monotonic() + seconds
    while not recording.steps:
        if not recording.growing or time.monotonic() > end:
            raise OpenError(f"{recording.path} holds no recorded step yet.")
        time.sleep(0.1)
        recording.refresh()


def _newest_readable(recording: Recording, content: str) -> tuple[int, str]:
    """The newest step that is whole, and what is to be said of those after it. Raises OpenError: there is none."""
    newest: OpenError | None = None
    for step in reversed(recording.steps):
        fault = _fault(recording, step, content)
        if fault is None:
            return step, f"{newest} Step {step:,} is shown, which is whole." if newest else ""
        newest = newest or fault
    raise newest or OpenError(f"{recording.path} holds no recorded step yet.")


def _fault(recording: Recording, step: int, content: str) -> OpenError | None:
    """Why a step cannot be read."""
    try:
        recording.trace(step, content)
    except OpenError as error:
        return error
    return None


def _picture(trace: Trace) -> np.ndarray | None:
    """The first input as a picture, its least value black and its greatest white; `None` for what is no picture."""
    values = trace.inputs[0].values if trace.inputs else None
    if values is None or not InputSpec(values.shape).is_image or not values.size:
        return None
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return to_picture(values, InputSpec(values.shape, low=low, high=high if high > low else low + 1))
