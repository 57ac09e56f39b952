"""What to say when a forward pass raises."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

Shape = tuple[int, ...]

_SIZES = (
    ("in_channels", "out_channels"),
    ("in_features", "out_features"),
    ("input_size", "hidden_size"),
    ("num_embeddings", "embedding_dim"),
)


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
    shapes: tuple[Shape, ...]


def explain(failure: Failure, name: str, inputs: tuple[Shape, ...], unbatched: Failure | None) -> str:
    """One sentence: which layer, what it was given, what it needs, what to do."""
    given = " and ".join(map(str, failure.shapes)) or "no tensor"
    needs = needed_shape(failure.what, failure.shapes[0]) if failure.shapes else None
    what = f"but needs {needs}" if needs else f"and raised {_first_sentence(failure.error)}"
    said = f"{_title(name, failure.what)} was given {given} {what}"
    fed = " and ".join(map(str, inputs))
    if unbatched is not None:
        meant = " and ".join(str((1, *shape)) for shape in inputs)
        return f"{said}; the first dimension of an input is the batch: give {meant} instead of {fed}"
    if needs:
        advice = "give the model an input of the size it was made for"
        return f"{said}: {advice} instead of {fed}, or change that layer"
    return f"{said}; the model's input was {fed}"


def unbatched_warning(failure: Failure) -> str:
    """What to say of a convolution that took its channels for the batch."""
    advice = "the first dimension of an input is the batch"
    return f"layer '{failure.base}' was given {failure.shapes[0]}, which has no batch dimension: {advice}"


def needed_shape(module: nn.Module | str, shape: Shape) -> str | None:
    """The shape that a module needs, where `shape` does not fit it and the module's own numbers say so."""
    if isinstance(module, nn.modules.conv._ConvNd):
        space = ("L",) if len(module.kernel_size) == 1 else ("D", "H", "W")[-len(module.kernel_size) :]
        batched, bare = len(space) + 2, len(space) + 1
        fits = len(shape) in (bare, batched) and shape[-bare] == module.in_channels
        return None if fits else f"(N, {module.in_channels}, {', '.join(space)})"
    if isinstance(module, nn.LayerNorm):
        sizes = tuple(module.normalized_shape)
        return None if shape[-len(sizes) :] == sizes else f"(..., {', '.join(map(str, sizes))})"
    if isinstance(module, nn.Linear | nn.RNNBase):
        size = module.in_features if isinstance(module, nn.Linear) else module.input_size
        return None if shape[-1:] == (size,) else f"(..., {size})"
    if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm):
        size = module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features
        return None if shape[1:2] == (size,) else f"(N, {size}, ...)"
    return None


def _title(name: str, what: nn.Module | str) -> str:
    if not isinstance(what, nn.Module):
        return f"function '{name}'"
    pair = next((pair for pair in _SIZES if all(isinstance(getattr(what, size, None), int) for size in pair)), None)
    numbers = f", {getattr(what, pair[0])} -> {getattr(what, pair[1])}" if pair else ""
    return f"layer '{name}' ({type(what).__name__}{numbers})" if name else f"the model ({type(what).__name__})"


def _first_sentence(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    said = lines[0].partition(". ")[0].rstrip(" .:") if lines else "no message"
    return f"{type(error).__name__}: {said}"
