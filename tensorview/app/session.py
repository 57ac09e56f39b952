"""What one page shows: a model, its input, the trace and the scene. It knows nothing of trame or of a browser."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..capture import Layer, Trace
from ..classes import Prediction, ranked
from ..errors import CaptureError
from ..opening import Sample, Subject
from ..scene import Camera, Look, Patch, Ray, Scene
from ..scene.picking import Hit
from .passes import MEMORY, Passes, look_for

MOST_PAD_CELLS = 64


@dataclass(frozen=True, eq=False)
class Shown:
    """What a new input changed.

    Attributes:
        patches: the changed rectangles; `None` where the scene is another one and must be sent whole.
        failure: one sentence, where the forward pass raised and only what ran is shown.
    """

    patches: list[Patch] | None
    failure: str = ""


class Session:
    """A subject with an input in it.

    Args:
        subject: the model, its preprocessing and its class names.
        x: the first input with its batch dimension; by default a sample, or zeros where the model has none. Several
            inputs, a tuple or a dict as the model's `forward` takes them, stay as they are: no picture replaces them.
        look: how the scene looks.
        camera: where the page looks from at first; `None` for a view that has everything in frame.
        open: layers and modules to open, by name; `"*"` opens all.
        memory: how many bytes the values of a pass take at most. Those of a small network are all kept; of a large one
            only what is shown, and of closed boxes only the mean or the maximum of the maps.

    Attributes:
        selected: the layer or module whose card is shown, by name; empty for none. All of its values are kept.
        has_scene_file: whether a scene file can say what is shown.

    Raises:
        CaptureError: the forward pass raised before a layer had run.
        SceneError: there is no layer or module of a name.
    """

    has_scene_file = True

    def __init__(
        self,
        subject: Subject,
        x: Any = None,
        look: Look | None = None,
        camera: Camera | None = None,
        open: str | Iterable[str] | None = None,
        memory: int = MEMORY,
    ) -> None:
        self.subject = subject
        self.selected = ""
        self.truth: int | None = None
        self.sample: int | None = None
        self.preview: np.ndarray | None = None
        self.camera = camera
        self.failure = ""
        self._is_empty = False
        look = look or Look()
        if not look.class_names:
            look = look.changed(class_names=subject.class_names)
        self._several = x if isinstance(x, (tuple, list, dict)) else None
        first = self.first_input() if x is None else x
        shape = tuple(getattr(x, "shape", ())[1:])
        if subject.input_spec.is_image and shape == subject.input_spec.shape:
            self.preview = subject.preview(first[:1])
        self._passes = Passes(subject.module, memory, look, open)
        trace, self.failure = self.run(first)
        self.scene = Scene(trace, open, look=look, camera=camera)
        self._shown()
        self.start_look = self.scene.look

    @property
    def paths(self) -> tuple[str | os.PathLike[str], ...]:
        """Files and folders that messages may name; a page has only the last part of each."""
        return ()

    # Inputs --------------------------------------------------------------------------------------------------------

    def first_input(self) -> Any:
        """A sample where the model has one, zeros elsewhere."""
        if self.subject.samples:
            return self.prepare_sample(self.subject.samples[min(7, len(self.subject.samples) - 1)])
        return self.empty_input()

    @property
    def takes_drawings(self) -> bool:
        """Whether a drawing is an input: one channel, and not more cells than a hand can fill."""
        shape = self.subject.input_spec.shape
        return self.takes_pictures and shape[0] == 1 and max(shape[1:]) <= MOST_PAD_CELLS

    @property
    def is_drawn(self) -> bool:
        """Whether the input may be a person's own drawing."""
        return True

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to see in an input that a person could draw or choose."""
        if self.preview is None:
            return self.takes_pictures and self._is_empty
        return bool((self.preview == self.preview.flat[0]).all())

    @property
    def takes_pictures(self) -> bool:
        """Whether a picture can become an input."""
        shape = self.subject.input_spec.shape
        return self._several is None and len(shape) == 3 and shape[0] in (1, 3)

    def empty_input(self) -> Any:
        """Zeros of the input's shape, with a batch dimension of 1; several inputs as they were given."""
        import torch

        if self._several is not None:
            return self._several

        spec = self.subject.input_spec
        self.truth = self.sample = self.preview = None
        self._is_empty = True
        return torch.zeros(1, *spec.shape, dtype=getattr(torch, spec.dtype))

    def prepare_sample(self, sample: Sample) -> Any:
        """The input for a sample, whose truth is then known."""
        self.truth = sample.label
        self.sample = next((i for i, each in enumerate(self.subject.samples) if each is sample), None)
        return self._prepared(sample.image, prepare=True)

    def prepare_image(self, image: Any, prepare: bool) -> Any:
        """The input for a drawing or a picture, whose truth nobody knows."""
        self.truth = self.sample = None
        return self._prepared(image, prepare)

    def _prepared(self, image: Any, prepare: bool) -> Any:
        x = self.subject.preprocess(image, prepare)
        self.preview = self.subject.preview(x)
        self._is_empty = False
        return x

    # Passes --------------------------------------------------------------------------------------------------------

    def run(self, x: Any) -> tuple[Trace, str]:
        """One forward pass; may be called from another thread, one call at a time.

        Returns:
            The trace, and one sentence where it is partial because a layer raised.

        Raises:
            CaptureError: the pass raised before a layer had run.
        """
        try:
            return self._passes(self.subject.complete(x) if isinstance(x, Tensor) else x), ""
        except CaptureError as error:
            if error.trace is None or not error.trace.layers:
                raise
            return error.trace, str(error)

    def show(self, trace: Trace, failure: str = "") -> Shown:
        """Take a new trace into the scene."""
        self.failure = failure
        old = self.scene
        if old.trace.difference(trace):
            self.scene = Scene(trace, look=look_for(trace, old.look))
        elif self._order_is_new(trace):
            self.scene = Scene(trace, look=old.look, camera=old.camera)
        else:
            return Shown(old.update(trace), failure)
        self._shown()
        return Shown(None, failure)

    def _order_is_new(self, trace: Trace) -> bool:
        """Whether the maps of an open layer could be sorted only now that there are values."""
        look = self.scene.look
        if look.sort == "index" and not look.most_maps:
            return False
        unsorted = [x.name for x in self.scene.layers if x.name in look.open and x.values is None]
        return any(name in trace and trace[name].values is not None for name in unsorted)

    @property
    def lacks(self) -> bool:
        """Whether something is shown whose values were not kept, so that the model should run on `x` once more."""
        return self.scene.trace.error is None and self._passes.lack

    @property
    def x(self) -> Any:
        """The last input."""
        return self._passes.x

    @property
    def seconds(self) -> float:
        """How long the last forward pass took."""
        return self._passes.seconds

    def _shown(self) -> None:
        self._passes.showing(self.scene.look, self.selected)

    # The look ------------------------------------------------------------------------------------------------------

    def change(self, **choices: Any) -> Scene:
        """Show the same trace with another look; returns the scene that was."""
        return self._rebuild(self.scene.look.changed(**choices))

    def reset_look(self) -> Scene:
        """Show what was open and hide what was hidden at first; returns the scene that was."""
        first = look_for(self.scene.trace, self.start_look)
        return self.change(open=first.open, hidden=first.hidden, expanded=self.start_look.expanded)

    def toggle(self, name: str) -> Scene | None:
        """Open or close a layer, or a module into its parts.

        What is hidden in a closed module is opened, and all around it; a hidden input is shown, open. Returns the scene
        that was, `None` where there is no layer or module of that name.
        """
        scene, shown = self.scene, {layer.name for layer in self.scene.layers}
        opened, expanded = scene.look.open, scene.look.expanded or frozenset()
        if name in scene.modules.names:
            hidden = name not in shown and name not in expanded
            around = scene.modules.around(name) if hidden else frozenset()
            return self.change(expanded=(expanded ^ {name}) | around)
        if self.layer(name) is None:
            return None
        if name in shown:
            return self.change(open=opened ^ {name})
        around = scene.modules.around(name)
        return self.change(open=opened | {name}, expanded=expanded | around, hidden=scene.look.hidden - {name})

    def hide(self, name: str) -> Scene | None:
        """Hide an input, or show it again; returns the scene that was, `None` where there is no input of that name.

        Raises:
            SceneError: no other input is to be seen.
        """
        if all(layer.name != name for layer in self.scene.trace.inputs):
            return None
        return self.change(hidden=self.scene.look.hidden ^ {name})

    def select(self, name: str) -> Scene | None:
        """Look at all that is known of a layer or module; the rest as `reveal`."""
        self.selected = name
        self._shown()
        return self.reveal(name)

    def reveal(self, name: str) -> Scene | None:
        """Open the modules around a layer or module that is hidden; returns the scene that was, `None` if none is."""
        scene = self.scene
        expanded = scene.look.expanded or frozenset()
        known = self.layer(name) is not None or name in scene.modules.names
        around = scene.modules.around(name) if known else frozenset()
        return None if around <= expanded else self.change(expanded=expanded | around)

    def open_all(self) -> Scene:
        """Open every module and show every map; returns the scene that was."""
        names = frozenset(layer.name for layer in self.scene.all_layers)
        return self.change(open=names, expanded=frozenset(self.scene.modules.names))

    def close_all(self) -> Scene:
        """Show about twenty closed boxes; returns the scene that was."""
        return self.change(open=frozenset(), expanded=None)

    def _rebuild(self, look: Look) -> Scene:
        old = self.scene
        self.scene = Scene(old.trace, look=look, camera=old.camera)
        self._shown()
        return old

    def first_camera(self, width: float, height: float, top: float = 0.0, bottom: float = 0.0) -> Camera:
        """The view that a scene file asked for, else one that has everything in frame.

        Args:
            width, height: of the view, in pixels.
            top, bottom: how much of that the page covers, in pixels.
        """
        if self.camera is not None:
            return self.camera
        most = 0.4 * height
        covered = [2 * min(part, most) / height for part in (top, bottom)]
        return self.scene.first_camera(width / height, (-1.0, covered[1] - 1, 1.0, 1 - covered[0]))

    # Reading -------------------------------------------------------------------------------------------------------

    def hit(self, camera: Camera, x: float, y: float, width: float, height: float) -> Hit | None:
        """The cell under a place in the view, in pixels from its top left corner."""
        ray: Ray = camera.ray(x, y, width, height)
        return self.scene.pick(ray)

    def predictions(self, most: int) -> list[Prediction]:
        """The likeliest classes, where the model has one vector of outputs as long as its class names."""
        names = self.scene.look.class_names
        for output in self.scene.trace.outputs:
            layer = self.layer(output)
            if layer is not None and layer.values is not None and names and layer.shape == (len(names),):
                return list(ranked(layer.values, names, most))
        return []

    def layer(self, name: str) -> Layer | None:
        """The layer, input or closed module of that name, shown or hidden."""
        every = (*self.scene.layers, *self.scene.all_layers)
        return next((layer for layer in every if layer.name == name), None)
