"""The table of a model's layers: shapes, parameters, multiply-adds and memory, for one sample.

A multiply-add is one product that is added to a sum; torch's own counter (`torch.utils.flop_counter`) counts it as two
operations. Biases, normalizations, activations and pooling are not counted, as it is usual.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .capture import Layer, Trace, structure
from .capture.recorder import plain_path

if TYPE_CHECKING:
    from torch import nn

_HEADS = ("layer", "kind", "output", "parameters", "multiply-adds", "memory")
_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8, "128": 16}


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name, kind: as in the trace; "" for the kind of parameters that belong to no layer.
        shape: of its output for one sample.
        parameters: how many numbers it brings; those that an earlier row has brought are not counted again.
        shared: how many of its parameters an earlier row has brought.
        multiply_adds: how many for one sample; None where they are not known.
        bytes: of its output for one sample.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    parameters: int = 0
    shared: int = 0
    multiply_adds: int | None = 0
    bytes: int = 0


@dataclass(frozen=True)
class Summary:
    """A model's rows and their sums.

    Attributes:
        model: the model's class.
        rows: in execution order.
        parameters: as torch counts them, `sum(p.numel() for p in model.parameters())`.
        trainable: those of them that require a gradient.
        multiply_adds: of one sample.
        bytes: of all outputs for one sample.
        parameter_bytes: of all parameters.
        warnings: what could not be told.
    """

    model: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    multiply_adds: int
    bytes: int
    parameter_bytes: int
    warnings: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [_HEADS, *(_cells(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [_aligned(line, widths) for line in lines]
        rule = "-" * max(map(len, table))
        frozen = self.parameters - self.trainable
        held = f"{self.parameters:,}" + (f", {frozen:,} of them frozen" if frozen else "")
        sums = (
            f"{self.model}: {len(self.rows)} rows, for one sample",
            f"parameters     {held} ({_memory(self.parameter_bytes)})",
            f"multiply-adds  {self.multiply_adds:,}",
            f"activations    {_memory(self.bytes)}",
        )
        return "\n".join((table[0], rule, *table[1:], rule, *sums, *(f"note: {said}" for said in self.warnings)))


def summarize(model: nn.Module, x: Any = None, dtype: str | None = None) -> Summary:
    """The table of `model` on an input such as `x`; nothing is computed but shapes, if these do not depend on values.

    Args:
        model: any `nn.Module`.
        x: an input, or the shape of one sample, as `(3, 224, 224)`, of which the values are zeros.
        dtype: of an input that is given by its shape.

    Raises:
        CaptureError: the model does not take such an input.
    """
    from torch.nn.parameter import is_lazy

    trace = _structure(model, x, dtype)
    named = model.named_parameters(remove_duplicate=False)
    given = {plain_path(name): p for name, p in named if not is_lazy(p)}
    ids = {name: str(id(p)) for name, p in given.items()}  # of tied weights the same
    sizes = {ids[name]: p.numel() for name, p in given.items()}
    wide = {ids[name]: p.element_size() for name, p in given.items()}
    rows: list[Row] = []
    brought: set[str] = set()
    for layer in trace:
        used = {ids.get(name, name): size for name, size in layer.parameters().items()}
        new = sum(size for key, size in used.items() if key not in brought)
        brought.update(used)
        sizes.update(used)
        old = sum(used.values()) - new
        rows.append(Row(layer.name, layer.kind, layer.shape, new, old, multiply_adds(layer, trace), _bytes(layer)))
    rest = sum(size for key, size in sizes.items() if key not in brought)
    if rest:
        rows.append(Row("(of no layer)", "", parameters=rest))
    total = sum(sizes.values())
    unknown = [row.name for row in rows if row.multiply_adds is None]
    said = f"the multiply-adds of {', '.join(map(repr, unknown))} are not known, and not in the sum"
    return Summary(
        model=trace.model_name,
        rows=tuple(rows),
        parameters=total,
        trainable=total - sum(p.numel() for p in model.parameters() if not p.requires_grad),
        multiply_adds=sum(row.multiply_adds or 0 for row in rows),
        bytes=sum(row.bytes for row in rows),
        parameter_bytes=sum(size * wide.get(key, 4) for key, size in sizes.items()),
        warnings=(*trace.warnings, said) if unknown else trace.warnings,
    )


def _structure(model: nn.Module, x: Any, dtype: str | None) -> Trace:
    """The structure of the model."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    log.addFilter(_nothing)  # of errors that are raised as well, and that the model may catch
    try:
        return structure(model, x, dtype)
    finally:
        log.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


# Multiply-adds -----------------------------------------------------------------------------------------------------


def multiply_adds(layer: Layer, trace: Trace) -> int | None:
    """Of one layer for one sample; None where its work is not known."""
    if ":" in layer.name or layer.kind == "input":
        return 0
    count, hyper = _COUNTS.get(layer.kind), layer.info.hyper
    if "multiply_adds" in hyper:
        # A convolution, say, that was made of something else than products.
        unseen = hyper["multiply_adds"] == 0 and count not in (None, _merge)
        return None if unseen else hyper["multiply_adds"]
    try:
        return 0 if count is None else count(layer, trace)
    except (KeyError, IndexError, TypeError):
        return None


def _convolution(layer: Layer, trace: Trace) -> int:
    """Each output is a sum over the kernel and the channels of its group.

    H W C_in K^2 C_out of Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference"
    (2017), appendix A.1. A transposed convolution spreads each input over the kernel instead.
    """
    hyper = layer.info.hyper
    kernel = hyper["kernel_size"]
    kernel = math.prod(kernel) if isinstance(kernel, (tuple, list)) else kernel
    if "transpose" in layer.module_type.lower():
        entering = trace[layer.parents[0]].shape
        cells = math.prod(entering[-len(layer.shape[1:]) :])
        return cells * hyper["in_channels"] * hyper["out_channels"] // hyper["groups"] * kernel
    return math.prod(layer.shape) * hyper["in_channels"] // hyper["groups"] * kernel


def _linear(layer: Layer, trace: Trace) -> int:
    """A product of matrices: each output is a sum over the inner dimension."""
    hyper = layer.info.hyper
    if "in1_features" in hyper:  # bilinear: x A y, first with A
        return math.prod(layer.shape) * hyper["in1_features"] * hyper["in2_features"]
    return math.prod(layer.shape) * (hyper["inner"] if "inner" in hyper else hyper["in_features"])


def _merge(layer: Layer, trace: Trace) -> int:
    return math.prod(layer.shape) * layer.info.hyper.get("inner", 0)


def _attention(layer: Layer, trace: Trace) -> int:
    """Scores and weighted sums, and for a module the projections of queries, keys, values and result.

    Vaswani et al., "Attention Is All You Need" (2017), section 3.2 and table 1.
    """
    heads, rows, columns = trace[f"{layer.name}:weights"].shape
    if layer.module_type == "scaled_dot_product_attention":
        return 2 * heads * rows * columns * layer.shape[-1]
    hyper = layer.info.hyper
    width = hyper.get("embed_dim", layer.shape[-1])
    keys, values = hyper.get("kdim") or width, hyper.get("vdim") or width
    projections = rows * width * width * 2 + columns * width * (keys + values)
    windows = heads // hyper["num_heads"]  # that are folded into the batch
    return windows * (projections + 2 * rows * columns * width)


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _recurrent(layer: Layer, trace: Trace) -> int | None:
    """In each step every gate takes the input and the last state: the equations of `torch.nn.LSTM` and `GRU`."""
    hyper, name = layer.info.hyper, layer.module_type
    gates = next((number for start, number in _GATES.items() if name.startswith(start)), None)
    if gates is None or "hidden_size" not in hyper:
        return None
    hidden, steps = hyper["hidden_size"], math.prod(layer.shape[:-1])  # of all sequences of one sample
    if name.endswith("Cell"):
        return steps * gates * hidden * (hyper["input_size"] + hidden)
    directions = 2 if hyper["bidirectional"] else 1
    out = hyper.get("proj_size") or hidden
    work = 0
    for number in range(hyper["num_layers"]):
        entering = hyper["input_size"] if number == 0 else out * directions
        work += gates * hidden * (entering + out) + (hidden * out if out != hidden else 0)
    return steps * directions * work


_COUNTS: dict[str, Callable[[Layer, Trace], int | None]] = {
    "convolution": _convolution,
    "linear": _linear,
    "merge": _merge,
    "attention": _attention,
    "recurrent": _recurrent,
}


# Text --------------------------------------------------------------------------------------------------------------


def _cells(row: Row) -> tuple[str, ...]:
    parameters = f"{row.parameters:,}" if row.parameters or not row.shared else "shared"
    work = "?" if row.multiply_adds is None else f"{row.multiply_adds:,}"
    return row.name, row.kind, " x ".join(map(str, row.shape)), parameters, work, _memory(row.bytes)


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    """Words to the left, numbers to the right."""
    parts = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(parts).rstrip()


def _memory(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    power = min(int(math.log10(size) // 3), 4)
    return f"{size / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _bytes(layer: Layer) -> int:
    digits = "".join(c for c in layer.dtype.split("_")[0] if c.isdigit())
    return math.prod(layer.shape) * _BYTES.get(digits, 1)
