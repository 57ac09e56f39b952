"""Open a TensorFlow.js layers model: `model.json` and the files of weights beside it. It is data alone."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple

import h5py
import numpy as np

from ..errors import OpenError
from .keras_config import modernised, running_layer
from .keras_model import describe, import_keras, load, load_by_name, write_config
from .subject import Subject

MOST_JSON = 64 * 2**20
_MOST_SIZE, _MOST_RANK = 2**40, 32
_DTYPES = {
    "float32": "<f4",
    "float16": "<f2",
    "int32": "<i4",
    "uint8": "u1",
    "uint16": "<u2",
    "int8": "i1",
    "bool": "?",
}


def open_tensorflow_js(path: Path, input_shape: tuple[int, ...] | None) -> Subject:
    """The layers model in a `model.json`.

    It is written anew as Keras's own HDF5 file, in a folder that is then removed, and opened from there.

    Args:
        path: the JSON file; its weights lie in the same folder.
        input_shape: of one input, where the model does not say it; images as (C, H, W).

    Raises:
        OpenError: it is no layers model, has a layer that would run code, or its weights are missing or do not fit.
    """
    document = _read_json(path)
    keras = import_keras()
    try:
        config = modernised(_topology(document, path))
        danger = running_layer(config, keras.layers)
    except RecursionError as error:
        raise OpenError(f"{path} is no TensorFlow.js layers model: its modelTopology is nested too deeply.") from error
    if danger:
        raise OpenError(
            f"{path} has a layer {danger!r}, which is none of Keras's own or runs Python; it is not opened."
        )
    weights = dict(_weights(document, path))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        try:
            with h5py.File(copy, "w") as file:
                write_config(file, config)
                _write_weights(file, weights)
        except (OSError, ValueError, TypeError, RuntimeError, RecursionError) as error:  # HDF5's limits on names
            raise OpenError(f"{path} cannot be written as a file of Keras: {error}.") from error
        _rehearse(keras, copy, path)
        model = load(copy, path, safe=True)
        load_by_name(model, copy)
    return describe(model, path, input_shape)


def _rehearse(keras: ModuleType, copy: Path, path: Path) -> None:
    """Load the model without memory for its weights: a layer may claim far more than the file holds of it.

    Raises:
        OpenError: the layers' weights are not of the file's shapes.
    """
    try:
        with keras.device("meta"):
            load(copy, path, safe=True)
    except OpenError as error:  # others may be of a layer that needs memory, and are raised again where not
        if "mismatch" in str(error):
            raise


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MOST_JSON:
        raise OpenError(f"{path} has {path.stat().st_size / 2**20:,.0f} MiB of JSON, which no model.json has.")
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise OpenError(f"{path} is no whole JSON file.") from error
    if not isinstance(document, dict) or not isinstance(document.get("modelTopology"), dict):
        raise OpenError(f"{path} is no TensorFlow.js model: it has no modelTopology.")
    return document


def _topology(document: dict[str, Any], path: Path) -> dict[str, Any]:
    topology = document["modelTopology"]
    if document.get("format") == "graph-model" or "node" in topology:
        raise OpenError(
            f"{path} is a TensorFlow.js graph model, whose layers are no longer in it: convert the model that it was "
            "made from to a layers model, or to ONNX."
        )
    config = topology.get("model_config", topology)
    if not isinstance(config, dict) or "class_name" not in config or "config" not in config:
        raise OpenError(f"{path} is no TensorFlow.js layers model: its modelTopology has no class_name and config.")
    return config


# Weights -----------------------------------------------------------------------------------------------------------


def _weights(document: dict[str, Any], path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The names and arrays of all weights."""
    groups = document.get("weightsManifest")
    if not isinstance(groups, list) or not groups:
        raise OpenError(f"{path} names no weights (weightsManifest), so that the model has none.")
    for group in groups:
        try:
            files, entries = [str(name) for name in group["paths"]], list(group["weights"])
            plans = [_plan(entry) for entry in entries]
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)[:200].rstrip(".")
            raise OpenError(f"{path} has a weightsManifest that cannot be read: {reason}.") from error
        data = _read_shards(path, files, sum(plan.size for plan in plans))
        start = 0
        for plan in plans:
            array = np.frombuffer(data, plan.dtype, count=math.prod(plan.shape), offset=start).reshape(plan.shape)
            start += plan.size
            yield plan.name, _dequantised(array, plan)


class _Plan(NamedTuple):
    """One weight: its type in the file, its bytes there, and for quantised ones how they become `original` again."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    size: int
    original: np.dtype | None = None
    scale: float = 1.0
    low: float = 0.0


def _plan(entry: dict[str, Any]) -> _Plan:
    name, shape = entry["name"], tuple(int(size) for size in entry["shape"])
    if not _is_name(name):
        raise ValueError(f"a weight is called {str(name)[:100]!r}, which is not LAYER/WEIGHT")
    if not all(0 <= size < _MOST_SIZE for size in shape) or len(shape) > _MOST_RANK:
        raise ValueError(f"{name} has the shape {str(shape)[:100]}")
    quantization = entry.get("quantization") or {}
    dtype = _dtype(name, quantization["dtype"] if quantization else entry["dtype"])
    found = _Plan(name, shape, dtype, math.prod(shape) * dtype.itemsize)
    if not quantization or dtype.kind == "f":
        return found
    scale, low = float(quantization.get("scale", 1.0)), float(quantization.get("min", 0.0))
    if not (math.isfinite(scale) and math.isfinite(low)):
        raise ValueError(f"{name} has the scale {scale} and the minimum {low}")
    return found._replace(original=_dtype(name, quantization.get("original_dtype", "float32")), scale=scale, low=low)


def _dtype(weight: str, name: Any) -> np.dtype:
    if not isinstance(name, str) or name not in _DTYPES:
        raise ValueError(f"{weight} has the type {str(name)[:100]}")
    return np.dtype(_DTYPES[name])


def _is_name(name: Any) -> bool:
    """Whether it is the path of a weight in its layer, of which HDF5 makes groups."""
    parts = name.split("/") if isinstance(name, str) else []
    whole = all(part not in ("", ".", "..") and "\0" not in part for part in parts)
    return len(parts) > 1 and whole and name.encode("utf-8", "ignore").decode() == name


def _read_shards(path: Path, names: list[str], wanted: int) -> bytes:
    """The bytes of the files that hold a group of weights, which must be as many as the weights need."""
    files = [_beside(path, name) for name in names]
    total = sum(file.stat().st_size for file in files)
    if total != wanted:
        raise OpenError(
            f"{path} tells of {wanted:,} bytes of weights, but {', '.join(names[:3]) or 'its files'} have {total:,}: "
            "the files are cut short or belong to another model."
        )
    try:
        return b"".join(file.read_bytes() for file in files)
    except OSError as error:
        raise OpenError(f"{path} names weights that cannot be read: {error.strerror or error}.") from error


def _beside(path: Path, name: str) -> Path:
    """A file of weights, which must lie in the folder of the JSON file."""
    folder = path.resolve().parent
    parts = PurePosixPath(name.replace("\\", "/"))
    try:
        file = (folder / parts).resolve()
        is_there = file.is_file()
    except (OSError, ValueError) as error:  # too long, or with a NUL
        raise OpenError(f"{path} names the weights {name[:100]!r}, which no file can be called.") from error
    if parts.is_absolute() or ":" in name or not file.is_relative_to(folder):
        raise OpenError(f"{path} names the weights {name!r}, which lie outside its folder; they are not read.")
    if not is_there:
        raise OpenError(f"{path} needs the file of weights {name} beside it, which is missing.")
    return file


def _dequantised(array: np.ndarray, plan: _Plan) -> np.ndarray:
    if plan.original is None:
        return array.astype(np.float32) if array.dtype.kind == "f" else array
    return (array.astype(np.float64) * plan.scale + plan.low).astype(plan.original)


def _write_weights(file: h5py.File, weights: dict[str, np.ndarray]) -> None:
    """Weights in the layout of Keras's HDF5 files: a group for each layer, which a weight's name begins with."""
    group = file.create_group("model_weights")
    layers: dict[str, list[str]] = {}
    for name in weights:
        layers.setdefault(name.partition("/")[0], []).append(name)
    group.attrs["layer_names"] = np.array([layer.encode() for layer in layers])
    for layer, names in layers.items():
        held = group.create_group(layer)
        held.attrs["weight_names"] = np.array([name.encode() for name in names])
        for name in names:
            held[name] = weights[name]
