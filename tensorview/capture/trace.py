"""A trace: everything that one forward pass did."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import OpenError, TensorviewError
from .layers import Graph, Layer, ModuleInfo, read_only

FORMAT = "1"
_APART = ("values", "reduced", "info")  # of a layer's fields
_DESCRIBED = tuple(field.name for field in fields(Layer) if field.name not in _APART)


class LayerNotFound(TensorviewError, KeyError):
    """No layer or input has that name."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the message in quotes


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What one forward pass did. Immutable.

    Attributes:
        inputs: one layer of kind `"input"` for each tensor that was given.
        layers: in execution order, the inputs not among them.
        outputs: names of the layers that the model returned, in order.
        warnings: sentences about what could not be shown.
        error: what stopped the pass, `None` when it finished.
        model_name: the model's class.
    """

    inputs: tuple[Layer, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    model_name: str = ""

    @cached_property
    def graph(self) -> Graph:
        """Who feeds whom."""
        return Graph(self.inputs, self.layers)

    @cached_property
    def _index(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in (*self.inputs, *self.layers)}

    def renewed(self, inputs: tuple[Layer, ...], layers: tuple[Layer, ...]) -> Trace:
        """The same trace with the values of another pass of the same structure; the graph is shared."""
        trace = Trace(inputs, layers, self.outputs, self.warnings, self.error, self.model_name)
        trace.__dict__["graph"] = self.graph
        return trace

    def difference(self, other: Trace) -> str:
        """What the layers of another trace have otherwise than these, in words; empty where names and shapes agree."""
        if "graph" in other.__dict__ and other.graph is self.__dict__.get("graph"):
            return ""  # of the same plan
        mine, others = (*self.inputs, *self.layers), (*other.inputs, *other.layers)
        if len(mine) != len(others):
            return f"the trace has {len(others)} layers, not {len(mine)}"
        for old, new in zip(mine, others, strict=True):
            if old.shape != new.shape or old.name != new.name:
                return f"the trace has {new.name!r} of shape {new.shape}, not {old.name!r} of {old.shape}"
        return ""

    def __getitem__(self, name: str) -> Layer:
        """The layer or input called `name`. Raises `LayerNotFound` (a KeyError), which offers near names."""
        try:
            return self._index[name]
        except KeyError:
            near = difflib.get_close_matches(str(name), self._index, n=3)
            hint = f"near names are {', '.join(map(repr, near))}" if near else "list(trace) shows those there are"
            raise LayerNotFound(f"the trace has no layer {name!r}: {hint}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{layer.name} {layer.shape}" for layer in self.inputs)
        failed = f", failed: {self.error}" if self.error else ""
        return f"Trace({self.model_name or 'model'} of {shapes}: {len(self.layers)} layers{failed})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to a safetensors file; a reader sees the old file or the whole new one.

        Raises OSError when the file cannot be written.
        """
        path = Path(path)
        described = {
            "inputs": [_describe(layer) for layer in self.inputs],
            "layers": [_describe(layer) for layer in self.layers],
            "outputs": self.outputs,
            "warnings": self.warnings,
            "error": self.error,
            "model_name": self.model_name,
        }
        held = {name: layer.values for name, layer in self._index.items() if layer.values is not None}
        for name, layer in self._index.items():
            held.update({_reduced_key(name, part): array for part, array in (layer.reduced or {}).items()})
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            save_file(held, unfinished, metadata={"tensorview.trace": FORMAT, "trace": json.dumps(described)})
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read what `save` wrote.

        Raises OpenError for a file that holds no trace, OSError for one that cannot be read.
        """
        try:
            with safe_open(os.fspath(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("tensorview.trace") != FORMAT:
                    raise OpenError(f"'{path}' holds no trace of format {FORMAT}: write it with Trace.save")
                described = json.loads(metadata["trace"])
                values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            inputs, layers = (
                tuple(_restore(record, values) for record in described.pop(part)) for part in ("inputs", "layers")
            )
            outputs, warnings = tuple(described.pop("outputs")), tuple(described.pop("warnings"))
            return cls(inputs, layers, outputs, warnings, **described)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, OpenError):
                raise
            raise OpenError(f"'{path}' cannot be read as a trace ({error}): write it with Trace.save") from error


def _describe(layer: Layer) -> dict[str, Any]:
    """Everything of a layer but its values, ready for JSON."""
    described = {name: getattr(layer, name) for name in _DESCRIBED}
    return {**described, "info": vars(layer.info)}


def _restore(record: dict[str, Any], values: dict[str, np.ndarray]) -> Layer:
    described = {name: _as_tuples(value) for name, value in record.items() if name != "info"}
    info = {name: _as_tuples(value) for name, value in record["info"].items()}
    keys = {part: _reduced_key(record["name"], part) for part in ("mean", "max")}
    reduced = {part: read_only(values[key]) for part, key in keys.items() if key in values} or None
    return Layer(**described, info=ModuleInfo(**info), values=values.get(record["name"]), reduced=reduced)


def _reduced_key(name: str, part: str) -> str:
    """What the mean or maximum of a layer's maps is called in a file; no layer's name has a line break."""
    return f"{name}\n{part}"


def _as_tuples(value: Any) -> Any:
    """JSON knows lists only; layers hold tuples."""
    if isinstance(value, list):
        return tuple(_as_tuples(item) for item in value)
    if isinstance(value, dict):
        return {name: _as_tuples(item) for name, item in value.items()}
    return value
