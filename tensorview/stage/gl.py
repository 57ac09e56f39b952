"""Which OpenGL library pictures are drawn with: found without a display, and before VTK would crash without one."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Registers the factories that make render windows.
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtkmodules.vtkCommonCore import vtkLogger, vtkObject
from vtkmodules.vtkRenderingCore import vtkRenderWindow

from ..errors import StageError

CHOICE = "VTK_DEFAULT_OPENGL_WINDOW"  # the environment variable that VTK's factory of windows reads
EGL, OSMESA = "vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow"
_OSMESA_FILES = {
    "linux": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),
    "darwin": ("libOSMesa.dylib", "libOSMesa.8.dylib"),
    "win32": ("osmesa.dll",),
}


@contextmanager
def off_screen() -> Iterator[None]:
    """Render windows made meanwhile need no display: they draw with EGL, or OSMesa where there is no EGL.

    Where a person has set `VTK_DEFAULT_OPENGL_WINDOW`, their choice comes first. Making a window never raises, also
    where no library is found; `require_opengl` does.
    """
    with _environment(backend() or OSMESA), _silence():
        yield


def require_opengl() -> None:
    """Raises StageError where windows cannot be drawn to: VTK itself would end the process."""
    if backend() is None:
        raise StageError(
            "no OpenGL library is found to draw pictures with; install Mesa's: libegl1 or libosmesa6 on Debian and "
            "Ubuntu, mesa-libEGL on Fedora"
        )


@functools.cache
def backend() -> str | None:
    """The class of window that works here, `None` where none does.

    VTK tries a context for every kind of window but OSMesa's, which it falls back to without a look at the library.
    """
    _load_triton()
    own = os.environ.get(CHOICE)
    with _silence():
        for choice in dict.fromkeys([own or EGL, None]):
            with _environment(choice):
                made = vtkRenderWindow().GetClassName()
            if made != OSMESA or _loads(_OSMESA_FILES.get(sys.platform, ())):
                return str(made)
    return None


def _load_triton() -> None:
    """Load the library of triton, which comes with CUDA builds of torch, where it is installed.

    It and Mesa each bring an LLVM of their own. Loaded after a window of Mesa's was made, as `torch.compile` and some
    imports of torchvision do, triton's ends the process; loaded before, both work.
    """
    spec = importlib.util.find_spec("triton") if "triton" not in sys.modules else None
    library = Path(spec.origin).parent / "_C" / "libtriton.so" if spec and spec.origin else None
    if library is not None and library.is_file():
        with suppress(OSError):  # then it cannot be loaded later either
            ctypes.CDLL(str(library))


def _loads(files: tuple[str, ...]) -> bool:
    for file in files:
        try:
            ctypes.CDLL(file)
        except OSError:
            continue
        return True
    return False


@contextmanager
def _environment(choice: str | None) -> Iterator[None]:
    before = os.environ.get(CHOICE)
    _set(choice)
    try:
        yield
    finally:
        _set(before)


def _set(choice: str | None) -> None:
    if choice is None:
        os.environ.pop(CHOICE, None)
    else:
        os.environ[CHOICE] = choice


@contextmanager
def _silence() -> Iterator[None]:
    """VTK prints warnings, by two ways, for every kind of window that it tries in vain."""
    shown, verbosity = vtkObject.GetGlobalWarningDisplay(), vtkLogger.GetCurrentVerbosityCutoff()
    vtkObject.GlobalWarningDisplayOff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtkObject.SetGlobalWarningDisplay(shown)
        vtkLogger.SetStderrVerbosity(vtkLogger.ConvertToVerbosity(verbosity))
