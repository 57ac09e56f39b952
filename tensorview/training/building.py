"""The network that is trained: one of the lab's architectures, or a person's own model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from ..errors import OpenError
from ..opening import load_weights, open_model
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

    @property
    def title(self) -> str:
        """The network's name for people."""
        return ARCHITECTURES.get(self.architecture, self.architecture)

    def with_architecture(self, name: str) -> Recipe:
        """Another architecture; the own model's name gives the own model again."""
        if self.model_spec is not None and name == own_name(self.model_spec):
            return replace(self, architecture=name)
        return replace(self, architecture=name, weights=None if name != self.architecture else self.weights)

    def build(self, data: Data) -> tuple[nn.Module, Data]:
        """The network, and the data as it takes them.

        Raises:
            OpenError, ModelNotFound, TrustRequired, MissingExtra: it cannot be opened, or does not fit the data.
        """
        if self.model_spec is None or self.architecture in ARCHITECTURES:
            model = make_architecture(self.architecture, data.input_spec.shape, len(data.class_names), self.seed)
            if self.weights is not None:
                load_weights(model, self.weights, self.trust)
            return model, data
        return self._open(data, self.model_spec)

    def _open(self, data: Data, spec: str) -> tuple[nn.Module, Data]:
        has_own = spec.endswith((".py",)) or ".py:" in spec or ":" in spec or "." not in spec
        fresh = self.weights is None and has_own
        try:
            subject = open_model(
                spec, weights=self.weights, trust=self.trust, input_shape=self.input_shape, random_weights=fresh
            )
        except OpenError as error:
            if self.input_shape is not None or "input shape" not in str(error):
                raise
            subject = open_model(
                spec, weights=self.weights, trust=self.trust, input_shape=data.input_spec.shape, random_weights=fresh
            )
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
