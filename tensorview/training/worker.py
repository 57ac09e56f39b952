"""The trainer's own process: `python -m tensorview.training.worker`, commands on its input, what it says on its output.

It ends by itself when its input does, so that nothing trains on for a page that is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from ..errors import OpenError, TensorviewError
from .building import Recipe
from .checkpoint import Checkpoint, read_checkpoint
from .data import Data, open_data
from .hyperparameters import Hyperparameters, on_other_data
from .inbox import Inbox
from .loop import Loop
from .messages import Status, read_message, write_message

SAY_EVERY = 0.1  # seconds between two words of a training that runs
LOST = "Recording has ended, as when a disk is full: training goes on unseen, and a reset records again."
GRACE = 5.0  # seconds that a trainer whose page is gone has to finish what it is doing


class Worker:
    """Carries out commands, and trains in between.

    Args:
        commands: the pipe that they come from.
        answers: the pipe that status and checkpoints go to.
    """

    def __init__(self, commands: BinaryIO, answers: BinaryIO) -> None:
        self._pipe, self._answers = commands, answers
        self._commands = Inbox()
        self._gone = False
        self._status = Status()
        self._said = 0.0
        self._running = False
        self._loop: Loop | None = None
        self._data: Data | None = None
        self._data_name = ""
        self._recipe = Recipe()
        self._hyper = Hyperparameters()
        self._path = Path()
        self._device: str | None = None

    def run(self) -> None:
        """Until the page is gone, or says so."""
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            while not self._gone and self._take():
                self._train()
        finally:
            if self._loop is not None:
                self._loop.close()

    # Commands ------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while (command := read_message(self._pipe)) is not None:
            self._commands.put(command)
        self._gone = True
        self._commands.put(None)
        time.sleep(GRACE)  # a download, say, does not look up
        os._exit(1)

    def _take(self) -> bool:
        """Carry out the commands that have come, and wait for one while nothing trains; returns whether to go on."""
        while not (self._running and self._commands.empty()):
            command = self._commands.get()
            if command is None:
                return False
            self._do(*command)
        return True

    def _do(self, message: dict[str, Any], content: bytes) -> None:
        name = message.pop("say")
        try:
            getattr(self, f"_on_{name}")(message, content)
        except TensorviewError as error:
            self._refused(str(error), message)
        except MemoryError:
            self._refused("The machine has not enough memory for this: take a smaller batch or other data.", message)
        except Exception as error:
            self._refused(f"{type(error).__name__}: {error}".replace("\n", " "), message)

    def _refused(self, why: str, message: dict[str, Any]) -> None:
        """Say why something was not done; training stays as it was."""
        if "answer" in message:
            write_message(self._answers, {"say": "refused", "answer": message["answer"], "why": why})
        self._tell(message=why, progress=None, state=self._state() if self._loop is not None else "failed")

    def _on_configure(self, message: dict[str, Any], content: bytes) -> None:
        shape = message["recipe"].pop("input_shape")
        self._recipe = Recipe(**message["recipe"], input_shape=None if shape is None else tuple(shape))
        self._hyper, self._data_name = Hyperparameters(**message["hyper"]), message["data"]
        self._path, self._device = Path(message["path"]), message["device"]
        self._begin(self._recipe, self._data_name)

    def _on_start(self, message: dict[str, Any], content: bytes) -> None:
        if self._loop is not None and not self._running:
            self._running = True
            self._tell(state="running", message="")

    def _on_pause(self, message: dict[str, Any], content: bytes) -> None:
        if self._running:
            self._pause()

    def _on_step(self, message: dict[str, Any], content: bytes) -> None:
        if self._loop is None:
            return
        self._running = False
        self._learn(self._loop)
        self._loop.recorder.record()
        self._loop.evaluate_when_due()
        self._tell(state="paused", message=self._holds)

    def _on_reset(self, message: dict[str, Any], content: bytes) -> None:
        name = message["architecture"]
        recipe = self._recipe if name is None else self._recipe.with_architecture(name)
        self._begin(recipe, self._data_name if message["data"] is None else message["data"])

    def _on_set(self, message: dict[str, Any], content: bytes) -> None:
        if self._loop is not None:
            self._loop.set(**message["values"])
            self._hyper = self._loop.hyper
        else:
            self._hyper = self._hyper.changed(**message["values"])
        self._tell(message=self._holds)

    def _on_probe(self, message: dict[str, Any], content: bytes) -> None:
        if self._loop is None:
            return
        shape = message["shape"]
        image = None if shape is None else np.frombuffer(content, np.uint8).reshape(shape).copy()
        self._loop.look_at(message["index"], image, message["label"])
        self._tell(message=self._holds)

    def _on_save(self, message: dict[str, Any], content: bytes) -> None:
        if self._loop is None:
            raise OpenError("There is nothing to save yet.")
        write_message(self._answers, {"say": "saved", "answer": message["answer"]}, self._loop.checkpoint())

    def _on_load(self, message: dict[str, Any], content: bytes) -> None:
        if self._loop is None or self._data is None:
            raise OpenError("There is no network yet that the checkpoint could be loaded into.")
        checkpoint = read_checkpoint(content)
        architecture = checkpoint.architecture or self._recipe.architecture
        if architecture not in self._recipe.names:
            raise OpenError(
                f"The checkpoint is of {architecture}; those of {', '.join(self._recipe.names)} can be loaded here."
            )
        recipe = self._recipe.with_architecture(architecture)
        self._renew(recipe, self._data, checkpoint.hyper or self._hyper, checkpoint)
        write_message(self._answers, {"say": "loaded", "answer": message["answer"]})
        self._tell(state="paused", message="")

    # Training ------------------------------------------------------------------------------------------------------

    def _begin(self, recipe: Recipe, name: str) -> None:
        """A network with fresh weights, on data that are loaded unless they are there."""
        hyper = on_other_data(self._hyper, self._data_name, name)
        if self._loop is None:  # then it is said what does not begin
            self._recipe, self._data_name, self._hyper = recipe, name, hyper
        data = self._data
        if data is None or name != self._data_name:
            self._tell(state="loading", message="", progress=None)
            data = open_data(name, self._progress)
        self._renew(recipe, data, hyper)
        self._data, self._data_name = data, name
        self._tell(state="ready", message=" ".join(data.notes), progress=None)

    def _renew(self, recipe: Recipe, data: Data, hyper: Hyperparameters, checkpoint: Checkpoint | None = None) -> None:
        """Another loop in the same directory; if it cannot be, the old one goes on."""
        model, fitted = recipe.build(data)
        old, probe = self._loop, None
        if old is not None and (old.data.name, old.data.input_spec) == (fitted.name, fitted.input_spec):
            probe = old.probe
        self._loop = Loop(
            self._path,
            fitted,
            recipe,
            hyper,
            model=model,
            probe=probe,
            checkpoint=checkpoint,
            device=self._device,
            instead_of=old,
        )
        self._recipe, self._hyper, self._running = recipe, hyper, False

    def _progress(self, share: float | None, what: str) -> None:
        self._tell(state="loading", message=what, progress=share)

    def _train(self) -> None:
        """One batch, and what comes after it."""
        loop = self._loop
        if loop is None:
            return
        try:
            self._learn(loop)
            if self._running:
                loop.evaluate_when_due(lambda: not self._commands.empty())
        except Exception as error:  # a model of somebody else's can fail at any batch
            self._running = False
            self._tell(state="paused", message=f"{type(error).__name__}: {error}".replace("\n", " "))
            return
        if time.monotonic() - self._said >= SAY_EVERY:
            self._tell()

    def _learn(self, loop: Loop) -> None:
        loop.batch()
        if loop.halted:
            self._running = False
            loop.evaluate()
            self._tell(state="paused", message=loop.halted)

    def _pause(self) -> None:
        self._running = False
        self._tell(state="paused", message=self._holds)
        if self._loop is not None:
            self._loop.recorder.record()
            self._loop.evaluate(whole=True, stop=lambda: not self._commands.empty())
            self._tell()

    # Answers -------------------------------------------------------------------------------------------------------

    def _state(self) -> str:
        if self._running:
            return "running"
        return "ready" if self._loop is not None and self._loop.step == 0 else "paused"

    @property
    def _holds(self) -> str:
        """What there still is to say when a command has been carried out."""
        return self._status.message if self._loop is None else self._loop.halted

    def _tell(self, **changes: Any) -> None:
        """Say how it stands."""
        loop = self._loop
        known: dict[str, Any] = {"architecture": self._recipe.architecture, "data": self._data_name}
        if loop is not None:
            known |= {
                "step": loop.step,
                "examples": loop.examples,
                "epoch": loop.epoch,
                "warnings": loop.warnings if loop.recorder.is_recording else (*loop.warnings, LOST),
                "train_examples": len(loop.data.train),
                "held_out_examples": len(loop.data.held_out),
                "class_names": loop.data.class_names,
                "probe_index": loop.probe.index,
                "probe_label": loop.probe.label,
            }
        self._status = replace(self._status, **{**known, "hyper": self._hyper, **changes})
        self._said = time.monotonic()
        try:
            write_message(self._answers, {"say": "status", "status": self._status.as_json()})
        except (OSError, ValueError):
            self._gone = True


def threads() -> int:
    """Threads of a trainer's forward and backward passes: all processors but one, which the page needs."""
    return (
        max(1, len(os.sched_getaffinity(0)) - 1)
        if hasattr(os, "sched_getaffinity")
        else max(1, (os.cpu_count() or 2) - 1)
    )


def main(bounded: Callable[[int], None] = torch.set_num_threads) -> None:
    """Run the worker on this process's input and output; what else prints goes to its errors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the page, which then closes the pipe
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    bounded(threads())
    Worker(sys.stdin.buffer, answers).run()


if __name__ == "__main__":
    main()
