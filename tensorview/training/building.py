"""The network that is trained: one of the lab's architectures, or a person's own model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from ..errors import OpenError
from ..opening import brings_weights, load_weights, open_model
from ..opening.shapes import takes
from .architectures import ARCHITECTURES, make_architecture
from .data import Data


@dataclass(frozen=True)
class Recipe:
    """What is needed to build a network with fresh weights.

    Attributes:
        architecture: one of `ARCHITECTURES`; where there is a `model_spec`, what it is called.
        model_spec: a person's own model, as `tensorview.opening.open_model` takes it; comes before `architecture`.
        weights: a file of weights to begin with, instead of fresh ones.
        weights_of: the architecture that they belong to, the one above by default; another begins with fresh ones.
        trust: load weights or a model from a file that can run code.
        input_shape: (C, H, W) of one input of `model_spec`, where the model does not take the data's own.
        seed: of the fresh weights, and of the order of the examples.
    """

    architecture: str = "lenet5"
    model_spec: str | None = None
    weights: str | None = None
    trust: bool = False
    input_shape: tuple[int, ...] | None = None
    seed: int = 0
    weights_of: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights_of", self.weights_of or self.architecture)

    @property
    def title(self) -> str:
        """The network's name for people."""
        return ARCHITECTURES.get(self.architecture, self.architecture)

    @property
    def names(self) -> tuple[str, ...]:
        """The architectures that it can have, the own model among them."""
        return (*ARCHITECTURES, *([] if self.model_spec is None else [own_name(self.model_spec)]))

    def with_architecture(self, name: str) -> Recipe:
        """Another architecture; the own model's name gives the own model again, and weights stay with theirs.

        Raises:
            OpenError: there is none of that name.
        """
        if name not in self.names:
            raise OpenError(f"There is no architecture {name!r}: choose of {', '.join(self.names)}.")
        return replace(self, architecture=name)

    def build(self, data: Data) -> tuple[nn.Module, Data]:
        """The network, and the data as it takes them.

        Raises:
            OpenError, ModelNotFound, TrustRequired, MissingExtra: it cannot be opened, or does not fit the data.
        """
        if self.model_spec is None or self.architecture in ARCHITECTURES:
            model = make_architecture(self.architecture, data.input_spec.shape, len(data.class_names), self.seed)
            if self._given is not None:
                load_weights(model, self._given, self.trust)
            return model, data
        return self._open(data, self.model_spec)

    @property
    def _given(self) -> str | None:
        return self.weights if self.architecture == self.weights_of else None

    def _open(self, data: Data, spec: str) -> tuple[nn.Module, Data]:
        fresh = self._given is None and not brings_weights(spec)
        opened = partial(open_model, spec, weights=self._given, trust=self.trust, random_weights=fresh)
        try:
            subject = opened(input_shape=self.input_shape)
        except OpenError as error:
            if error.lacks != "input_shape":
                raise
            subject = opened(input_shape=data.input_spec.shape)
        model, shape = subject.module, data.input_spec.shape
        if self.input_shape is None and takes(model, shape):
            data = replace(data, input_spec=replace(subject.input_spec, shape=shape))
        else:
            data = data.fitted(subject.input_spec)
        _check(model, data, subject.name)
        return model.train(), data


def own_name(spec: str) -> str:
    """What a person's own model is called among the architectures: "net.py:Net" of "somewhere/net.py:Net"."""
    return spec.replace("\\", "/").rpartition("/")[2]


def _check(model: nn.Module, data: Data, name: str) -> None:
    """Raises OpenError unless the model gives one number for each class and has something to train."""
    if not any(value.requires_grad for value in model.parameters()):
        raise OpenError(f"{name} has no parameters that can be trained.")
    with torch.no_grad():
        was = model.training
        try:
            output = model.eval()(torch.zeros(2, *data.input_spec.shape))
        except Exception as error:  # somebody else's code
            raise OpenError(f"{name} does not run on images of {data.input_spec.shape}: {error}.") from error
        finally:
            model.train(was)
    classes = len(data.class_names)
    if not isinstance(output, torch.Tensor) or tuple(output.shape) != (2, classes):
        what = tuple(output.shape[1:]) if isinstance(output, torch.Tensor) else type(output).__name__
        raise OpenError(
            f"{name} gives {what} for an image; to learn {data.name} it must give ({classes},), a class each."
        )
