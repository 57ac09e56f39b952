"""Keras 3 on its torch backend: `model.fit(..., callbacks=[WatchCallback(probe, "runs/first")])`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import OpenError
from ..opening.keras_graph import wired_keras
from ..opening.keras_model import import_keras
from .recording import Recording

keras = import_keras()


class WatchCallback(keras.callbacks.Callback):  # type: ignore[name-defined]
    """Records what a model in training makes of a probe.

    Layers have Keras's names, and their values are channels first, as everywhere in tensorview. A model with Python of
    its own, in place of a graph of layers, is seen by the functions that it calls. Steps are those of the optimizer;
    metrics are what Keras logs of every batch and of the validation. A training that goes on, as after
    `BackupAndRestore`, goes on with the run that is in the directory.

    Keras tells its callbacks nothing of an exception: then the run ends with the process, or when `fit` is called
    again with the same callback.

    Args:
        probe: as `fit` takes it, with its batch dimension; several inputs as a tuple or list.
        path, options: those of `tensorview.watch`.

    Raises:
        TypeError: `watch` has no such option.
        OpenError: Keras runs on another backend.
    """

    def __init__(self, probe: Any, path: str | os.PathLike[str], **options: Any) -> None:
        super().__init__()
        self._path, self._options = path, options
        self._probe = tuple(map(_tensor, probe)) if isinstance(probe, (tuple, list)) else _tensor(probe)
        self._recording = Recording(self._probe, path, options)
        self._number = self._before = 0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._recording.end()  # of a training that an exception ended

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self._recording.run is None:  # now every other callback has restored what it restores
            self._number = int(self.model.optimizer.iterations)
            model, probe = followed(self.model, self._probe)
            self._recording = Recording(probe, self._path, self._options)
            self._recording.begin(model, self._number)
        self._before = self._number

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._number = self._before + batch + 1
        self._recording.step(self._number, logs or {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        held_out = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
        self._recording.step(self._number, held_out)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._recording.end(record_last=True)


def followed(model: Any, probe: Any) -> tuple[nn.Module, Any]:
    """A module that runs Keras's layers and has their names, and the probe as it takes it."""
    given = probe if isinstance(probe, tuple) else (probe,)
    inputs = list(getattr(model, "inputs", None) or [])
    is_open = any(None in tensor.shape[1:] for tensor in inputs)
    try:
        module = wired_keras(model, model.name, _first(given[0]).shape[1:] if is_open else None)
    except OpenError:
        return model, probe
    ends = zip(given, module.entries, inputs, strict=False)
    moved = tuple(_first(x) if _is_moved(entry.shape, tensor.shape[1:]) else x for x, entry, tensor in ends)
    # The module has no parameters of its own, only Keras's layers do.
    vars(module)["named_parameters"] = lambda *args, **kwargs: _parameters(model)
    return module, moved if isinstance(probe, tuple) else moved[0]


def _parameters(model: Any, prefix: str = "") -> Iterator[tuple[str, nn.Parameter]]:
    """Keras's variables that are trained, as "conv2d.kernel"."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _parameters(layer, f"{prefix}{layer.name}.")
        else:
            for variable in layer.trainable_variables:
                yield f"{prefix}{layer.name}.{variable.name}", variable.value


def _is_moved(entry: tuple[int, ...], own: tuple[int | None, ...]) -> bool:
    """Whether channels come first for the module where they come last for Keras."""
    if len(own) < 2 or entry != tuple(size or given for size, given in zip((own[-1], *own[:-1]), entry, strict=True)):
        return False
    return len(own) > 2 or entry != own


def _first(x: Tensor) -> Tensor:
    return x.movedim(-1, 1) if x.ndim > 2 else x


def _tensor(x: Any) -> Tensor:
    tensor = x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.asarray(x))
    return tensor.float() if tensor.dtype is torch.float64 else tensor
