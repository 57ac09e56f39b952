"""The text of scene files: TOML read and checked key by key, and written the same way every time."""

from __future__ import annotations

import difflib
import math
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OpenError
from .scene import Camera

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERSION = 1
MAX_BYTES = 2**20
MAX_TITLE = 200  # characters; a picture is at most 8192 pixels wide
_MOST_SHOWN = 100
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def read_toml(path: Path) -> dict[str, Any]:
    """What a scene file says, its version checked.

    Raises:
        OpenError: it is missing, too large, no TOML, or of another version.
    """
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # reading one could take for ever
            raise OpenError(f"{path} is a device or a pipe, not a scene file.")
        if status.st_size > MAX_BYTES:
            raise OpenError(f"{path} has {status.st_size:,} bytes: a scene file has at most {MAX_BYTES:,}.")
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise OpenError(f"There is no scene file {path}.") from error
    except OSError as error:
        raise OpenError(f"{path} cannot be read: {error.strerror or error}.") from error
    except RecursionError as error:
        raise OpenError(f"{path} is not a scene file: its lists or tables are nested too deeply.") from error
    except ValueError as error:  # of TOML, of UTF-8, and Python's of a number of thousands of digits
        raise OpenError(f"{path} is not a scene file in TOML: {error}.") from error
    version = said.pop("version", None)
    if version != VERSION or isinstance(version, bool):
        what = "has no version" if version is None else f"has version {_shown(version)}"
        raise OpenError(f"{path} {what}; scene files with 'version = {VERSION}' open.")
    return said


def checked(said: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a scene file as the fields of a `SceneFile`.

    Raises:
        OpenError: a key is unknown or missing, or its value is not of the right kind.
    """
    if "model" not in said:
        raise OpenError("the key 'model' is missing.")
    found = {key: _taken(key, value, _KEYS) for key, value in said.items()}
    if "camera" in found:
        found["camera"] = _camera(found["camera"])
    return found


def toml_text(keys: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    """A TOML document of texts, booleans, numbers and lists of them: a line a key in the order given, then the tables.

    Raises:
        ValueError: a number is not finite, or a text is no Unicode.
    """
    lines = [f"{name} = {_value(value)}" for name, value in keys.items()]
    for table, content in tables.items():
        lines += ["", f"[{table}]", *(f"{name} = {_value(value)}" for name, value in content.items())]
    return "\n".join(lines) + "\n"


# Reading -----------------------------------------------------------------------------------------------------------

Take = Callable[[Any], Any]  # the value of a field, or None where what is said does not fit


def _taken(key: str, value: Any, known: Mapping[str, tuple[str, Take]]) -> Any:
    if key not in known:
        near = difflib.get_close_matches(key, known, 1) or list(known)
        raise OpenError(f"there is no key {_shown(key)}; there is {', '.join(near)}.")
    what, take = known[key]
    taken = take(value)
    if taken is None:
        raise OpenError(f"the key {key!r} is {_shown(value)}; it is {what}.")
    return taken


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= _MOST_SHOWN else f"{said[:_MOST_SHOWN]}..."


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _line(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TITLE else None


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _names(value: Any) -> tuple[str, ...] | None:
    names = [value] if isinstance(value, str) else value
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _sizes(value: Any) -> tuple[int, ...] | None:
    fits = isinstance(value, list) and value and all(type(n) is int and n > 0 for n in value)
    return tuple(value) if fits else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _numbers(count: int) -> Take:
    def take(value: Any) -> tuple[float, ...] | None:
        fits = isinstance(value, list) and len(value) == count and all(_number(n) is not None for n in value)
        return tuple(map(float, value)) if fits else None

    return take


def _table(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


_TEXT = ("a text", _text)
_THREE = ("three numbers", _numbers(3))
_KEYS: dict[str, tuple[str, Take]] = {
    "model": _TEXT,
    "weights": _TEXT,
    "random_weights": ("true or false", _switch),
    "input_shape": ("a list of positive whole numbers", _sizes),
    "input": _TEXT,
    "open": ("a list of names of layers", _names),
    "expanded": ("a list of names of modules", _names),
    "theme": _TEXT,
    "encoding": _TEXT,
    "scaling": _TEXT,
    "value_range": ("two numbers", _numbers(2)),
    "arrangement": _TEXT,
    "aggregate": _TEXT,
    "sort": _TEXT,
    "most_maps": ("a whole number, 0 for all maps", _count),
    "hidden": ("a list of names of inputs", _names),
    "title": (f"a text of at most {MAX_TITLE} characters", _line),
    "camera": ("a table", _table),
}
_CAMERA: dict[str, tuple[str, Take]] = {
    "position": _THREE,
    "focal_point": _THREE,
    "view_up": _THREE,
    "view_angle": ("a number of degrees", _number),
}


def _camera(said: Mapping[str, Any]) -> Camera:
    found = {key: _taken(key, value, _CAMERA) for key, value in said.items()}
    missing = [key for key in ("position", "focal_point") if key not in found]
    if missing:
        raise OpenError(f"the camera has no {' and no '.join(missing)}.")
    camera = Camera(**found)
    if not 1 <= camera.view_angle <= 120:
        raise OpenError(f"the camera's view_angle is {camera.view_angle:g} degrees; it is 1 to 120.")
    back, up = np.subtract(camera.position, camera.focal_point), np.asarray(camera.view_up)
    if np.linalg.norm(np.cross(up, back)) <= 1e-9 * np.linalg.norm(up) * np.linalg.norm(back):
        raise OpenError(
            "the camera sees nothing: position and focal_point are one place, or view_up points from one to the other."
        )
    return camera


# Writing -----------------------------------------------------------------------------------------------------------


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_value, value))}]"
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a finite number")
    return repr(number)


def _string(text: str) -> str:
    text.encode()  # raises UnicodeEncodeError, a ValueError, where the text holds half a character
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escaped(c)) for c in text) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
