"""Configurations of Keras 2's models: made such that Keras 3 reads them, and told safe or not."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

_NESTS = ("Sequential", "Functional", "Model", "InputLayer", "DTypePolicy", "Policy")
# They run Python, a saved TensorFlow program or another framework's module that the configuration names.
_RUNNING = frozenset(("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Wrapper", "Layer"))
# Arguments that Keras 3 no longer takes, by the layers that had them; all had their default in practice.
_GONE = {
    "DepthwiseConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "DepthwiseConv1D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SeparableConv1D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "BatchNormalization": ("renorm", "renorm_clipping", "renorm_momentum", "fused", "virtual_batch_size", "adjustment"),
    "LSTM": ("time_major", "implementation"),
    "GRU": ("time_major", "implementation"),
    "SimpleRNN": ("time_major", "implementation"),
    "Embedding": ("input_length", "input_dtype"),
}
_INPUT = "batch_input_shape"
_SHOWN = 100  # letters of a name that is none
_UNUSED = ("_regularizer", "_constraint")


def modernised(config: Any) -> Any:
    """A copy of a Keras 2 configuration that Keras 3 takes.

    Weights start as zeros, as the file's come in their place, so that a size that the file only claims takes no memory.
    """
    if isinstance(config, list):
        return [modernised(item) for item in config]
    if not isinstance(config, dict):
        return config
    name, inner = str(config.get("class_name", "")), config.get("config")
    if name == "Sequential" and isinstance(inner, list):  # as Keras wrote it before 2.2.3
        config = {**config, "config": {"name": "sequential", "layers": inner}}
    if name == "Sequential" and isinstance(config["config"], dict):
        config = {**config, "config": _with_input(config["config"])}
    elif name and isinstance(inner, dict):
        config = {**config, "config": _own_arguments(name, inner)}
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key.endswith("_initializer"):
            found[key] = "zeros"
        else:
            found[key] = None if key.endswith(_UNUSED) else modernised(value)
    return found


def _own_arguments(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A layer's arguments without those that Keras 3 has no longer."""
    gone = (*_GONE.get(name, ()), _INPUT)
    found = {key: value for key, value in config.items() if key not in gone}
    if name == "InputLayer" and _INPUT in config:
        found["batch_shape"] = config[_INPUT]
        found.pop("sparse", None)
    return found


def _with_input(config: dict[str, Any]) -> dict[str, Any]:
    """A sequential model's configuration with a layer for its input, whose shape stood in the first layer."""
    layers = config.get("layers")
    if not isinstance(layers, list) or not layers or not isinstance(layers[0], dict):
        return config
    name, inner = layers[0].get("class_name"), layers[0].get("config")
    if not isinstance(inner, dict) or _INPUT not in inner or name == "InputLayer":
        return config
    dtype = "int32" if name == "Embedding" else inner.get("dtype", "float32")
    given = {"batch_shape": inner[_INPUT], "dtype": dtype, "name": "input_of_the_model"}
    return {**config, "layers": [{"class_name": "InputLayer", "config": given}, *layers]}


def running_layer(config: Any, layers: Any) -> str:
    """The name of a class in a configuration that could run code, or that is none of Keras's own; "" for none.

    Args:
        config: of a model.
        layers: the module `keras.layers`.
    """
    own = {name for name, value in vars(layers).items() if inspect.isclass(value)} - _RUNNING
    for entry in _objects(config):
        name = entry["class_name"]
        module = entry.get("module") or "keras"
        if not isinstance(name, str) or (name not in own and name not in _NESTS):
            return str(name)[:_SHOWN]
        if not isinstance(module, str) or module.split(".")[0] != "keras" or entry.get("registered_name"):
            return f"{module}.{name}"
    return ""


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every nested dict that names a class."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _objects(value)
    elif isinstance(config, list):
        for item in config:
            yield from _objects(item)
