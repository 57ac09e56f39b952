"""Open a TensorFlow.js layers model: `model.json` and the files of weights beside it. It is data alone."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from ..errors import OpenError
from .keras_config import modernised, running_layer
from .keras_model import describe, import_keras, load, load_by_name, write_config
from .subject import Subject

MOST_JSON = 64 * 2**20
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
    config = modernised(_topology(document, path))
    danger = running_layer(config, import_keras().layers)
    if danger:
        raise OpenError(
            f"{path} has a layer {danger!r}, which is none of Keras's own or runs Python; it is not opened."
        )
    weights = dict(_weights(document, path))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.h5"
        with h5py.File(copy, "w") as file:
            write_config(file, config)
            _write_weights(file, weights)
        model = load(copy, path, safe=True)
        load_by_name(model, copy)
    return describe(model, path, input_shape)


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
        except (KeyError, TypeError, ValueError) as error:
            raise OpenError(f"{path} has a weightsManifest that cannot be read: {error}.") from error
        data = _read_shards(path, files, sum(size for *_, size in plans))
        start = 0
        for name, shape, dtype, quantization, size in plans:
            array = np.frombuffer(data, dtype, count=math.prod(shape), offset=start).reshape(shape)
            start += size
            yield name, _dequantised(array, quantization)


def _plan(entry: dict[str, Any]) -> tuple[str, tuple[int, ...], np.dtype, dict[str, Any] | None, int]:
    """Name, shape, type in the file, quantization, and bytes of one weight."""
    shape = tuple(int(size) for size in entry["shape"])
    if min(shape, default=1) < 0:
        raise ValueError(f"{entry['name']} has the shape {shape}")
    quantization = entry.get("quantization")
    name = (quantization or entry)["dtype"]
    if name not in _DTYPES:
        raise ValueError(f"{entry['name']} has the type {name}")
    dtype = np.dtype(_DTYPES[name])
    return str(entry["name"]), shape, dtype, quantization, math.prod(shape) * dtype.itemsize


def _read_shards(path: Path, names: list[str], wanted: int) -> bytes:
    """The bytes of the files that hold a group of weights, which must be as many as the weights need."""
    files = [_beside(path, name) for name in names]
    total = sum(file.stat().st_size for file in files)
    if total != wanted:
        raise OpenError(
            f"{path} tells of {wanted:,} bytes of weights, but {', '.join(names[:3]) or 'its files'} have {total:,}: "
            "the files are cut short or belong to another model."
        )
    return b"".join(file.read_bytes() for file in files)


def _beside(path: Path, name: str) -> Path:
    """A file of weights, which must lie in the folder of the JSON file."""
    folder = path.resolve().parent
    parts = PurePosixPath(name.replace("\\", "/"))
    file = (folder / parts).resolve()
    if parts.is_absolute() or ":" in name or not file.is_relative_to(folder):
        raise OpenError(f"{path} names the weights {name!r}, which lie outside its folder; they are not read.")
    if not file.is_file():
        raise OpenError(f"{path} needs the file of weights {name} beside it, which is missing.")
    return file


def _dequantised(array: np.ndarray, quantization: dict[str, Any] | None) -> np.ndarray:
    if quantization is None or array.dtype.kind == "f":
        return array.astype(np.float32) if array.dtype.kind == "f" else array
    scale, low = float(quantization.get("scale", 1.0)), float(quantization.get("min", 0.0))
    return (array.astype(np.float64) * scale + low).astype(quantization.get("original_dtype", "float32"))


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
