"""The 3D view of the page: trame-vtk's local view, whose arrays `wire.py` fills."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trame.widgets import vtk as vtk_widgets
from trame_client.widgets.core import AbstractElement
from trame_vtk import reference_id

from ..stage.stage import Stage

WEB = Path(__file__).parent / "web"
MODULE = {
    "serve": {"__tensorview": str(WEB)},
    "scripts": [f"__tensorview/{name}.js" for name in ("ink", "pad", "drop", "stage")],
    "styles": [f"__tensorview/{name}.css" for name in ("pad", "page", "lab")],
    "vue_use": ["tensorviewPad", "tensorviewDrop", "tensorviewStage"],
}
# Left button turns, right button or Shift moves, the wheel and Ctrl zoom.
CONTROLS = [
    {"button": 1, "action": "Rotate"},
    {"button": 2, "action": "Pan"},
    {"button": 3, "action": "Pan"},
    {"button": 1, "action": "Pan", "shift": True},
    {"button": 1, "action": "Zoom", "control": True},
    {"button": 1, "action": "ZoomToMouse", "dragEnabled": False, "scrollEnabled": True},
]

# trame-vtk lets every object that it serialises call Python when it is deleted. Where a garbage collection deletes it,
# that function may have been emptied already, and calling it ends the process. So it waits for an event that never
# comes; `trame_core.forget` empties trame-vtk's caches in its place.
_serialize: Any = importlib.import_module("trame_vtk.modules.vtk.serializers.serialize")
_serialize.vtkCommand = SimpleNamespace(DeleteEvent="NoEvent")


class TvStage(AbstractElement):
    """The component of `web/stage.js`, in Python."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("tv-stage", **kwargs)
        self._attr_names += ["ids", "label", "stats", ("test_id", "testId")]


class StageView(vtk_widgets.VtkLocalView):
    """A local view that is built once and then filled by messages.

    The stock view serialises the whole window twice for every update and lets the browser fetch what has changed; this
    one is serialised when the server is ready, for the pages that come.
    """

    def __init__(self, stage: Stage, **kwargs: Any) -> None:
        super().__init__(stage.window, interactor_settings=("controls", CONTROLS), **kwargs)
        with self:
            TvStage(
                ids=("stage_ids", stage_ids(stage)),
                stats=("show_stats",),
                raw_attrs=[':ref="(el) => trame.refs.stage = el"'],
            )


def stage_ids(stage: Stage) -> dict[str, Any]:
    """Under which names the browser's copies of the stage's objects are found."""
    return {
        "surfaces": {
            name: {
                "mesh": _dataset(actor.actor),
                "image": f"{reference_id(actor.texture)}-texture",
                "texture": reference_id(actor.texture),
            }
            for name, actor in stage.surfaces.items()
        },
        "lines": {name: _dataset(actor.actor) for name, actor in stage.lines.items()},
    }


def _dataset(actor: Any) -> str:
    return f"{reference_id(actor.GetMapper())}-dataset"
