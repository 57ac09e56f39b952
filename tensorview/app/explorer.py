"""The page: what happens when a person does something on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from trame.app import TrameApp

from ..errors import SceneError, TensorviewError
from ..opening import open_image
from ..scene import Camera, Scene
from ..stage.stage import Stage
from . import rules, texts, wire
from .downloads import picture_file, scene_file
from .handover import Handover
from .lab import Lab, LabSession
from .layout import LOST, build_layout
from .paths import without_paths
from .recorded import RecordedSession
from .session import Session
from .timeline import Timeline
from .words import Words

logger = logging.getLogger(__name__)

T = TypeVar("T")
MOST_BARS = 10
MOST_LOGGED = 200
SLOW_PASS = 0.7  # seconds from which on the page says that the model runs
LOOKS = ("theme", "encoding", "scaling", "aggregate", "arrangement", "sort", "most_maps")


class Explorer(TrameApp):
    """One model on one page.

    Args:
        server: a trame server of its own, from `make_server`.
        session: what the page shows.
    """

    def __init__(self, server: Any, session: Session) -> None:
        super().__init__(server)
        self.session = session
        self.serial = 1
        self.hovered: Any = None
        self.handover = Handover()
        self.words = Words(self._describe_values, self.state.flush)
        self._logged: set[str] = set()
        self._complaint = ""  # what was last said of an input
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="tensorview-forward")
        self._passes = asyncio.Lock()
        self._completing = False
        self._stage = Stage(session.scene)
        self._fill_state()
        self.policy = rules.policy()
        for name in rules.TRIGGERS:
            self.ctrl.trigger(name)(getattr(self, name))
        self.state.change(*LOOKS)(self._look_changed)
        self.state.change("show_field")(lambda **_: self._read_out())
        if isinstance(session, RecordedSession):
            self.timeline = Timeline(self, session)
        if isinstance(session, LabSession):
            self.lab = Lab(self, session)
        build_layout(self, self._stage)

    def _fill_state(self) -> None:
        session, state = self.session, self.state
        subject, look = session.subject, session.scene.look
        state.trame__template_error = LOST
        state.update({name: getattr(look, name) for name in LOOKS})
        state.update(rules.DEFAULTS)
        state.panel = "input" if session.takes_pictures or subject.samples else "layers"
        state.theme = session.scene.theme.name
        state.update({"card": None, "readout": None, "message": "", "busy": "", "selected": "", "preview": ""})
        self._describe()
        if session.failure:
            state.message = self.told(session.failure)

    # What the page says --------------------------------------------------------------------------------------------

    def _describe(self) -> None:
        """Put into words what the scene now shows."""
        state, scene, subject = self.state, self.session.scene, self.session.subject
        state.model_title = subject.title or subject.name
        state.trame__title = f"{state.model_title} · tensorview"
        state.layers = texts.layer_rows(scene)
        state.legend = [{"kind": kind, "hue": texts.css_colour(hue)} for kind, hue in scene.legend()]
        self._describe_values()

    def _describe_values(self) -> None:
        session, state = self.session, self.state
        state.failure = self.told(session.failure)
        self.describe_notes()
        names = session.scene.look.class_names
        best = session.predictions(5)
        every = sorted(session.predictions(len(names)), key=lambda p: p.index) if 0 < len(names) <= MOST_BARS else best
        asks = texts.asks_for_input(session, names) if session.is_blank else ""
        state.prediction = texts.prediction(best, every, session.truth, names, asks, session.is_drawn)
        state.preview = texts.data_url(session.preview)
        if state.selected and (layer := session.layer(state.selected)) is not None:
            state.card = texts.card(layer)
        self._read_out()

    def describe_notes(self) -> None:
        """What was found about the model, and what is not kept of it."""
        self.state.notes = [self.told(note) for note in self.session.scene.trace.warnings]

    def _describe_bar(self) -> None:
        """The colour bar of the layer that is pointed at, else of the selected one."""
        name = self.state.selected if self.hovered is None else self.hovered.layer
        self.state.bar = texts.colour_bar(self.session.scene, name)

    def _read_out(self) -> None:
        self._describe_bar()
        if self.hovered is None:
            self.state.readout = None
            return
        said = texts.readout(self.session.scene, self.hovered)
        seen = texts.field_text(self.session.scene, self.hovered) if self.state.show_field else ""
        self.state.readout = {**said, "text": f"{said['text']} · {seen}" if seen else said["text"]}

    def say(self, message: str) -> None:
        """Show a sentence on the page."""
        self.state.message = ""
        self.state.flush()
        self.state.message = self.told(message)

    def told(self, sentence: str) -> str:
        """A sentence as the page may have it, without paths; the log has it whole, once."""
        short = without_paths(sentence, self.session.paths)
        if short != sentence and sentence not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(sentence)
            logger.warning("%s", sentence)
        return short

    # Sending -------------------------------------------------------------------------------------------------------

    def publish(self, message: dict[str, Any]) -> None:
        """Send a message to every page that shows this session."""
        if self.server.protocol is not None:
            self.server.protocol.publish(wire.TOPIC, message)

    def _scene_changed(self, old: Scene, milliseconds: int | None = None) -> None:
        """Send the session's new scene, moving from the old one."""
        self.serial += 1
        duration = int(self.state.animation) if milliseconds is None else milliseconds
        message = wire.scene_message(self.session.scene, self.serial, selected=self.session.selected)
        self.hovered = None
        self.publish(wire.with_animation(message, old, self.session.scene, duration))
        self._close_card_of_hidden()
        self._describe()
        self._complete()

    def _close_card_of_hidden(self) -> None:
        """Close the card of what has gone into a closed module; one that is open itself keeps its card."""
        name, scene = self.state.selected, self.session.scene
        shown = {item.name for item in scene.placements} | {rail.name for rail in scene.rails}
        if name and name == self.session.selected and name not in shown:
            self.session.select("")
            self.state.update({"selected": "", "card": None})

    async def in_worker(self, function: Callable[[], T]) -> T:
        """Call a function in the worker's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

    async def show(
        self,
        make_input: Callable[[], Any],
        t: float = 0.0,
        ack: bool = False,
        describe: Callable[[], None] | None = None,
    ) -> bool:
        """Show a new input.

        Args:
            make_input: gives the input; called, like the forward pass, in the worker's thread.
            t: time of the pointer event that caused it, on the page's clock; 0 for none.
            ack: whether the page is to say when it has drawn it.
            describe: puts what is shown into words; by default what it shows at once.

        Returns:
            Whether it is shown; if not, the page says why.
        """
        async with self._passes:
            try:
                trace, failure = await self.in_worker(lambda: self.session.run(make_input()))
            except TensorviewError as error:
                self._complain(str(error))
                return False
            if self._complaint and self.state.message == self._complaint:
                self.state.message = ""  # of an input that is gone
            old = self.session.scene
            shown = self.session.show(trace, failure)
            if shown.patches is None:
                self._scene_changed(old, 0)
                if describe is not None:
                    describe()
            else:
                (describe or self._describe_values)()
                self.publish(wire.patches_message(shown.patches, self.serial, t, ack))
                self.state.flush()  # right behind it, for the same frame
            if failure:
                self._complain(failure)
            return True

    def _complain(self, message: str) -> None:
        """Say what is wrong with an input, until one comes that is right."""
        self.say(message)
        self._complaint = self.state.message

    def _complete(self) -> None:
        """Run the model on its input again, where what is now shown was not kept."""
        if self.session.lacks and not self._completing:
            self._completing = True
            self._task = asyncio.get_running_loop().create_task(self._run_again())

    async def _run_again(self) -> None:
        if self.session.seconds > SLOW_PASS:
            self.state.busy = "Running the model again for what has been opened …"
            self.state.flush()
        try:
            while self.session.lacks and await self.show(lambda: self.session.x):
                self.state.flush()
        finally:
            self._completing = False
            self.state.busy = ""
            self.state.flush()

    # The stage -----------------------------------------------------------------------------------------------------

    def stage_sync(self, size: list[float]) -> dict[str, Any]:
        camera = self.camera or self.session.first_camera(*size)
        home = self.camera is None and self.session.camera is None
        return {**self._whole_scene(camera), "home": home}

    def _whole_scene(self, camera: Camera) -> dict[str, Any]:
        return wire.scene_message(self.session.scene, self.serial, camera, self.session.selected)

    def first_camera(self, size: list[float]) -> dict[str, Any]:
        return wire.camera_values(self.session.first_camera(*size))

    camera: Camera | None = None

    def camera_moved(self, camera: Camera | None) -> None:
        self.camera = camera

    def stage_hovered(self, spot: list[float], camera: Camera) -> dict[str, bytes] | None:
        scene = self.session.scene
        self.hovered = self.session.hit(camera, *spot)
        self._read_out()
        if self.hovered is None:
            return None
        field = scene.field_marks(self.hovered) if self.state.show_field else None
        return wire.hover_arrays(scene.outline(self.hovered), scene.feeding(self.hovered), scene, field)

    def pointer_left(self) -> None:
        self.hovered = None
        self._read_out()

    def stage_clicked(self, spot: list[float], camera: Camera) -> None:
        module = self.session.scene.pick_module(camera.ray(*spot))
        if module is not None:
            self.toggle_layer(module)
            return
        hit = self.session.hit(camera, *spot)
        if hit is not None:
            self.select_layer(hit.layer)
            self.toggle_layer(hit.layer)

    def go_home(self) -> None:
        """Let the next scene be seen from its first view."""
        self.camera = None
        self.publish({"kind": "home"})

    # Layers --------------------------------------------------------------------------------------------------------

    def toggle_layer(self, name: str) -> None:
        old = self.session.toggle(name)
        if old is not None:
            self._scene_changed(old)

    def hide_input(self, name: str) -> None:
        try:
            old = self.session.hide(name)
        except SceneError as error:
            self.say(f"Not hidden: {error}.")
        else:
            if old is not None:
                self._scene_changed(old)

    def open_all(self) -> None:
        self._scene_changed(self.session.open_all())

    def close_all(self) -> None:
        self._scene_changed(self.session.close_all())

    def select_layer(self, name: str) -> None:
        old = self.session.select(name)
        if old is not None:
            self._scene_changed(old)
        else:
            self.publish(wire.selected_message(self.session.scene, self.serial, name))
        layer = self.session.layer(name)
        self.state.selected = name if layer is not None else ""
        self.state.card = texts.card(layer) if layer is not None else None
        self._describe_bar()
        self._complete()

    def _look_changed(self, **_state: Any) -> None:
        chosen = {name: getattr(self.state, name) for name in LOOKS}
        look = self.session.scene.look
        if any(getattr(look, name) != value for name, value in chosen.items()):
            self._scene_changed(self.session.change(**chosen), 0)

    # Inputs --------------------------------------------------------------------------------------------------------

    async def pad_drawn(self, raster: bytes, stamp: dict[str, Any]) -> None:
        _, height, width = self.session.subject.input_spec.shape
        if len(raster) != height * width:
            self.say(f"The pad sent {len(raster)} cells; the model takes {height} x {width}.")
            return
        image = np.frombuffer(raster, np.uint8).reshape(height, width)
        prepare = bool(self.state.prepare)
        await self.show(lambda: self.session.prepare_image(image, prepare), stamp["t"])

    async def image_dropped(self, content: bytes, name: str) -> None:
        prepare = bool(self.state.prepare)
        if await self.show(lambda: self.session.prepare_image(open_image(content, name or "The image"), prepare)):
            self._load_pad()

    def image_refused(self, reason: str) -> None:
        self._complain(reason)

    async def show_sample(self, index: int) -> None:
        samples = self.session.subject.samples
        if index < len(samples) and await self.show(lambda: self.session.prepare_sample(samples[index])):
            self._load_pad()

    async def show_random(self) -> None:
        sample = self.session.subject.random_sample()
        if sample is None:
            self.say("This model has no examples to draw one from.")
        elif await self.show(lambda: self.session.prepare_sample(sample)):
            self._load_pad()

    async def clear_input(self) -> None:
        if await self.show(self.session.empty_input):
            self._load_pad()

    async def reset_all(self) -> None:
        """Empty the data, close what was opened, and go back to the first view."""
        await self.clear_input()
        self.go_home()
        self._scene_changed(self.session.reset_look())
        self.select_layer("")

    def pad_ready(self) -> None:
        self._load_pad()

    def _load_pad(self) -> None:
        """Let the pad show what the model has received."""
        preview = self.session.preview
        if self.session.takes_drawings:
            self.server.js_call("pad", "load", None if preview is None else preview.tobytes())

    # Files ---------------------------------------------------------------------------------------------------------

    async def picture(self, options: dict[str, Any], camera: Camera) -> dict[str, str] | None:
        self.state.busy = f"Drawing a picture of {options['width']} x {options['height']} pixels …"
        self.state.flush()
        await asyncio.sleep(0.05)
        try:
            return self.handover.offer(await self.in_worker(lambda: picture_file(self.session, options, camera)))
        except TensorviewError as error:
            self.say(str(error))
            return None
        finally:
            self.state.busy = ""

    def scene_saved(self, camera: Camera) -> dict[str, str]:
        if self.session.subject.origin is None:
            self.say("A scene file cannot name a model from Python: write its file, as net.py:Net, after model =.")
        return self.handover.offer(scene_file(self.session, camera))

    def close(self) -> None:
        """Let the worker end."""
        self._worker.shutdown(wait=False, cancel_futures=True)
