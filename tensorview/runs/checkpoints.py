"""A folder of checkpoints plays as a run: every file is loaded into the model, which then runs the probe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from ..capture import Trace
from ..errors import OpenError
from .contents import CONTENTS, only, with_parameters
from .evaluation import Evaluation
from .probe import Probe
from .run import Metrics

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
# What trainers leave beside the weights.
BESIDE = ("optimizer", "scheduler", "rng_state", "training_args", "scaler", "sampler", "random_states")
# "step=1200" in a name says more than the last number, as in "step=1200-loss=0.25" or Lightning's "step=1200-v1".
_STEP = re.compile(r"(?:step|iter|iteration)s?[=_-]?(\d+)", re.IGNORECASE)

Mark = tuple[Path, int, int]  # a file, when it was written, and its size


class CheckpointRun:
    """Checkpoints of one model, as a run: see `Run`, whose properties it has.

    Args:
        folder: where the checkpoints are. The step of each is the number behind "step" in its name, else the last
            number in it or in that of its folder; where these are not all different, its place in the order of the
            names. One without a number, as "last.ckpt" or "best.pt", is left out beside those that have one.
        model: a model that they fit.
        probe: the input to look at, with its batch dimension.
        load: loads a file into the model.
        class_names: one for each output of a classifier.

    Attributes:
        revision: grows when a step that was there has another file, or its file was written again.

    Raises:
        OpenError: there is no checkpoint in the folder.
    """

    content = CONTENTS[:2]
    evaluations: tuple[int, ...] = ()
    growing = False
    metrics = Metrics()

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: nn.Module,
        probe: Any,
        load: Callable[[nn.Module, Path], None],
        class_names: Iterable[str] = (),
    ) -> None:
        self.path = Path(folder)
        self.name = self.path.resolve().name
        self.class_names = tuple(class_names)
        self.about: dict[str, Any] = {"model": type(model).__name__}
        self._model, self._load = model, load
        self._probe = Probe(model, probe)
        self._loaded: tuple[Mark, Trace] | None = None
        self._files: dict[int, Path] = {}
        self._marks: dict[int, Mark] = {}
        self.revision = 0
        self.refresh()
        if not self._files:
            raise OpenError(f"{self.path} has no checkpoint: no file that ends in {', '.join(SUFFIXES)}.")

    @property
    def title(self) -> str:
        return f"{self.about['model']} · {self.name}"

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(self._files)

    def trace(self, step: int, content: str = "activations") -> Trace:
        """What the model with the weights of a checkpoint makes of the probe.

        Raises:
            OpenError: the file does not load into the model.
            CaptureError: the model cannot run the probe.
        """
        if step not in self._files:
            raise OpenError(f"There is no checkpoint of step {step} in {self.path}.")
        mark = _mark(self._files[step])
        if self._loaded is None or self._loaded[0] != mark:
            self._loaded = None  # a file that fails half-way leaves weights of two in the model
            self._load(self._model, self._files[step])
            self._loaded = mark, with_parameters(self._probe(), self._model, self.content)
        return only(self._loaded[1], content)

    def evaluation(self, step: int) -> Evaluation:
        """Checkpoints have none. Raises OpenError."""
        raise OpenError(f"Step {step} of {self.path} has no evaluation: checkpoints have none.")

    def nbytes(self, step: int) -> int:
        """The size of a checkpoint's file in bytes; 0 where it is not there."""
        try:
            return self._files[step].stat().st_size
        except (OSError, KeyError):
            return 0

    def refresh(self) -> bool:
        """Look for checkpoints that are new or were written again; returns whether there are any."""
        files = checkpoints_in(self.path)
        marks = {step: _mark(path) for step, path in files.items()}
        if marks == self._marks:
            return False
        self.revision += any(marks.get(step, mark) != mark for step, mark in self._marks.items())
        self._files, self._marks = files, marks
        return True


def _mark(path: Path) -> Mark:
    """What tells a file from another and from a later one of the same name."""
    try:
        found = path.stat()
    except OSError:
        return path, 0, -1
    return path, found.st_mtime_ns, found.st_size


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """The checkpoints of a folder and of the folders in it, by step, in order."""
    try:
        files = sorted(
            path
            for pattern in ("*", "*/*")
            for path in folder.glob(pattern)
            if path.suffix in SUFFIXES and not path.name.startswith(BESIDE) and path.is_file()
        )
    except OSError:
        return {}
    numbered = [(number, path) for path in files if (number := _number(path, folder)) is not None]
    if not numbered or len({number for number, _ in numbered}) != len(numbered):
        return dict(enumerate([path for _, path in numbered] or files))
    return dict(sorted(numbered))


def _number(path: Path, folder: Path) -> int | None:
    """The step in a name: 1200 of "epoch=3-step=1200.ckpt", 500 of "checkpoint-500/model.safetensors"."""
    for name in (path.stem, path.parent.name if path.parent != folder else ""):
        found = _STEP.findall(name) or re.findall(r"\d+", name)
        if found:
            return int(found[-1][:18])
    return None
