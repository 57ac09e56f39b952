"""Open Keras's own files, `.keras` and `.h5`, with Keras 3 on its torch backend."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py

from ..errors import OpenError
from .keras_config import modernised
from .keras_graph import wired_keras
from .subject import Subject
from .weights import weights_alone
from .wired import input_specs

MOST_BYTES = 16 * 2**30
MOST_RATIO = 200
_SMALL = 64 * 2**20
_BACKEND = "KERAS_BACKEND"


def open_keras(path: Path, input_shape: tuple[int, ...] | None) -> Subject:
    """The model in a `.keras` or `.h5` file, which may run code that stands in it.

    Args:
        path: the file.
        input_shape: of one input, where the file does not say it; images as (C, H, W).

    Raises:
        OpenError: the file is broken, holds weights alone, or a model that is no graph of layers.
    """
    if path.suffix.lower() == ".keras":
        return describe(load(path, path), path, input_shape)
    config = _check_hdf5(path)
    fitted = modernised(config)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            del file.attrs["model_config"]
            write_config(file, fitted)
        model = load(copy, path)
        load_by_name(model, copy)
    return describe(model, path, input_shape)


def write_config(file: h5py.File, config: dict[str, Any]) -> None:
    """Say which model an HDF5 file holds, as Keras does."""
    text = json.dumps(config).encode()
    file.attrs.create("model_config", text, dtype=h5py.string_dtype("utf-8"))


def load(path: Path, named: Path, safe: bool = False) -> Any:
    """Keras's model in a file.

    Args:
        path: where it lies.
        named: how messages call it.
        safe: refuse what would run code.

    Raises:
        OpenError: Keras cannot load it.
    """
    keras = import_keras()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of things that were left out on purpose, such as the optimizer
            return keras.saving.load_model(path, compile=False, safe_mode=safe)
    except Exception as error:  # Keras raises whatever a broken file brings it to, and a layer's own code anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(" .")
        raise OpenError(f"{named} does not load in Keras {keras.__version__}: {reason}.") from error


def describe(model: Any, path: Path, input_shape: tuple[int, ...] | None) -> Subject:
    """The subject of Keras's model."""
    module = wired_keras(model, path.name, input_shape)
    inputs = input_specs(module.entries)
    return Subject(
        name=path.name,
        module=module,
        input_spec=next(iter(inputs.values())),
        inputs=inputs if len(inputs) > 1 else {},
        title=path.parent.name if path.stem == "model" and path.parent.name else path.stem,
    )


def import_keras() -> ModuleType:
    """The module `keras` on its torch backend.

    Raises:
        OpenError: it was imported before, on another backend.
    """
    if "keras" not in sys.modules:
        before = os.environ.get(_BACKEND)
        os.environ[_BACKEND] = "torch"
        try:
            importlib.import_module("keras")
        finally:
            if before is None:
                del os.environ[_BACKEND]
            else:
                os.environ[_BACKEND] = before
    keras = sys.modules["keras"]
    backend = keras.config.backend()
    if backend != "torch":
        raise OpenError(
            f"Keras runs on {backend} in this program, and models are watched on torch alone: set KERAS_BACKEND=torch "
            "before keras is imported."
        )
    return keras


def load_by_name(model: Any, path: Path) -> None:
    """Load the weights again, by the layers' names: Keras 3 takes them in its own order, which can differ."""
    with h5py.File(path) as file:
        saved = {str(name) for name, group in file["model_weights"].items() if len(group.attrs.get("weight_names", ()))}
    if saved - {"top_level_model_weights"} <= {layer.name for layer in model.layers}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(path, by_name=True)


def _check_hdf5(path: Path) -> dict[str, Any]:
    """The model's configuration in an HDF5 file, if it claims no more than a file of its size can hold."""
    try:
        with h5py.File(path) as file:
            config = file.attrs.get("model_config")
            sizes: list[int] = []
            outside: list[str] = []
            file.visititems(lambda name, item: _measure(name, item, sizes, outside))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise OpenError(f"{path} is not a whole HDF5 file.") from error
    packed = path.stat().st_size
    if outside:
        raise OpenError(f"{path} keeps {outside[0]} in another file, which is not read.")
    if sum(sizes) > MOST_BYTES or sum(sizes) > max(_SMALL, MOST_RATIO * packed):
        raise OpenError(
            f"{path} has {packed / 2**20:,.1f} MiB and claims {sum(sizes) / 2**30:,.1f} GiB of weights, which no model "
            "does; it is not opened."
        )
    if config is None:
        raise OpenError(weights_alone(path))
    try:
        found = json.loads(config)
    except (ValueError, TypeError, RecursionError) as error:
        raise OpenError(f"{path} has a model_config that is no JSON.") from error
    if not isinstance(found, dict):
        raise OpenError(f"{path} has a model_config that is no model.")
    return found


def _measure(name: str, item: Any, sizes: list[int], outside: list[str]) -> None:
    if isinstance(item, h5py.Dataset):
        sizes.append(item.size * item.dtype.itemsize if item.size else 0)
        if item.external or item.is_virtual:
            outside.append(name)
