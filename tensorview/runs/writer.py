"""Writing a run: its files, its retention, and what becomes of the run that was there before."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..capture import Trace
from .directory import (
    ABOUT,
    METRICS,
    evaluation_path,
    evaluation_steps,
    leftovers,
    read_about,
    recorded_steps,
    step_path,
    write_about,
)
from .evaluation import Evaluation, write_evaluation
from .lock import WriterLock
from .thinning import expendable


class Writer:
    """The files of one run, open for writing.

    Every step is one file, whole when it has its name. It is not forced onto the disk, which would cost more than all
    the rest: when the process is killed the system still writes it; when the power fails, the last seconds may be lost.

    Args:
        folder: is made where it does not exist.
        about: what `run.json` says of the run.
        keep: how many steps are kept at most; `None` for all.
        resume: go on with the run that is there; else its files move to a folder beside it, "first.1". A run that never
            got beyond the model as it was before its first step gives way.

    Attributes:
        steps: those that have a file, in order.
        moved: where the run went that was here before, if there was one.
        bytes: how much has been written for steps, and for how many of them.

    Raises:
        OpenError: another process writes there; the run to resume is of another format.
        OSError: nothing can be written there.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], keep: int | None, resume: bool) -> None:
        self.folder, self._keep = folder, keep
        self.moved: Path | None = None
        self.bytes, self.written = 0, 0
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = WriterLock(folder)
        try:
            self.steps = self._begin(dict(about), resume)
            self._metrics = os.open(folder / METRICS, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o644)
        except BaseException:
            self._lock.release()
            raise
        self._end_line()
        self._started = time.monotonic()

    def _begin(self, about: dict[str, Any], resume: bool) -> list[int]:
        for path in leftovers(self.folder):
            path.unlink(missing_ok=True)
        begun = {"id": uuid.uuid4().hex, "started": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        if (self.folder / ABOUT).exists():
            if resume:
                before = read_about(self.folder)
                begun = {name: before[name] for name in begun if name in before}
            elif is_barren(recorded_steps(self.folder), evaluation_steps(self.folder), self._metrics_before()):
                for path in files_of(self.folder):
                    path.unlink(missing_ok=True)
            else:
                self.moved = move_aside(self.folder)
        write_about(self.folder, {**about, **begun})
        return recorded_steps(self.folder)

    def _metrics_before(self) -> bytes:
        try:
            return (self.folder / METRICS).read_bytes()
        except FileNotFoundError:
            return b""

    def _end_line(self) -> None:
        """Let a line that a killed writer left unfinished not swallow the next one."""
        size = os.fstat(self._metrics).st_size
        if size:
            os.lseek(self._metrics, size - 1, os.SEEK_SET)
            if os.read(self._metrics, 1) != b"\n":
                os.write(self._metrics, b"\n")

    def add(self, step: int, trace: Trace) -> None:
        """Write the trace of a step, and take one away where there are too many. Raises OSError, SafetensorError."""
        path = step_path(self.folder, step)
        trace.save(path)
        self.bytes += path.stat().st_size
        self.written += 1
        if not self.steps or step > self.steps[-1]:
            self.steps.append(step)
        elif step not in self.steps:
            self.steps = sorted({*self.steps, step})
        while self._keep is not None and len(self.steps) > self._keep:
            gone = self.steps.pop(expendable(self.steps))
            step_path(self.folder, gone).unlink(missing_ok=True)

    def say(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line of metrics. Raises OSError."""
        line = {
            "step": step,
            "time": round(time.monotonic() - self._started, 3),
            "metrics": {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()},
        }
        written = json.dumps(line).encode() + b"\n"
        if os.write(self._metrics, written) < len(written):
            raise OSError(f"{self.folder / METRICS} could not be written whole")

    def evaluate(self, step: int, evaluation: Evaluation) -> None:
        """Write how the model did on held-out data. Raises OSError, SafetensorError."""
        write_evaluation(self.folder, step, evaluation, evaluation_steps(self.folder))

    def close(self) -> None:
        """Let others write. Raises nothing."""
        with contextlib.suppress(OSError):
            os.close(self._metrics)
        self._lock.release()


def files_of(folder: Path) -> list[Path]:
    """The files of a run, its description first. Raises OSError."""
    steps = [step_path(folder, step) for step in recorded_steps(folder)]
    evaluations = [evaluation_path(folder, step) for step in evaluation_steps(folder)]
    return [path for path in (folder / ABOUT, folder / METRICS, *steps, *evaluations) if path.exists()]


def is_barren(steps: Sequence[int], evaluations: Sequence[int], metrics: bytes) -> bool:
    """Whether a run with these files has nothing but what was recorded before its first step."""
    lines = metrics.splitlines()
    first = len(lines) <= 1 and all(line.startswith(b'{"step": 0,') for line in lines)
    return first and not any(steps) and not any(evaluations)


def move_aside(folder: Path) -> Path:
    """Move the files of a run to the first free folder of "first.1", "first.2", ...; returns it. Raises OSError."""
    number = 1
    while (beside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    beside.mkdir()
    # The description goes first: nobody takes what is left for a run.
    for path in files_of(folder):
        os.replace(path, beside / path.name)
    return beside
