"""The training lab: a recorded session whose run a trainer is writing, and what a person does to that trainer."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..capture import Trace
from ..errors import TensorviewError
from ..runs import Run
from ..scene import Look
from ..training import ARCHITECTURES, DATA, Data, Status, Trainer, open_data
from ..training.checkpoint import read_checkpoint
from .evaluated import place, sheet_of
from .handover import File
from .lab_words import described, title_of, tried
from .recorded import RecordedSession
from .session import MOST_PAD_CELLS, Shown
from .validators import Validator, choice, data, fields, integer, number, text

if TYPE_CHECKING:
    from .explorer import Explorer

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
SHOWN = 18
NO_EXAMPLES: dict[str, Any] = {"text": "", "shown": [], "sheet": {"picture": "", "columns": 1, "rows": 1}}
MOST_CHECKPOINT_BYTES = 512 * 2**20
TRIGGERS: dict[str, tuple[Validator, ...]] = {
    "lab_start": (),
    "lab_pause": (),
    "lab_step": (),
    "lab_reset": (),
    "lab_data": (text(1000),),
    "lab_architecture": (text(300),),
    "lab_set": (
        choice(
            "learning_rate", "momentum", "weight_decay", "batch_size", "label_smoothing", "cycle", "every", "optimizer"
        ),
        text(30),
    ),
    "lab_probe": (integer(0, 10**9),),
    "lab_others": (),
    "lab_pad_ready": (),
    "lab_drawn": (data(MOST_PAD_CELLS * MOST_PAD_CELLS), fields(seq=integer(0, 2**53), t=number(0, 1e15))),
    "lab_save": (),
    "lab_load": (),
}


class LabSession(RecordedSession):
    """The run that a trainer is writing.

    Args:
        trainer: has data and a network, so that the run has its first step or is about to have it.
        look: how the scene looks.
        open: layers and modules to open, by name.

    Raises:
        OpenError: no step was recorded.
        SceneError: there is no layer or module of a name.
    """

    def __init__(self, trainer: Trainer, look: Look | None = None, open: str | Iterable[str] | None = None) -> None:
        self.trainer = trainer
        self._loaded_probe: tuple[int | None, int | None] = (None, None)
        self._index: int | None
        super().__init__(Run.open(trainer.run_path), look, open=open)
        self._index, self.truth = self._loaded_probe

    @property
    def paths(self) -> tuple[str | os.PathLike[str], ...]:
        return (*super().paths, self.trainer.run_path, self.trainer.status.data)

    @property
    def is_running(self) -> bool:
        return self.trainer.status.state == "running"

    @property
    def is_drawn(self) -> bool:
        return self._index is None

    def run(self, x: Any) -> tuple[Trace, str]:
        """The trace of step `x`, and which probe it is of."""
        self._loaded_probe = self._probe_of(x)
        return super().run(x)

    def show(self, trace: Trace, failure: str = "") -> Shown:
        """Take a step's trace into the scene, and the truth of its probe with it."""
        self._index, self.truth = self._loaded_probe
        return super().show(trace, failure)

    def _probe_of(self, step: int) -> tuple[int | None, int | None]:
        """Index and class of the held-out example that a step was recorded with; `None` for what is not known."""
        first = self.recording.about.get("probe", {})
        changed = self.recording.metrics.at(step)
        found = [changed.get(f"probe_{name}", first.get(name)) for name in ("index", "label")]
        index, label = (None if value is None or value < 0 else int(value) for value in found)
        return index, label

    @property
    def pad(self) -> tuple[int, int] | None:
        """Height and width of a drawing that can be the probe; `None` where the network takes no small grey image."""
        shape = self.scene.trace.inputs[0].shape if self.scene.trace.inputs else ()
        return shape[1:] if len(shape) == 3 and shape[0] == 1 and max(shape[1:]) <= MOST_PAD_CELLS else None

    @property
    def weight_count(self) -> int | None:
        """How many parameters the network has, those of a shared module once; `None` while its layers are not shown."""
        if self._content_shown not in ("activations", "activation_gradients"):
            return None
        return sum({layer.module_name: layer.info.parameter_count for layer in self.scene.trace.layers}.values())


class Lab:
    """The trainer on an explorer's page: commands from the page, words about it to the page."""

    def __init__(self, explorer: Explorer, session: LabSession) -> None:
        self._explorer, self._session, self._trainer = explorer, session, session.trainer
        self._fields = 0  # grows when a field must show again what holds
        self._data: Data | None = None
        self._data_of = ""
        self._tried: list[dict[str, Any]] = []
        self._run = ""
        self._said: tuple[Any, Any] = (None, None)
        self._random = np.random.default_rng(0)
        state = explorer.state
        names = dict(ARCHITECTURES)
        if self._trainer.own_model:
            names = {self._trainer.own_model: self._trainer.own_model, **names}
        state.lab_architecture_items = [{"title": title, "value": name} for name, title in names.items()]
        # By its name: a folder's path stays on this side.
        self._named = {title_of(spec): spec for spec in (self._trainer.status.data, *DATA)}
        state.lab_data_items = list(self._named)
        state.lab_examples = NO_EXAMPLES
        state.panel = "data"
        self._describe()
        explorer.words.tellers.append(self._describe)
        for name, validators in TRIGGERS.items():
            explorer.ctrl.trigger(name)(getattr(self, name))
            explorer.policy.trigger(name, *validators)
        explorer.ctrl.on_server_ready.add(lambda **_: self._begin())
        explorer.ctrl.on_server_exited.add(lambda **_: self._trainer.close())

    # What a person does --------------------------------------------------------------------------------------------

    def lab_start(self) -> None:
        self._ask(self._trainer.start)
        self._explorer.timeline.timeline_live(True)

    def lab_pause(self) -> None:
        self._ask(self._trainer.pause)

    def lab_step(self) -> None:
        self._ask(self._trainer.step)
        self._explorer.timeline.timeline_live(True)

    def lab_reset(self) -> None:
        self._ask(self._trainer.reset)

    def lab_data(self, name: str) -> None:
        """Other data, one of the list: nothing that the page sends is taken for a path."""
        if name in self._named and self._named[name] != self._trainer.status.data:
            self._ask(partial(self._trainer.reset, data=self._named[name]))

    def lab_architecture(self, name: str) -> None:
        if name != self._trainer.status.architecture:
            self._ask(partial(self._trainer.reset, architecture=name))

    def lab_set(self, name: str, typed: str) -> None:
        """A hyperparameter as it was typed."""
        said = decimal(typed)
        value = _number(said)
        self._ask(lambda: self._trainer.set(**{name: said if value is None else value}))
        self._fields += 1
        self._describe()

    def lab_probe(self, index: int) -> None:
        """Look at a held-out example, which the pad then shows."""
        self._ask(partial(self._trainer.probe, index=index))
        if self._data is not None and self._session.pad is not None and index < len(self._data.held_out):
            picture = self._data.held_out.pictures([index])[0]
            if picture.shape == self._session.pad:
                self._explorer.server.js_call("pad", "load", picture.tobytes())

    def lab_pad_ready(self) -> None:
        """Let a pad that has just come show the probe."""
        preview = self._session.preview
        if preview is not None and preview.shape == self._session.pad:
            self._explorer.server.js_call("pad", "load", preview.tobytes())

    def lab_others(self) -> None:
        """Other examples to choose from."""
        self._show_examples()

    def lab_drawn(self, raster: bytes, stamp: dict[str, Any]) -> None:
        """Look at a drawing."""
        pad = self._session.pad
        if pad is None or len(raster) != pad[0] * pad[1]:
            return  # of a network that was there before
        self._ask(partial(self._trainer.probe, image=np.frombuffer(raster, np.uint8).reshape(pad)))

    async def lab_save(self) -> dict[str, str] | None:
        status = self._trainer.status
        content = await self._answer(self._trainer.save)
        if content is None:
            return None
        step = read_checkpoint(content).step  # training may have gone on meanwhile
        name = f"{status.architecture.replace(':', '-')}-{step:08d}.safetensors"
        return self._explorer.handover.offer(File(name, "application/octet-stream", content))

    def lab_load(self) -> dict[str, str]:
        """Where the page may send a checkpoint to go on from."""
        return self._explorer.handover.expect(MOST_CHECKPOINT_BYTES, self._load)

    async def _load(self, content: bytes) -> None:
        await self._answer(partial(self._trainer.load, content))
        self._explorer.state.flush()

    def _ask(self, command: Callable[[], Any]) -> None:
        try:
            command()
        except TensorviewError as error:
            self._explorer.say(str(error))

    async def _answer(self, command: Callable[[], Future[Any]]) -> Any:
        """What the trainer answers; `None` where it refuses, which the page then says."""
        try:
            return await asyncio.wrap_future(command())
        except TensorviewError as error:
            self._explorer.say(str(error))
            return None

    # Following -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Tell the page what the trainer says, and what it trains on."""
        while True:
            try:
                self._look()
            except Exception:  # the next look may go well; this page has no other
                logger.exception("A look at a trainer failed")
            await asyncio.sleep(POLL_SECONDS)

    def _look(self) -> None:
        status = self._trainer.status
        progress, rest = self._seen(status)
        if rest != self._said[1]:
            self._explorer.words.tell()
        elif progress != self._said[0]:
            self._explorer.timeline.tell()
        self._said = progress, rest
        if status.class_names and status.data != self._data_of:
            self._data_of = status.data
            self._loading = asyncio.get_running_loop().create_task(self._load_data(status.data))

    def _seen(self, status: Status) -> tuple[Any, Any]:
        """What there is to say: how far training has come, and the rest, which is said at once."""
        session = self._session
        progress = status.step, status.examples, session.step, self._explorer.timeline.newest
        rest = replace(status, step=0, examples=0, epoch=0.0)
        return progress, (rest, session.recording.about.get("id"), session.scene.trace.model_name)

    async def _load_data(self, spec: str) -> None:
        """The examples to choose from; the trainer has loaded, and perhaps downloaded, the same before."""
        self._data = None
        self._explorer.state.lab_examples = {**NO_EXAMPLES, "text": "The examples are loaded …"}
        self._explorer.state.flush()
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(None, open_data, spec)
        except TensorviewError as error:
            self._explorer.say(str(error))
            return
        if spec != self._data_of:
            return  # other data have been chosen meanwhile
        self._data = loaded
        self._show_examples()
        self._explorer.state.flush()

    # What the page says --------------------------------------------------------------------------------------------

    def _show_examples(self) -> None:
        if self._data is None:
            return
        held_out = self._data.held_out
        count = min(SHOWN, len(held_out))
        chosen = np.sort(self._random.choice(len(held_out), count, replace=False))
        labels = [int(label) for label in held_out.labels[chosen]]
        names = self._data.class_names
        self._explorer.state.lab_examples = {
            "text": f"{len(self._data.train):,} to learn from, {len(held_out):,} held out, {len(names)} classes.",
            "shown": [
                {"index": int(i), "place": k, "name": names[label], **place(k)}
                for k, (i, label) in enumerate(zip(chosen, labels, strict=True))
            ],
            "sheet": sheet_of(held_out.pictures(chosen)),
        }

    def _describe(self) -> None:
        status = self._trainer.status
        self._keep_tried()
        said, told = described(status, self._explorer.timeline.newest), self._explorer.told
        self._explorer.state.lab = {
            **said,
            "message": told(said["message"]),
            "warnings": [told(warning) for warning in said["warnings"]],
            "fields": self._fields,
            "pad": self._session.pad,
            "pad_hint": "Draw a digit" if all(name.isdigit() for name in status.class_names) else "Draw",
            "tried": self._tried,
        }

    def _keep_tried(self) -> None:
        """The networks that were trained, each with what it has reached; the last is the one that is trained now."""
        about = self._session.recording.about
        if about.get("id") != self._run:
            self._run = str(about.get("id"))
            if self._tried and self._tried[-1]["steps"] == "0":
                self._tried = self._tried[:-1]
            self._tried = [*self._tried, {}]
        count = self._session.weight_count
        weights = self._tried[-1].get("weights", "") if count is None else f"{count:,}"
        timeline = self._explorer.timeline
        self._tried = [*self._tried[:-1], {**tried(about, timeline.last, timeline.newest), "weights": weights}]


def decimal(typed: str) -> str:
    """A number as Python reads it: `1000` for `1,000`, `0.5` for `0,5`."""
    said = typed.strip()
    return said.replace(",", "" if THOUSANDS.fullmatch(said) else ".")


def _number(typed: str) -> float | None:
    try:
        return float(typed)
    except ValueError:
        return None
