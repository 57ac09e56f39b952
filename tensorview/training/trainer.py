"""The handle of a trainer that runs in a process of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OpenError
from .architectures import check_architecture
from .building import Recipe, own_name
from .data import check_data
from .hyperparameters import Hyperparameters, on_other_data, usual
from .messages import Status, read_message, write_message

CLOSE_SECONDS = 5.0
# The same places to import from as here, and not first of all the folder that a person happens to be in.
_START = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__package__}.worker import main; main()"


class Trainer:
    """Trains a network in a process of its own, which writes a run directory; see `tensorview.runs.Run` for reading it.

        trainer = Trainer("runs/lab", data="digits", architecture="lenet5")
        trainer.start()

    Every method returns at once and may be called from any thread; what came of it is told by `status`. If the process
    ends in whatever way, `status` says so, what was recorded stays, and `reset` starts another.

    Args:
        path: the run directory.
        data: one of `DATA`, or a folder with a folder of images for each class.
        architecture: one of `ARCHITECTURES`.
        hyper: the hyperparameters to begin with; the usual ones of the data by default.
        model_spec: a model of one's own, as `tensorview.opening.open_model` takes it, instead of `architecture`.
        weights: a file of weights to begin with, instead of fresh ones.
        trust: load weights or a model from a file that can run code.
        input_shape: (C, H, W) of one input of `model_spec`, where the model does not take the data's own.
        seed: of the weights and of the order of the examples.
        device: where to train, as torch names it; a GPU if there is one.
        on_status: called with every new status, in a thread of its own.

    Attributes:
        status: what the trainer last said.
        run_path: the run directory; there is no run in it until the state is "ready".

    Raises:
        OpenError: there are no such data or no such architecture.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        data: str | os.PathLike[str] = "digits",
        architecture: str = "lenet5",
        hyper: Hyperparameters | None = None,
        *,
        model_spec: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        trust: bool = False,
        input_shape: Sequence[int] | None = None,
        seed: int = 0,
        device: str | None = None,
        on_status: Callable[[Status], None] | None = None,
    ) -> None:
        check_data(os.fspath(data))
        check_architecture(architecture)
        name = architecture if model_spec is None else own_name(model_spec)
        shape = None if input_shape is None else tuple(input_shape)
        given = None if weights is None else os.fspath(weights)
        self.run_path = Path(path)
        self._recipe = Recipe(name, model_spec, given, trust, shape, seed)
        self._device, self._on_status = device, on_status
        self._lock = threading.RLock()
        self._pending: dict[int, Future[Any]] = {}
        self._asked = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: threading.Thread | None = None
        self._closed = False
        self.status = Status(architecture=name, data=os.fspath(data), hyper=hyper or usual(os.fspath(data)))
        self._spawn()

    # Commands ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Train until `pause`; where it trains already, nothing changes."""
        self._say({"say": "start"})

    def pause(self) -> None:
        """Stop after the batch in hand, record the step that was reached, and judge the network on held-out data."""
        self._say({"say": "pause"})

    def step(self) -> None:
        """Learn from one batch, record it, and pause."""
        self._say({"say": "step"})

    def reset(self, architecture: str | None = None, data: str | os.PathLike[str] | None = None) -> None:
        """Begin anew with fresh weights, perhaps with another network or other data. The run moves aside.

        The weights are those of the first beginning, since the seed is. A trainer whose process ended starts another.
        Where the other network or data turn out not to be possible, the status says so and nothing has changed.

        Raises:
            OpenError: there is no such architecture, or there are no such data.
        """
        if data is not None:
            check_data(os.fspath(data))
        if architecture is not None:
            self._recipe.with_architecture(architecture)
        with self._lock:
            if self._closed:
                return
            if self._process is None:
                self._recipe = self._recipe.with_architecture(architecture or self.status.architecture)
                before = self.status.data
                after = before if data is None else os.fspath(data)
                self.status = replace(
                    self.status,
                    architecture=self._recipe.architecture,
                    data=after,
                    hyper=on_other_data(self.status.hyper, before, after),
                )
                self._spawn()
                return
        self._say({"say": "reset", "architecture": architecture, "data": None if data is None else os.fspath(data)})

    @property
    def own_model(self) -> str | None:
        """What a person's own model is called among the architectures; `None` where there is none."""
        return None if self._recipe.model_spec is None else own_name(self._recipe.model_spec)

    def set(self, **hyper: Any) -> None:
        """Change hyperparameters from the next batch on: `set(learning_rate=0.01)`.

        Raises:
            OpenError: a value is not possible.
        """
        with self._lock:
            changed = self.status.hyper.changed(**hyper)
            count = self.status.train_examples
            if count and changed.batch_size > count:
                raise OpenError(
                    f"batch_size is {changed.batch_size:,}; {self.status.data} has {count:,} training examples."
                )
            self._say({"say": "set", "values": hyper})

    def probe(self, index: int | None = None, image: np.ndarray | None = None, label: int | None = None) -> None:
        """Look at something else from now on: the step that was reached is recorded anew, also while it is paused.

        Args:
            index: which held-out example.
            image: or a drawn image, (H, W) or (H, W, 3) uint8; of a digit 0 is paper and 255 ink.
            label: the true class of the image, where it is known.

        Raises:
            OpenError: there is no such example, or it is no image.
        """
        count = self.status.held_out_examples
        if image is None and index is not None and count and not 0 <= index < count:
            raise OpenError(f"There is no held-out example {index}; there are {count:,}, the first is 0.")
        message = {"say": "probe", "index": index, "label": label, "shape": None}
        if image is None:
            self._say(message)
            return
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
            raise OpenError(f"The image is {image.dtype} of shape {image.shape}; it is uint8 of (H, W) or (H, W, 3).")
        self._say({**message, "shape": image.shape}, image.tobytes())

    def save(self) -> Future[bytes]:
        """A checkpoint: weights, the optimiser's state, step and hyperparameters, as the bytes of a safetensors file.

        The future raises OpenError where there is nothing to save, or the trainer's process has ended.
        """
        return self._ask({"say": "save"})

    def load(self, content: bytes) -> Future[None]:
        """Go on from a checkpoint, paused, in a new run whose first step is the checkpoint's.

        The future raises OpenError where the content is no checkpoint or does not fit; then nothing has changed.
        """
        return self._ask({"say": "load"}, bytes(content))

    def close(self) -> None:
        """End the process; the step that was reached is recorded. As often as wanted.

        It also ends when this process does. Used as a context, the end is waited for.
        """
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            self._outbox.put(None)
            self._ending = threading.Thread(target=self._end, args=(process,), daemon=True)
            self._ending.start()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
        if self._ending is not None:
            self._ending.join()

    def __repr__(self) -> str:
        now = self.status
        return f"<Trainer of {now.architecture} on {now.data}: {now.state}, step {now.step}>"

    # The process ---------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        command = [sys.executable, "-c", _START, json.dumps(sys.path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._outbox: queue.Queue[tuple[dict[str, Any], bytes | None] | None] = queue.Queue()
        self._process = process
        threading.Thread(target=self._write, args=(process, self._outbox), daemon=True).start()
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        configuration = {
            "say": "configure",
            "path": str(self.run_path),
            "recipe": asdict(self._recipe),
            "data": self.status.data,
            "hyper": self.status.hyper.as_dict(),
            "device": self._device,
        }
        self._say(configuration)

    def _say(self, message: dict[str, Any], content: bytes | None = None) -> None:
        with self._lock:
            if self._process is not None:
                self._outbox.put((message, content))

    def _ask(self, message: dict[str, Any], content: bytes | None = None) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._lock:
            if self._process is None:
                answer.set_exception(OpenError("The trainer has ended: reset it first."))
                return answer
            self._asked += 1
            self._pending[self._asked] = answer
            self._say({**message, "answer": self._asked}, content)
        return answer

    @staticmethod
    def _write(process: subprocess.Popen[bytes], outbox: queue.Queue[Any]) -> None:
        """Hand on what is said; a full pipe lets this thread wait, and nobody else."""
        assert process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            while (said := outbox.get()) is not None:
                write_message(process.stdin, *said)
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while (said := read_message(process.stdout)) is not None:
                self._heard(*said)
        process.wait()
        process.stdout.close()
        self._over(process)

    def _heard(self, message: dict[str, Any], content: bytes) -> None:
        if message["say"] == "status":
            self._now(Status.from_json(message["status"]))
            return
        answer = self._pending.pop(message["answer"], None)
        if answer is None:
            return
        with contextlib.suppress(InvalidStateError):  # nobody waits for it any more
            if message["say"] == "refused":
                answer.set_exception(OpenError(message["why"]))
            else:
                answer.set_result(content if message["say"] == "saved" else None)

    def _over(self, process: subprocess.Popen[bytes]) -> None:
        """Say that the process has ended, and whether it should have."""
        with self._lock:
            expected = self._closed
            if self._process is process:
                self._process = None
                self._outbox.put(None)
            pending, self._pending = self._pending, {}
        why = "The trainer has ended: reset it first."
        for answer in pending.values():
            with contextlib.suppress(InvalidStateError):
                answer.set_exception(OpenError(why))
        if expected:
            self._now(replace(self.status, state="ended", message="", progress=None))
            return
        code = process.returncode
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        at = f" at step {self.status.step:,}" if self.status.step else ""
        message = (
            f"The trainer's process ended unexpectedly, {how}{at}: what was recorded is kept, and reset starts anew."
        )
        self._now(replace(self.status, state="failed", message=message, progress=None))

    def _now(self, status: Status) -> None:
        self.status = status
        if self._on_status is None:
            return
        try:
            self._on_status(status)
        except Exception:  # the trainer would wait for ever for somebody who reads
            logging.getLogger(__name__).exception("on_status raised")

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
