"""The public names."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import tensorview
from tensorview import errors

NAMES = [
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
HEAVY = ("torch", "vtkmodules", "trame", "trame_server", "trame_vtk", "torchvision", "numpy", "matplotlib", "aiohttp")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names_are_these() -> None:
    assert tensorview.__all__ == NAMES
    assert len(NAMES) <= 25


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(tensorview, name).__name__ == name
    assert name in dir(tensorview)


def test_every_error_is_public() -> None:
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert raised <= set(NAMES)
    assert all(issubclass(getattr(tensorview, name), tensorview.TensorviewError) for name in raised)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'capturee'"):
        _ = tensorview.capturee


def test_the_version_is_that_of_the_installation() -> None:
    assert tensorview.__version__ == importlib.metadata.version("tensorview")
    assert "__version__" in dir(tensorview)


def test_importing_loads_nothing_heavy() -> None:
    loaded = run(f"import sys, tensorview; dir(tensorview); print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


@pytest.mark.parametrize("first", ["import tensorview.capture", "from tensorview.capture import Trace", "tv.Trace"])
def test_capture_is_the_function_whatever_was_imported_first(first: str) -> None:
    code = f"import tensorview as tv\n{first}\nimport tensorview.capture as again\n"
    assert run(code + "print(type(tv.capture).__name__, tv.capture is again, tv.capture.__name__)") == (
        "function True capture"
    )
