"""A training as one safetensors file: weights, the optimiser's state, the step and the hyperparameters. No pickle.

Weights have their own names, so that the file also loads as weights; the optimiser's tensors are named
"optimizer/PARAMETER/KEY". What is no tensor is JSON in the file's metadata, under "training".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ..errors import OpenError
from ..opening.weights import OPTIMIZER
from .hyperparameters import Hyperparameters

FORMAT = 1
KEY = "training"
MOST = 2**53  # what a page counts to without error


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training at a step.

    Attributes:
        weights: the model's state dict.
        state: the optimiser's tensors, by parameter and key.
        step: batches learned from, from 0 to 2**53.
        examples: examples learned from, within the same.
        hyper: the hyperparameters; `None` for a file of weights alone.
        architecture: the network's name, as `Status` has it; `None` for a file of weights alone.
    """

    weights: dict[str, Tensor]
    state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    step: int = 0
    examples: int = 0
    hyper: Hyperparameters | None = None
    architecture: str | None = None


def checkpoint_bytes(model: nn.Module, optimizer: torch.optim.Optimizer, about: dict[str, Any]) -> bytes:
    """The file of a training, as bytes."""
    tensors = dict(model.state_dict())
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMIZER}{name}/{key}"] = value
    # Copies, since safetensors takes no two names for the same memory.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    return save(copies, {KEY: json.dumps({"format": FORMAT, **about})})


def read_checkpoint(content: bytes) -> Checkpoint:
    """What is in the bytes of a file.

    Raises:
        OpenError: they are no whole safetensors file, or of another version; what is said of them is not possible.
    """
    try:
        tensors = load(content)
        about = json.loads(_metadata(content).get(KEY, "{}"))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OpenError("The file is not a whole safetensors file: save a checkpoint again, and load that.") from error
    if not isinstance(about, dict) or about.get("format", FORMAT) != FORMAT:
        raise OpenError("The checkpoint is of another version of tensorview: continue from it with that.")
    state: dict[str, dict[str, Tensor]] = {}
    for name in [name for name in tensors if name.startswith(OPTIMIZER)]:
        parameter, _, key = name.removeprefix(OPTIMIZER).rpartition("/")
        state.setdefault(parameter, {})[key] = tensors.pop(name)
    step, examples = _count("step", about), _count("examples", about)
    return Checkpoint(tensors, state, step, examples, _hyper(about), _architecture(about))


def _count(name: str, about: dict[str, Any]) -> int:
    value = about.get(name, 0)
    if type(value) is not int or not 0 <= value <= MOST:
        raise OpenError(f"The checkpoint's {name} is {str(value)[:40]!r}; it is a whole number from 0 to 2**53.")
    return value


def _hyper(about: dict[str, Any]) -> Hyperparameters | None:
    found = about.get("hyperparameters")
    if found is None:
        return None
    if not isinstance(found, dict):
        raise OpenError("The checkpoint's hyperparameters are not named values.")
    try:
        return Hyperparameters().changed(**found)
    except OpenError as error:
        raise OpenError(f"The checkpoint's hyperparameters are not possible: {error}") from error


def _architecture(about: dict[str, Any]) -> str | None:
    found = about.get("architecture")
    if found is not None and not isinstance(found, str):
        raise OpenError("The checkpoint's architecture is not a name.")
    return found


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of length, then that much JSON."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})


def load_into(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put weights and state into a model and a fresh optimiser of the same kind.

    Raises:
        OpenError: they do not fit; the model is then as it was.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.weights.items()}
    if wanted != found:
        name = next(name for name in [*wanted, *found] if wanted.get(name) != found.get(name))
        there, here = (str(shapes.get(name, "missing")) for shapes in (found, wanted))
        raise OpenError(f"The checkpoint does not fit {type(model).__name__}: {name} is {there} there and {here} here.")
    parameters = dict(model.named_parameters())
    for name, values in checkpoint.state.items():
        if name not in parameters or any(v.ndim and v.shape != parameters[name].shape for v in values.values()):
            raise OpenError(f"The checkpoint's optimiser does not fit {type(model).__name__}: {name} differs.")
    model.load_state_dict(checkpoint.weights)
    for name, values in checkpoint.state.items():
        # As the parameter lies in memory, which fused optimisers take for granted; Adam's count of steps is a number
        # and stays on the CPU.
        like = parameters[name].detach()
        state = {k: torch.empty_like(like, dtype=v.dtype).copy_(v) if v.ndim else v for k, v in values.items()}
        optimizer.state[parameters[name]] = state
