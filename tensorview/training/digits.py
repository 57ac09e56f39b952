"""scikit-learn's handwritten digits, made as large as MNIST's. They come with the package and need no network.

E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits" (1998), UCI Machine Learning Repository: 1,797
digits of 8 x 8 pixels with 17 greys, from 43 people.
"""

from __future__ import annotations

import numpy as np
import torch

from ..opening import InputSpec, Preparation, prepare_digit
from .augmentation import Augmentation
from .data import Data, Images

HELD_OUT = 360  # a fifth
GREYS = 16


def open_digits() -> Data:
    """1,437 digits to learn from and 360 held out, the same each time, each class with its share in both."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    # Placed as a drawn digit is: cropped, scaled to 20 x 20 pixels, its centre of mass in the middle of 28 x 28.
    pixels = np.stack([np.round(prepare_digit(image / GREYS) * 255).astype(np.uint8) for image in found.images])
    labels = found.target.astype(np.int64)
    train, held_out = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=0)

    def part(rows: np.ndarray) -> Images:
        return Images(torch.from_numpy(pixels[rows])[:, None], torch.from_numpy(labels[rows]))

    return Data(
        name="digits",
        train=part(train),
        held_out=part(held_out),
        class_names=tuple(str(name) for name in found.target_names),
        input_spec=InputSpec((1, 28, 28)),
        preparation=Preparation("digit"),
        augmentation=Augmentation(rotation=10, scale=0.1, shift=2),
    )
