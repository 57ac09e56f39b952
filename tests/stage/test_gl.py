"""Finding an OpenGL library."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys

import pytest

from tensorview.errors import StageError
from tensorview.stage import gl

DRAW = """
from vtkmodules.vtkRenderingCore import vtkRenderWindow, vtkRenderer
from tensorview.stage import gl
gl.require_opengl()
with gl.off_screen():
    window = vtkRenderWindow()
window.SetOffScreenRendering(True)
window.AddRenderer(vtkRenderer())
window.Render()
print(window.GetClassName() == gl.backend())
"""
WITHOUT = """
import ctypes
def missing(name, *args, **kwargs):
    raise OSError(name)
ctypes.CDLL = missing
from tensorview.stage import gl
from tensorview.errors import StageError
try:
    gl.require_opengl()
except StageError as error:
    print(error)
"""


def _run(code: str, **environment: str) -> tuple[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", gl.CHOICE)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.gl
def test_draws_without_a_display_and_without_a_word() -> None:
    assert _run(DRAW) == ("True", "")


def test_without_a_library_one_sentence_names_the_packages() -> None:
    """No vendor's EGL is found, and OSMesa cannot be loaded: what VTK would end the process for."""
    said, errors = _run(WITHOUT, __EGL_VENDOR_LIBRARY_FILENAMES="/nonexistent")
    if not said:
        pytest.skip("this machine's EGL is found without GLVND's list of vendors")
    assert "libegl1" in said
    assert "libosmesa6" in said
    assert "mesa-libEGL" in said
    assert said.count("\n") == 0
    assert errors == ""


class _OsMesaWindow:
    def GetClassName(self) -> str:  # noqa: N802 (VTK's name)
        return gl.OSMESA


@pytest.mark.parametrize("loads", [True, False])
def test_osmesa_counts_only_where_it_loads(monkeypatch: pytest.MonkeyPatch, loads: bool) -> None:
    """VTK falls back to OSMesa's window without a look at the library."""

    def load(file: str) -> None:
        if not loads:
            raise OSError(file)

    monkeypatch.setattr(gl, "vtkRenderWindow", _OsMesaWindow)
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(gl, "backend", gl.backend.__wrapped__)
    assert gl.backend() == (gl.OSMESA if loads else None)
    if not loads:
        with pytest.raises(StageError, match="libegl1"):
            gl.require_opengl()


@pytest.mark.parametrize("own", [None, "vtkOSOpenGLRenderWindow"])
def test_the_environment_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    monkeypatch.delenv(gl.CHOICE, raising=False)
    if own:
        monkeypatch.setenv(gl.CHOICE, own)
    with contextlib.suppress(RuntimeError), gl.off_screen():
        assert os.environ[gl.CHOICE] == (gl.backend() or gl.OSMESA)
        raise RuntimeError
    assert os.environ.get(gl.CHOICE) == own


@pytest.mark.gl
@pytest.mark.skipif(sys.platform != "linux", reason="reads which libraries are loaded from /proc")
def test_the_library_of_triton_is_loaded_before_that_of_mesa(tmp_path) -> None:
    """A package that looks like triton's; two LLVMs in the wrong order would end the process later."""
    import _ctypes

    library = tmp_path / "triton" / "_C" / "libtriton.so"
    library.parent.mkdir(parents=True)
    (tmp_path / "triton" / "__init__.py").touch()
    shutil.copy(_ctypes.__file__, library)
    code = """
import ctypes
from pathlib import Path
loaded, load = [], ctypes.CDLL
def note(name, *rest, **options):
    loaded.append(Path(name).name if name else "")
    return load(name, *rest, **options)
ctypes.CDLL = note
from tensorview.stage import gl
gl.require_opengl()
print(loaded[0], "libtriton.so" in Path("/proc/self/maps").read_text())
"""
    assert _run(code, PYTHONPATH=str(tmp_path))[0] == "libtriton.so True"
