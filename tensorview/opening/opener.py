"""Open a model by what a person calls it."""

from __future__ import annotations

import difflib
import importlib
import importlib.resources
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from torch import nn

from ..errors import ModelNotFound, OpenError
from .convention import Declared, checked_shape
from .draws import same_draws
from .files import open_file
from .formats import FORMATS, Format, format_of
from .local import local
from .python_file import run_file, take_model
from .samples import digits_pool, read_samples
from .subject import Origin, Subject
from .torchvision_models import near_names, open_torchvision
from .weights import load_weights, weights_alone

_SHIPPED_PACKAGE = "tensorview.models"
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".ckpt"}
_OTHER_SUFFIXES = {".pb", ".tflite", ".mlmodel", ".mlpackage", ".caffemodel", ".engine"}


def open_model(
    spec: str | Path | nn.Module | Subject,
    *,
    weights: str | Path | None = None,
    trust: bool = False,
    input_shape: Sequence[int] | None = None,
    random_weights: bool = False,
) -> Subject:
    """A model with its input, its class names and its preprocessing.

    Args:
        spec: "lenet5", a shipped model; "net.py:Net", a class, a function or a model in a Python file, which
            is run ("net.py" alone if it defines one model); "torchvision:resnet18"; a file that holds a whole model,
            "net.onnx", see `tensorview.opening.formats`; or an `nn.Module`.
        weights: a file of weights to load: .safetensors, or what `torch.save` wrote.
        trust: load weights or a model from a file that can run code.
        input_shape: shape of one input without the batch dimension; comes before what the model says.
        random_weights: leave the weights as the constructor draws them, the same each time.

    Returns:
        The subject. How a model of your own tells its input and class names: `tensorview.opening.convention`.

    Raises:
        ModelNotFound: nothing has that name; near names are offered.
        OpenError: it cannot be opened, or the weights do not fit.
        TrustRequired: the file is one that can run code.
        MissingExtra: torchvision, or what a file's format needs, is not installed.
    """
    if isinstance(spec, Subject):
        if weights is not None or random_weights:
            raise OpenError(f"{spec.name} is open already: give its weights where it is opened.")
        return spec
    if weights is not None and random_weights:
        raise OpenError("Random weights and a file of weights exclude each other: give one.")
    shape = None if input_shape is None else checked_shape(input_shape, _called(spec))
    if isinstance(spec, nn.Module):
        return _describe(spec, None, _called(spec), weights, trust, shape)
    origin = Origin(str(spec), None if weights is None else str(weights), random_weights, shape)
    return replace(_open(str(spec), weights, trust, shape, random_weights), origin=origin)


def _called(spec: str | Path | nn.Module) -> str:
    return type(spec).__name__ if isinstance(spec, nn.Module) else str(spec)


def _open(
    spec: str, weights: str | Path | None, trust: bool, shape: tuple[int, ...] | None, random_weights: bool
) -> Subject:
    """The model that a person named."""
    local(spec)
    if spec.startswith("torchvision:"):
        subject = open_torchvision(spec.partition(":")[2], weights is None and not random_weights, shape)
        if weights is not None:
            load_weights(subject.module, weights, trust)
        return subject
    if (format := _format_of(spec)) is not None:
        if weights is not None or random_weights:
            raise OpenError(f"{spec} holds its own weights; no others can be given.")
        found = open_file(_at_home(spec), format, trust, shape)
        return _describe(found, None, Path(spec).name, None, trust, shape) if isinstance(found, nn.Module) else found
    with same_draws():
        module, file, name = _shipped(spec) if spec in shipped_models() else _from_file(spec)
    module.eval()
    if weights is None and not random_weights:
        weights = Declared(module, file, name).beside("weights")
    return _describe(module, file, name, weights, trust, shape)


def brings_weights(spec: str) -> bool:
    """Whether a name that `open_model` takes is that of a file with weights in it, so that no others can be given."""
    return _format_of(spec) is not None


def _format_of(spec: str) -> Format | None:
    is_name = spec in shipped_models() or spec.startswith("torchvision:")
    return None if is_name else format_of(spec)


def shipped_models() -> tuple[str, ...]:
    """The names of the models that come with tensorview."""
    files = importlib.resources.files(_SHIPPED_PACKAGE).iterdir()
    return tuple(sorted(file.name[:-3] for file in files if file.name.endswith(".py") and file.name[0] != "_"))


def _describe(
    module: nn.Module,
    file: ModuleType | None,
    name: str,
    weights: str | Path | None,
    trust: bool,
    shape: tuple[int, ...] | None,
) -> Subject:
    """The subject of a model and what it says about itself; the weights are loaded into it."""
    declared = Declared(module, file, name)
    if weights is not None:
        load_weights(module, weights, trust)
    preparation = declared.preparation()
    samples_file = declared.beside("samples")
    samples, pool = read_samples(samples_file) if samples_file else ((), tuple)
    return Subject(
        name=name,
        module=module,
        input_spec=declared.input_spec(shape),
        inputs=declared.inputs() if shape is None else {},
        class_names=declared.class_names(),
        title=declared.text("title") or type(module).__name__,
        description=declared.text("description"),
        samples=samples,
        preparation=preparation,
        load_pool=digits_pool(pool) if preparation.kind == "digit" else pool,
    )


def _shipped(name: str) -> tuple[nn.Module, ModuleType, str]:
    file = importlib.import_module(f"{_SHIPPED_PACKAGE}.{name}")
    return take_model(file, name), file, name


def _from_file(spec: str) -> tuple[nn.Module, ModuleType, str]:
    """The model in a Python file, the file's module, and its name for messages, "net.py:Net"."""
    path, colon, attribute = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        path, attribute = spec, ""
    _refuse_other_formats(path)
    if not path.endswith(".py"):
        raise ModelNotFound(_not_found(spec))
    file = run_file(_at_home(path))
    name = Path(path).name
    return take_model(file, name, attribute), file, f"{name}:{attribute}" if attribute else name


def _at_home(path: str) -> Path:
    """The path with "~" as the folder that it stands for; of a person who is not known here it is left."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _refuse_other_formats(path: str) -> None:
    suffix = Path(path).suffix.lower()
    if suffix in _WEIGHT_SUFFIXES:
        raise OpenError(weights_alone(path))
    if suffix in _OTHER_SUFFIXES:
        raise OpenError(f"{path} is of a format that does not open here: {_what_opens()}.")


def _not_found(spec: str) -> str:
    near = difflib.get_close_matches(spec.lower(), shipped_models(), n=3, cutoff=0.6)
    near = near or near_names(spec.lower())
    offer = f"did you mean {' or '.join(near)}? " if near else ""
    return f"There is no model {spec!r}: {offer}{_what_opens()}."


def _what_opens() -> str:
    suffixes = ", ".join(suffix for format in FORMATS for suffix in format.suffixes)
    shipped = ", ".join(shipped_models())
    return f"what opens is a shipped model ({shipped}), net.py:Net, torchvision:NAME and a file of {suffixes}"
