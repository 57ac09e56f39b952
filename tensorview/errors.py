"""Every exception that tensorview raises on purpose.

The message is one sentence that a person can act on; the command line prints it and exits with status 2,
the page shows it.

TensorviewError
├── OpenError            (also ValueError)    a model, its weights, an image or a scene file cannot be opened
│   └── ModelNotFound                         no model has that name; near names are offered
├── TrustRequired        (also PermissionError)  a file could run code when it is loaded
├── MissingExtra         (also ImportError)   an optional dependency is not installed; names the extra
├── CaptureError         (also RuntimeError)  the forward pass failed; carries what did run
├── SceneError           (also ValueError)    the scene cannot be built as asked
├── StageError           (also RuntimeError)  no picture can be made, as when no OpenGL library is found
└── ServerError          (also OSError)       the page cannot be served, as when the port is in use
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .capture import Trace


class TensorviewError(Exception):
    """The base of every exception here."""


class OpenError(TensorviewError, ValueError):
    """A model, its weights, an image or a scene file cannot be opened.

    Attributes:
        lacks: the argument that would have to be given, "input_shape"; `None` where none would help.
    """

    def __init__(self, *message: object, lacks: str | None = None) -> None:
        super().__init__(*message)
        self.lacks = lacks


class ModelNotFound(OpenError):
    """No model has that name."""


class TrustRequired(TensorviewError, PermissionError):
    """Loading the file could run code that it carries, and the person has not said that they trust it."""


class MissingExtra(TensorviewError, ImportError):
    """An optional dependency is not installed."""


class CaptureError(TensorviewError, RuntimeError):
    """The forward pass raised.

    Attributes:
        layer: name of the layer that was running, `None` where none had started.
        trace: the layers that had finished, as a `Trace` whose `error` is this message.
    """

    def __init__(self, message: str, layer: str | None = None, trace: Trace | None = None) -> None:
        super().__init__(message)
        self.layer = layer
        self.trace = trace


class SceneError(TensorviewError, ValueError):
    """The scene cannot be built as asked."""


class StageError(TensorviewError, RuntimeError):
    """No picture can be made."""


class ServerError(TensorviewError, OSError):
    """The page cannot be served."""
