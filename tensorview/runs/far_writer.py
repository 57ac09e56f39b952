"""Writing a run to another file system: every file is made here, and sent when it is whole."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from ..capture import Trace
from ..errors import OpenError
from .directory import ABOUT, LOCK, METRICS, evaluation_name, step_name, steps_among
from .evaluation import KEEP, Evaluation, write_evaluation
from .lock import is_alive, lock_content
from .store import Store, folder_for
from .thinning import expendable
from .warning import warn
from .writer import Writer, is_barren

SEND_SECONDS = 2.0  # between two copies of the metrics, of which file systems far away take none but whole ones
BYTES_PER_SECOND = 200_000
MOST_WAITING = 8


class Sender:
    """A thread that sends one file after the other, so that training does not wait for the line.

    Training waits where more than `MOST_WAITING` files do. After a fault nothing more is sent.
    """

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self._waiting: Queue[Callable[[], None] | None] = Queue(MOST_WAITING)
        self._thread = Thread(target=self._work, name="tensorview-sender", daemon=True)
        self._thread.start()

    def later(self, work: Callable[[], None]) -> None:
        """Do this when all before it is done. Raises OSError: something before it went wrong."""
        if self.fault is not None:
            raise OSError(str(self.fault)) from self.fault
        self._waiting.put(work)

    def close(self) -> None:
        """Wait until all is done."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            if self.fault is None:
                self.fault = _fault_of(work)


class FarWriter:
    """The files of one run on another file system, open for writing; see `Writer`.

    Nothing there can be locked or added to: a second writer is told if it begins later, not if it begins at the same
    moment; and the metrics are sent again as a whole, every few seconds and at the end.

    Raises:
        OpenError: another process writes there; the run to resume is of another format.
        OSError: nothing can be written there.
    """

    def __init__(self, url: str, about: Mapping[str, Any], keep: int | None, resume: bool) -> None:
        self.folder, self._keep = url, keep
        self.moved: str | None = None
        self.bytes, self.written = 0, 0
        self._store = Store(url)
        found = self._store.files()
        self._check_lock(found)
        self._here = folder_for(self)
        self.steps, self._evaluations = self._begin(found, resume)
        self._local = Writer(self._here, about, None, resume)
        try:
            self._store.write(LOCK, lock_content(uuid.uuid4().hex))
            self._store.write(ABOUT, (self._here / ABOUT).read_bytes())
        except OSError:
            self._local.close()
            with contextlib.suppress(OSError):
                self._store.remove(LOCK)
            raise
        self._sender, self._send_at, self._sent = Sender(), 0.0, 0

    def _check_lock(self, found: Mapping[str, Any]) -> None:
        holder = None
        if LOCK in found:
            try:
                holder = json.loads(self._store.read(LOCK))
            except ValueError:
                holder = None
        if isinstance(holder, dict) and is_alive(holder):
            raise OpenError(
                f"{self.folder} is being written by process {holder.get('pid')} on {holder.get('host')}: record to "
                f"another directory, or remove {self.folder}/{LOCK} if that process has ended."
            )

    def _begin(self, found: Mapping[str, Any], resume: bool) -> tuple[list[int], list[int]]:
        """Take over the run that is there, or make room; the steps that have a trace, and those with an evaluation."""
        steps, evaluations = steps_among(found)
        if ABOUT not in found:
            return [], []
        if resume:
            for name in (ABOUT, METRICS):
                if name in found:
                    (self._here / name).write_bytes(self._store.read(name))
            return steps, evaluations
        # The description goes first: nobody takes what is left for a run.
        names = [ABOUT, METRICS, *map(step_name, steps), *map(evaluation_name, evaluations)]
        names = [name for name in names if name in found]
        if is_barren(steps, evaluations, self._store.read(METRICS) if METRICS in found else b""):
            for name in names:
                self._store.remove(name)
            return [], []
        number = 1
        while (beside := self._store.beside(f".{number}")).files():
            number += 1
        for name in names:
            self._store.move(name, beside)
        self.moved = beside.url
        return [], []

    def add(self, step: int, trace: Trace) -> None:
        """Write the trace of a step, and take one away where there are too many. Raises OSError, SafetensorError."""
        path = self._here / f"{self.written}.safetensors"
        trace.save(path)
        self.bytes += path.stat().st_size
        self.written += 1
        self._send(step_name(step), path)
        self.steps = sorted({*self.steps, step})
        while self._keep is not None and len(self.steps) > self._keep:
            self._remove(step_name(self.steps.pop(expendable(self.steps))))

    def say(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line of metrics. Raises OSError."""
        self._local.say(step, metrics)
        if time.monotonic() >= self._send_at:
            self._sender.later(self._send_metrics)
            self._send_at = time.monotonic() + max(SEND_SECONDS, self._sent / BYTES_PER_SECOND)

    def evaluate(self, step: int, evaluation: Evaluation) -> None:
        """Write how the model did on held-out data. Raises OSError, SafetensorError."""
        write_evaluation(self._here, step, evaluation, ())
        self._send(evaluation_name(step), self._here / evaluation_name(step))
        self._evaluations = sorted({*self._evaluations, step})
        while len(self._evaluations) > KEEP:
            self._remove(evaluation_name(self._evaluations.pop(expendable(self._evaluations))))

    def close(self) -> None:
        """Send what is left, and let others write. Raises nothing; what was not sent is a warning."""
        if self._sender.fault is None:
            self._sender.later(self._send_metrics)
            self._sender.later(lambda: self._store.remove(LOCK))
        self._sender.close()
        self._local.close()
        if self._sender.fault is not None:
            warn(f"not all of {self.folder} could be written: {self._sender.fault}")

    def _send(self, name: str, path: Path) -> None:
        def work() -> None:
            self._store.write(name, path.read_bytes())
            path.unlink()

        self._sender.later(work)

    def _remove(self, name: str) -> None:
        self._sender.later(lambda: self._store.remove(name))

    def _send_metrics(self) -> None:
        data = (self._here / METRICS).read_bytes()
        if len(data) > self._sent:
            self._store.write(METRICS, data)
            self._sent = len(data)


def _fault_of(work: Callable[[], None]) -> Exception | None:
    try:
        work()
    except Exception as error:
        return error
    return None
