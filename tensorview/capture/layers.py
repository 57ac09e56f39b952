"""What a forward pass leaves behind, as plain data: layers, their modules, statistics, and the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

KINDS = (
    "input",
    "convolution",
    "pooling",
    "linear",
    "activation",
    "normalization",
    "dropout",
    "reshape",
    "merge",
    "padding",
    "upsampling",
    "embedding",
    "attention",
    "recurrent",
    "other",
    "module",
)

HISTOGRAM_BINS = 32


@dataclass(frozen=True)
class ModuleInfo:
    """What stands on a layer's card besides its values.

    Attributes:
        text: `repr` of the module, or `max_pool2d(kernel_size=2)` for a function.
        hyper: numbers, strings and tuples such as `kernel_size`, `stride`, `groups`, `in_features`, as the module
            has them. In a structure also `multiply_adds`, of one sample, where these were counted; None where they
            are not known.
        parameters: `(name, shape, number of elements)` of each parameter.
        parameter_count: how many numbers the parameters hold together.
        formula: the count spelled out, `"6 x (1 x 5 x 5) weights + 6 biases = 156"` with multiplication signs for
            `x`; empty without parameters.
    """

    text: str = ""
    hyper: dict[str, Any] = field(default_factory=dict)
    parameters: tuple[tuple[str, tuple[int, ...], int], ...] = ()
    parameter_count: int = 0
    formula: str = ""


@dataclass(frozen=True, eq=False)
class Stats:
    """Statistics of one layer's values; NaN and infinities are counted and then left out.

    Attributes:
        min, max, mean, std: over the finite values; `std` is the population's. NaN when nothing is finite.
        zeros, nan, inf, size: numbers of values.
        counts: (32,) int64, the histogram of the finite values.
        edges: (33,) float64, the histogram's bin edges.
    """

    min: float
    max: float
    mean: float
    std: float
    zeros: int
    nan: int
    inf: int
    size: int
    counts: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Stats:
        """Compute the statistics of an array of any shape and real dtype."""
        flat = np.asarray(values, dtype=np.float64).ravel()
        nan = int(np.isnan(flat).sum())
        inf = int(np.isinf(flat).sum())
        finite = flat[np.isfinite(flat)] if nan or inf else flat
        zeros = int((finite == 0).sum())
        if finite.size == 0:
            counts, edges = np.zeros(HISTOGRAM_BINS, np.int64), np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
            low = high = mean = std = float("nan")
        else:
            low, high = float(finite.min()), float(finite.max())
            # Sums and squares of values near float64's limit would overflow.
            scale = max(abs(low), abs(high)) if max(abs(low), abs(high)) > 1e150 else 1.0
            scaled = finite / scale
            mean, std = float(scaled.mean()) * scale, float(scaled.std()) * scale
            counts, edges = np.histogram(scaled, bins=HISTOGRAM_BINS)
            edges = edges * scale
        return cls(low, high, mean, std, zeros, nan, inf, int(flat.size), counts, edges)


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """One module call, one function call or one input of a forward pass.

    Attributes:
        name: unique in its trace: `"features.0"`, its second call `"relu#2"`, a function `"layer1.0.add"`, the
            further tensors of a tuple `"lstm:1"`, attention maps `"attn:weights"`, an input the parameter of
            `forward` (`"input"` for a single one).
        kind: one of `KINDS`; "module" is several layers that a scene shows as one, no layer of a trace.
        module_type: `"Conv2d"`, for a function its name (`"add"`), `"Input"` for an input.
        module_name: dotted path of the module; for a function the module whose `forward` called it; `""` for an input.
        call: which call of that name it is, from 1.
        shape: of one sample, the batch dimension removed.
        dtype: as the module returned it, `"float32"`, `"bfloat16"`, ...
        parents: names of the layers and inputs that feed it, in argument order, without duplicates.
        values: read-only, C-contiguous, of `shape`, exactly what the module returned. float16 and bfloat16 are
            held as float32, other dtypes as they are. `None` where not asked for, and for complex numbers. Those of
            attention maps are computed when first asked for.
        reduced: in place of `values` where these were not asked for, or a budget did not allow for them: `"mean"`,
            `"max"` or both over the maps, each float32 of the shape of a map (`shape[1:]`). `None` beside `values`,
            and where nothing is kept.
        info: the module's text, hyperparameters and parameters.
    """

    name: str
    kind: str
    module_type: str
    module_name: str
    call: int
    shape: tuple[int, ...]
    dtype: str
    parents: tuple[str, ...] = ()
    values: np.ndarray | None = None
    info: ModuleInfo = field(default_factory=ModuleInfo)
    reduced: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"layer '{self.name}' has kind '{self.kind}', which is not one of {', '.join(KINDS)}")
        if self.values is not None:
            if self.values.shape != self.shape:
                raise ValueError(f"layer '{self.name}' of shape {self.shape} was given values of {self.values.shape}")
            object.__setattr__(self, "values", read_only(self.values))

    @cached_property
    def stats(self) -> Stats | None:
        """Statistics of `values`, computed when first asked for; `None` without values."""
        return None if self.values is None else Stats.of(self.values)

    def parameters(self) -> dict[str, int]:
        """The size of each parameter, by its name in the model; the further tensors of a call have none."""
        if ":" in self.name:
            return {}
        of_module = self.name.split("#")[0] == (self.module_name or self.module_type.lower())
        prefix = f"{self.module_name}." if of_module and self.module_name else ""
        return {prefix + name: size for name, _, size in self.info.parameters}

    def with_values(self, values: np.ndarray | None, reduced: Mapping[str, np.ndarray] | None = None) -> Layer:
        """The same layer with other values, which must be read-only and of its shape; nothing is checked or copied.

        `dataclasses.replace` costs as much as a small layer's own forward.
        """
        layer = object.__new__(Layer)
        contents = layer.__dict__
        contents.update(self.__dict__)
        contents.pop("stats", None)
        contents["values"] = values
        contents["reduced"] = reduced
        return layer

    def with_values_of(self, other: Layer) -> Layer:
        """The same layer with what was kept of another one of its shape."""
        return self.with_values(other.values, other.reduced)

    def deferred(self, compute: Callable[[], np.ndarray]) -> Layer:
        """The same layer with values that are computed when first asked for, read-only and of its shape."""
        layer = object.__new__(_Deferred)
        contents = layer.__dict__
        contents.update(self.__dict__)
        contents.pop("stats", None)
        del contents["values"]
        contents["_compute"] = compute
        return layer

    def __repr__(self) -> str:
        fed = f" from {', '.join(self.parents)}" if self.parents else ""
        held = "" if self.__dict__.get("values", self) is not None or self.reduced else ", values not held"
        return f"Layer('{self.name}', {self.module_type}, {self.shape} {self.dtype}{fed}{held})"


class _Deferred(Layer):
    """A layer whose values nobody may ever look at."""

    @cached_property
    def values(self) -> np.ndarray:
        values: np.ndarray = self.__dict__.pop("_compute")()
        return values


class Graph:
    """Who feeds whom.

    Attributes:
        edges: `(parent, child)` between layers, ordered by child in execution order, then by argument.
        input_edges: the same from inputs to layers.
    """

    def __init__(self, inputs: Iterable[Layer], layers: Iterable[Layer]) -> None:
        given = {layer.name for layer in inputs}
        self._parents = {layer.name: layer.parents for layer in layers}
        pairs = [(parent, child) for child, parents in self._parents.items() for parent in parents]
        self.edges = tuple(pair for pair in pairs if pair[0] not in given)
        self.input_edges = tuple(pair for pair in pairs if pair[0] in given)
        self._children: dict[str, list[str]] = {name: [] for name in (*given, *self._parents)}
        for parent, child in pairs:
            self._children[parent].append(child)
        self._parents.update(dict.fromkeys(given, ()))

    def parents(self, name: str) -> tuple[str, ...]:
        """Names of what feeds `name`. Raises KeyError for an unknown name."""
        return self._parents[name]

    def children(self, name: str) -> tuple[str, ...]:
        """Names of what `name` feeds, in execution order. Raises KeyError for an unknown name."""
        return tuple(self._children[name])

    def __repr__(self) -> str:
        return f"Graph({len(self._parents)} nodes, {len(self.edges) + len(self.input_edges)} edges)"


def read_only(values: np.ndarray) -> np.ndarray:
    """A C-contiguous view (or copy, where it is not contiguous) of `values` that cannot be written to."""
    view = np.ascontiguousarray(values).reshape(values.shape).view()
    view.flags.writeable = False
    return view
