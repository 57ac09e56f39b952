"""Make models/digits.npz: ten drawn digits, one for each class, and a pool of real handwriting.

    python tools/make_samples.py --out models/digits.npz

The ten are drawn here, with a round pen along smooth curves. The pool is 20 digits of each class from the
test set "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, CC BY 4.0), which
scikit-learn carries: 8 x 8 pixels, enlarged smoothly. It is drawn by chance, so the model may get some of it
wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from strokes import STYLES, draw

from tensorview.opening import prepare_digit

PER_CLASS = 20


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.round(values * 255).astype(np.uint8)


def drawn_digits() -> np.ndarray:
    """(10, 28, 28) uint8, 255 = ink."""
    return np.stack([to_bytes(prepare_digit(draw(STYLES[digit][0]))) for digit in range(10)])


def written_digits() -> tuple[np.ndarray, np.ndarray]:
    """(200, 28, 28) uint8, 255 = ink, and (200,) uint8 labels, of scikit-learn's digits in random order."""
    from sklearn.datasets import load_digits

    data = load_digits()
    generator = np.random.default_rng(0)
    rows = [generator.choice(np.flatnonzero(data.target == digit), PER_CLASS, replace=False) for digit in range(10)]
    chosen = generator.permutation(np.concatenate(rows))
    return np.stack([enlarge(image) for image in data.images[chosen]]), data.target[chosen].astype(np.uint8)


def enlarge(image: np.ndarray) -> np.ndarray:
    """(28, 28) uint8 of an (8, 8) image in [0, 16], of whose broad strokes only the core is kept."""
    small = Image.fromarray(image.astype(np.float32) / 16)
    large = np.asarray(small.resize((80, 80), Image.Resampling.BICUBIC))
    return to_bytes(prepare_digit(np.clip((large - 0.3) / 0.45, 0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    pool_images, pool_labels = written_digits()
    np.savez_compressed(
        options.out,
        images=drawn_digits(),
        labels=np.arange(10, dtype=np.uint8),
        pool_images=pool_images,
        pool_labels=pool_labels,
    )


if __name__ == "__main__":
    main()
