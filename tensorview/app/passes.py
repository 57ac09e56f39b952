"""The forward passes of a session, which keep the values that its scene shows."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Any

from torch import nn

from ..capture import Trace, Tracer
from ..capture.keeping import size_of
from ..capture.tracer import WHOLE
from ..scene import Look
from ..scene.needs import Need, needed

MEMORY = 512 * 2**20


class Passes:
    """Runs a model on one input after the other.

    Of a small network every value is kept, so that a layer opens without another pass. Of one whose values take more
    than `WHOLE` bytes only what is shown is, and of closed boxes the mean or the maximum of their maps.

    Args:
        memory: most bytes of the values that are kept.
        look, open: of the scene that will be made of the first pass, as `Scene` takes them.

    Attributes:
        x: the last input.
        seconds: how long the last pass took.
    """

    def __init__(self, module: nn.Module, memory: int, look: Look, open: str | Iterable[str] | None) -> None:
        self.x: Any = None
        self.seconds = 0.0
        self._look, self._open, self._selected = look, open, ""
        self._structure: Trace | None = None
        self._asked: dict[str, Need] = {}
        self._changed = False
        self._tracer = Tracer(module, budget=memory, choose=self._choose)

    def __call__(self, x: Any) -> Trace:
        """Run the model. Raises CaptureError where it fails, SceneError where a layer to open does not exist."""
        if self._changed:
            self._changed = False
            self._tracer.choose = self._choose
        self.x = x
        started = perf_counter()
        try:
            return self._tracer(x)
        finally:
            self.seconds = perf_counter() - started

    def showing(self, look: Look, selected: str) -> None:
        """Say what is shown from now on, and of which layer or closed module every value is looked at."""
        shown = (look.open, look.expanded, look.aggregate, selected)
        if shown != (self._look.open, self._look.expanded, self._look.aggregate, self._selected):
            self._changed = True
        self._look, self._open, self._selected = look, None, selected

    @property
    def lack(self) -> bool:
        """Whether more is shown than the last pass was asked to keep."""
        if not self._changed or self._structure is None:
            return False
        needs = self._needs(self._structure)
        return any(self._asked.get(name) not in (need, "exact") for name, need in needs.items())

    def _choose(self, structure: Trace) -> dict[str, Need]:
        self._asked, self._structure = self._needs(structure), structure
        return self._asked

    def _needs(self, structure: Trace) -> dict[str, Need]:
        layers = (*structure.inputs, *structure.layers)
        if sum(size_of(layer.shape, layer.dtype) for layer in layers) <= WHOLE:
            return dict.fromkeys((layer.name for layer in layers), "exact")
        look = self._look
        if self._structure is not None and self._structure.difference(structure):
            look = look_for(structure, look)
        return needed(structure, look, self._open, (self._selected,))


def look_for(trace: Trace, look: Look) -> Look:
    """The look for a trace of another structure: what it has of the open layers and hidden inputs stays so."""
    inputs = {layer.name for layer in trace.inputs}
    names = {layer.name for layer in trace.layers} | inputs
    hidden = look.hidden & inputs
    return look.changed(
        open=frozenset(look.open & names), hidden=hidden if hidden < inputs else frozenset(), expanded=None
    )
