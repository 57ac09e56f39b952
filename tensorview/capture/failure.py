"""What to say when a forward pass raises."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn


class Failure(NamedTuple):
    """The module or function that raised.

    Attributes:
        error: what was raised; None where something is only suspected.
        base: its dotted path; for a function the calling module's path and the function's name.
        what: the module, or the function's name.
        shapes: of the tensors that it was given.
    """

    error: BaseException | None
    base: str
    what: nn.Module | str
    shapes: tuple[tuple[int, ...], ...]


def explain(
    failure: Failure, name: str, inputs: tuple[tuple[int, ...], ...], unbatched: Failure | None
) -> str:
    """One sentence: which layer, what it was given, what it needs, what to do."""
    module = failure.what
    given = " and ".join(map(str, failure.shapes)) or "no tensor"
    needs = (
        needed_shape(module, failure.shapes[0]) if isinstance(module, nn.Module) and failure.shapes else None
    )
    fed = " and ".join(map(str, inputs))
    if needs:
        said = f"{_title(name, module)} was given {given} but needs {needs}"
    else:
        said = f"{_title(name, module)} was given {given} and raised {type(failure.error).__name__}: {_first_line(failure.error)}"
    if unbatched is not None:
        meant = ", ".join(str((1, *shape)) for shape in inputs)
        return f"{said}; the first dimension of an input is the batch: give {meant} instead of {fed}"
    if needs:
        return f"{said}: give the model an input of the size it was made for instead of {fed}, or change that layer"
    return f"{said}; the model's input was {fed}"


def needed_shape(module: nn.Module, shape: tuple[int, ...]) -> str | None:
    """The shape that a module needs, where `shape` does not fit it and the module's own numbers say so."""
    if isinstance(module, nn.modules.conv._ConvNd):
        space = ("L",) if len(module.kernel_size) == 1 else ("D", "H", "W")[-len(module.kernel_size) :]
        channels = shape[-len(space) - 1] if len(shape) > len(space) else None
        fits = channels == module.in_channels and len(shape) <= len(space) + 2
        return None if fits else f"(N, {module.in_channels}, {', '.join(space)})"
    if isinstance(module, (nn.Linear, nn.RNNBase)):
        size = module.in_features if isinstance(module, nn.Linear) else module.input_size
        return None if shape[-1:] == (size,) else f"(..., {size})"
    if isinstance(module, nn.LayerNorm):
        size = tuple(module.normalized_shape)
        return None if shape[-len(size) :] == size else f"(..., {', '.join(map(str, size))})"
    if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm):
        channels = module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features
        return None if len(shape) > 1 and shape[1] == channels else f"(N, {channels}, ...)"
    return None


def _title(name: str, what: Any) -> str:
    if not isinstance(what, nn.Module):
        return f"function '{name}'"
    sizes = {
        "in_channels": "out_channels",
        "in_features": "out_features",
        "input_size": "hidden_size",
        "num_embeddings": "embedding_dim",
    }
    numbers = next(
        (f", {getattr(what, a)} -> {getattr(what, b)}" for a, b in sizes.items() if hasattr(what, a)), ""
    )
    part = "layer" if name else "the model"
    return (
        f"{part} '{name}' ({type(what).__name__}{numbers})" if name else f"the model ({type(what).__name__})"
    )


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else "no message"
