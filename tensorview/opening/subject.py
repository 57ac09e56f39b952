"""What `open_model` returns: a model together with all that is needed to show it an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..classes import Prediction, ranked
from ..errors import OpenError
from .images import open_input
from .preprocessing import InputSpec, Preparation, from_file, to_input, to_picture


@dataclass(frozen=True, eq=False)
class Sample:
    """An example input and its truth.

    Attributes:
        label: index into the class names.
        image: (H, W) or (H, W, 3) uint8; of a digit, 0 is paper and 255 ink.
    """

    label: int
    image: np.ndarray


@dataclass(frozen=True)
class Origin:
    """How to open a model again: the arguments of `open_model` as they were given."""

    spec: str
    weights: str | None = None
    random_weights: bool = False
    input_shape: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Subject:
    """A model, its input, its class names and its preprocessing.

    Attributes:
        name: what it was opened by, "lenet5".
        module: the model; in `eval` mode if it was opened here, as it was if it was handed over.
        input_spec: shape, dtype and value range of one input.
        inputs: where there are several, every one by its name as `forward` has it, the first with `input_spec`.
        class_names: one for each output, empty where they are not known.
        title: its name for people, "LeNet-5".
        description: a sentence about it, may be empty.
        samples: example inputs, one for each class where it has any.
        preparation: how it wants its images.
        load_pool: gives the examples that `random_sample` draws from.
        origin: how it was opened, None for a model that was handed over.
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
    origin: Origin | None = None
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)

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

    def read(self, path: str | Path, name: str = "") -> torch.Tensor:
        """An input in a file.

        Args:
            path: a picture, which is prepared as the model wants it; or a .npy file. There, uint8 of (H, W),
                (H, W, C) or (C, H, W) are a picture of any size as well. All else are numbers that are taken as they
                are, of the input's own shape; (H, W) and (H, W, C) are made (C, H, W).
            name: which of several inputs it is; the first by default.

        Returns:
            (1, *shape) tensor of the input's dtype, on the model's device.

        Raises:
            OpenError: there is no input of that name, or the file cannot be opened or become it.
        """
        spec = self._input(name) if name else self.input_spec
        preparation = self.preparation if spec is self.input_spec else Preparation()
        device = next((value.device for value in self.module.parameters()), None)
        return from_file(open_input(path), spec, preparation, str(path)).to(device)

    def _input(self, name: str) -> InputSpec:
        if name not in self.inputs:
            has = ", ".join(self.inputs) or "a single one, which needs no name"
            raise OpenError(f"{self.name} has no input {name!r}; it has {has}.")
        return self.inputs[name]

    def complete(
        self, x: torch.Tensor, given: Mapping[str, Image.Image | np.ndarray | torch.Tensor] | None = None
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """All that `forward` takes: `x` itself, or where there are several inputs each by its name.

        Args:
            x: the first input, with its batch dimension.
            given: others, as `preprocess` takes them, or as `read` returns them; those that are missing are zeros.

        Raises:
            OpenError: there is no input of a name, or what is given cannot become it.
        """
        given = given or {}
        for name in given:
            self._input(name)
        if not self.inputs:
            return x
        made: dict[str, torch.Tensor] = {}
        for name, spec in self.inputs.items():
            if name in given:
                other = given[name]
                if not isinstance(other, torch.Tensor):
                    other = to_input(other, spec, self.preparation if not made else Preparation())
                made[name] = other.to(x.device)
            else:
                zeros = torch.zeros(1, *spec.shape, dtype=getattr(torch, spec.dtype), device=x.device)
                made[name] = zeros.expand(len(x), *spec.shape) if made else x
        return made

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

    def top(self, output: np.ndarray | torch.Tensor, k: int = 5) -> tuple[Prediction, ...]:
        """The k most probable classes of one output, the first the most probable.

        Args:
            output: (K,) or (1, K), see `tensorview.classes.probabilities`.

        Raises:
            ValueError: the output is not one vector.
        """
        return ranked(output, self.class_names, k)
