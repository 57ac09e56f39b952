"""What `open_model` returns: a model together with all that is needed to show it an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from .preprocessing import InputSpec, Preparation, to_input, to_picture


@dataclass(frozen=True, eq=False)
class Sample:
    """An example input and its truth.

    Attributes:
        label: index into the class names.
        image: (H, W) or (H, W, 3) uint8; of a digit, 0 is paper and 255 ink.
    """

    label: int
    image: np.ndarray


class Guess(NamedTuple):
    """One line of a prediction: the class's index, its name, and its probability in [0, 1]."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True, eq=False, repr=False)
class Subject:
    """A model, its input, its class names and its preprocessing.

    Attributes:
        name: what it was opened by, "lenet5".
        module: the model; in `eval` mode if it was opened here, as it was if it was handed over.
        input_spec: shape, dtype and value range of one input.
        class_names: one for each output, empty where they are not known.
        title: its name for people, "LeNet-5".
        description: a sentence about it, may be empty.
        samples: example inputs, one for each class where it has any.
        preparation: how it wants its images.
        load_pool: gives the examples that `random_sample` draws from.
    """

    name: str
    module: nn.Module
    input_spec: InputSpec
    class_names: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    samples: tuple[Sample, ...] = ()
    preparation: Preparation = field(default_factory=Preparation)
    load_pool: Callable[[], Sequence[Sample]] = field(default=tuple)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_spec.shape))
        kind = type(self.module).__name__
        return f"<Subject {self.name}: {kind}, input {shape}, {len(self.class_names)} classes>"

    def preprocess(self, image: Image.Image | np.ndarray, prepare: bool = True) -> torch.Tensor:
        """The model's input for an image.

        Args:
            image: a Pillow image of any size and mode; or an array, (H, W), (H, W, C) or (C, H, W), integers
                in [0, 255] or floating in the range of `input_spec`. A digit's array has bright ink; in a Pillow
                image, ink darker than the paper is found and inverted.
            prepare: False leaves out the model's own placing (a digit is not cropped, scaled and centred).

        Returns:
            (1, *input_spec.shape) tensor of `input_spec.dtype`, on the model's device.

        Raises:
            OpenError: the image cannot become such an input.
        """
        device = next((value.device for value in self.module.parameters()), None)
        return to_input(image, self.input_spec, self.preparation, prepare).to(device)

    def preview(self, x: torch.Tensor) -> np.ndarray:
        """What the model receives, as a picture.

        Args:
            x: (1, C, H, W) or (C, H, W), as `preprocess` gives it; C is 1, 3 or 4.

        Returns:
            (H, W) uint8 for one channel, else (H, W, C) uint8.

        Raises:
            OpenError: the input is not an image.
        """
        return to_picture(x, self.input_spec)

    @cached_property
    def pool(self) -> Sequence[Sample]:
        """The examples that `random_sample` draws from; may be empty."""
        return self.load_pool() or self.samples

    def random_sample(self, generator: np.random.Generator | None = None) -> Sample | None:
        """One example of the pool; None where there is none."""
        if not self.pool:
            return None
        generator = generator or np.random.default_rng()
        return self.pool[int(generator.integers(len(self.pool)))]

    def class_name(self, index: int) -> str:
        """The name of a class; "class 12" where names are not known."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    def probabilities(self, output: np.ndarray | torch.Tensor) -> np.ndarray:
        """See `probabilities`."""
        return probabilities(output)

    def top(self, output: np.ndarray | torch.Tensor, k: int = 5) -> tuple[Guess, ...]:
        """The k most probable classes of one output, the first the most probable.

        Raises:
            ValueError: the output is not one vector.
        """
        shares = probabilities(output)
        order = np.argsort(-np.nan_to_num(shares, nan=-1.0), kind="stable")[:k]
        return tuple(Guess(int(i), self.class_name(int(i)), float(shares[i])) for i in order)


def probabilities(output: np.ndarray | torch.Tensor) -> np.ndarray:
    """The probabilities that one output of a classifier stands for.

    Args:
        output: (K,) or (1, K) logits or log-probabilities, or probabilities, which are told by lying in
            [0, 1] and summing to 1.

    Returns:
        (K,) float64 in [0, 1] with sum 1; all NaN where an output is NaN or infinite.

    Raises:
        ValueError: the output is not one vector.
    """
    if isinstance(output, torch.Tensor):
        output = output.detach().cpu().double().numpy()
    values = np.asarray(output, dtype=np.float64)
    if values.ndim == 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"An output of shape {values.shape} is not one vector of classes.")
    if not np.isfinite(values).all():
        return np.full(values.shape, np.nan)
    if values.min() >= 0 and values.max() <= 1 and abs(values.sum() - 1) < 1e-3:
        return values / values.sum()
    shares = np.exp(values - values.max())
    return shares / shares.sum()
