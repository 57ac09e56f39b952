"""See any PyTorch network in 3D: every layer, every feature map, every neuron.

Names are imported when they are first used: `import tensorview` alone loads neither torch nor VTK nor trame.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import Viewer, explore
    from .capture import Layer, Trace, Tracer, capture
    from .errors import (
        CaptureError,
        MissingExtra,
        ModelNotFound,
        OpenError,
        SceneError,
        ServerError,
        StageError,
        TensorviewError,
        TrustRequired,
    )
    from .opening import Subject, open_image, open_model
    from .runs import watch
    from .scene import Camera, Look, Scene
    from .scene_file import SceneFile, load_scene
    from .stage.screenshot import screenshot

    __version__: str

__all__ = [
    "Camera",
    "CaptureError",
    "Layer",
    "Look",
    "MissingExtra",
    "ModelNotFound",
    "OpenError",
    "Scene",
    "SceneError",
    "SceneFile",
    "ServerError",
    "StageError",
    "Subject",
    "TensorviewError",
    "Trace",
    "Tracer",
    "TrustRequired",
    "Viewer",
    "capture",
    "explore",
    "load_scene",
    "open_image",
    "open_model",
    "screenshot",
    "watch",
]

_HOMES = {
    "app": ("Viewer", "explore"),
    "capture": ("Layer", "Trace", "Tracer", "capture"),
    "opening": ("Subject", "open_image", "open_model"),
    "runs": ("watch",),
    "scene": ("Camera", "Look", "Scene"),
    "scene_file": ("SceneFile", "load_scene"),
    "stage.screenshot": ("screenshot",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("tensorview")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps `tensorview.capture` the function: importing the folder of that name would put itself there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
