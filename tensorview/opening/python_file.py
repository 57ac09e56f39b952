"""Run a person's Python file and take a model from it.

Running it is what the person asked for by naming it, as with `python net.py`; a file of weights is another
matter.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ..errors import ModelNotFound, OpenError


def run_file(path: Path) -> ModuleType:
    """The module that the file makes. Its folder is importable while it runs, as a script's is.

    Raises:
        OpenError: the file is missing, or raises.
    """
    if not path.is_file():
        raise OpenError(f"There is no file {path}.")
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OpenError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise OpenError(f"{path.name} cannot be run: {_what(error, path)}.") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def take_model(module: ModuleType, file: str, name: str = "") -> nn.Module:
    """The model that the module's attribute `name` is, or makes when called without arguments.

    Args:
        module: what `run_file` returned.
        file: the file's name, for messages.
        name: an `nn.Module` class, a function that returns a model, or a model; without it the only model
            there.

    Raises:
        ModelNotFound: no such attribute, or several models and no name.
        OpenError: the attribute makes no model.
    """
    name = name or _only_model(module, file)
    if name not in vars(module):
        raise ModelNotFound(f"{file} has no {name}: {_offer(module, file, name)}.")
    found = vars(module)[name]
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise OpenError(f"{file}:{name} is a {type(found).__name__}, not a model or what makes one.")
    made = _call(found, f"{file}:{name}")
    if not isinstance(made, nn.Module):
        raise OpenError(f"{file}:{name} returned a {type(made).__name__}, not a model (torch.nn.Module).")
    return made


def models_in(module: ModuleType) -> list[str]:
    """Names of the models and model classes that the file itself defines, in its order."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, nn.Module)
        or (inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__)
    ]


def _only_model(module: ModuleType, file: str) -> str:
    names = models_in(module)
    if len(names) == 1:
        return names[0]
    if not names:
        raise ModelNotFound(f"{file} defines no torch.nn.Module; name a function that returns one as {file}:NAME.")
    raise ModelNotFound(f"{file} defines several models: name one of {_listed(file, names)}.")


def _offer(module: ModuleType, file: str, name: str) -> str:
    functions = [
        key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    names = models_in(module) + functions
    if not names:
        return "it defines no torch.nn.Module and no function"
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {_listed(file, near)}" if near else f"it has {_listed(file, names)}"


def _listed(file: str, names: list[str], most: int = 8) -> str:
    return ", ".join(f"{file}:{name}" for name in names[:most])


def _call(make: Callable[[], Any], spec: str) -> Any:
    needed = _needed_arguments(make)
    if needed:
        raise OpenError(
            f"{spec} needs arguments ({', '.join(needed)}): give them defaults, or name a function that "
            "takes none and returns the model."
        )
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise OpenError(f"{spec} cannot be built: {type(error).__name__}: {error}.") from error


def _needed_arguments(make: Callable[[], Any]) -> list[str]:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _what(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f", line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
