"""A person's own images: a folder with a folder for each class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from ..errors import OpenError
from ..opening import InputSpec, open_image
from .augmentation import Augmentation
from .data import Data, Images, Progress

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
SMALLEST, LARGEST = 28, 64  # pixels a side that images are brought to
HELD_OUT = 0.2
NAMED = 3  # of the files that were left out


def open_folder(folder: Path, progress: Progress) -> Data:
    """The images of a folder, a fifth of each class held out, the same each time.

    They are brought to one square size, the usual one of their shorter sides within 28 and 64 pixels, cropped in the
    centre; they are grey if all of them are. Files that cannot be read are left out, and named in `notes`.

    Raises:
        OpenError: there are no two classes with two images each.
    """
    files = _files(folder)
    pictures: list[Image.Image] = []
    labels: list[int] = []
    unreadable: list[Path] = []
    names = sorted(files)
    total = sum(map(len, files.values()))
    for label, name in enumerate(names):
        for path in files[name]:
            progress(len(labels) / total, f"Reading {total:,} images.")
            try:
                pictures.append(_reduced(open_image(path)))
                labels.append(label)
            except OpenError:
                unreadable.append(path.relative_to(folder))
    few = [name for label, name in enumerate(names) if labels.count(label) < 2]
    if few:
        raise OpenError(
            f"The class {few[0]!r} has {labels.count(names.index(few[0]))} readable images; it needs 2 or more."
        )
    train, held_out = _divided(_pixels(pictures), np.array(labels, np.int64))
    return Data(
        name=folder.resolve().name,
        train=train,
        held_out=held_out,
        class_names=tuple(names),
        input_spec=InputSpec(tuple(train.pixels.shape[1:])),
        augmentation=Augmentation(flip=True),
        notes=_notes(unreadable),
    )


def _files(folder: Path) -> dict[str, list[Path]]:
    """The images of every class, by its name, in order. Raises OpenError."""
    try:
        found = {
            inside.name: sorted(
                path for path in inside.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
            )
            for inside in folder.iterdir()
            if inside.is_dir() and not inside.name.startswith(".")
        }
    except OSError as error:
        raise OpenError(f"{folder} cannot be read ({error.strerror}).") from error
    found = {name: paths for name, paths in found.items() if paths}
    if len(found) < 2:
        raise OpenError(
            f"{folder} has images in {len(found)} folders; it needs two or more, one for each class, with images "
            f"that end in {', '.join(SUFFIXES)}."
        )
    return found


def _reduced(image: Image.Image) -> Image.Image:
    """Mode L or RGB, on white where it is transparent, and small enough to keep many in memory."""
    if image.mode in ("LA", "RGBA"):
        behind = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(behind, image.convert("RGBA")).convert("L" if image.mode == "LA" else "RGB")
    share = LARGEST / min(image.size)
    if share >= 1:
        return image
    width, height = (max(1, round(side * share)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _pixels(pictures: list[Image.Image]) -> np.ndarray:
    """(N, C, S, S) uint8, of one size and one mode."""
    usual, _ = Counter(min(picture.size) for picture in pictures).most_common(1)[0]
    side = min(max(usual, SMALLEST), LARGEST)
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    fitted = [np.asarray(ImageOps.fit(p.convert(mode), (side, side), Image.Resampling.BILINEAR)) for p in pictures]
    pixels = np.stack(fitted)
    return pixels[:, None] if mode == "L" else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _divided(pixels: np.ndarray, labels: np.ndarray) -> tuple[Images, Images]:
    from sklearn.model_selection import train_test_split

    classes = int(labels.max()) + 1
    count = max(classes, round(HELD_OUT * len(labels)))  # at least one of each class
    rows = train_test_split(np.arange(len(labels)), test_size=count, stratify=labels, random_state=0)
    train, held_out = (Images(torch.from_numpy(pixels[part]), torch.from_numpy(labels[part])) for part in rows)
    return train, held_out


def _notes(unreadable: list[Path]) -> tuple[str, ...]:
    if not unreadable:
        return ()
    shown = ", ".join(map(str, unreadable[:NAMED]))
    more = f" and {len(unreadable) - NAMED:,} more" if len(unreadable) > NAMED else ""
    return (f"Left out, since they cannot be read: {shown}{more}.",)
