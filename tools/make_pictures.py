"""Make every picture of the README and the docs from the code: `python tools/make_pictures.py [FOLDER]`.

The same pictures come out each time on one machine, but for those that show measured times.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import tensorview as tv

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.growth import draw, measure  # noqa: E402
from tools import page_pictures  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
WIDE = (1600, 900)


def closed() -> Image.Image:
    """The shipped scene "lenet5": every layer a closed box."""
    return _shipped("lenet5", legend=True)


def opened() -> Image.Image:
    """The shipped scene "lenet5-open": convolutions and a pooling show every map."""
    return _shipped("lenet5-open", legend=True, colour_bar=True)


def light() -> Image.Image:
    """The shipped scene "lenet5-light", for print."""
    return _shipped("lenet5-light", legend=True)


def encodings() -> Image.Image:
    """The first convolution of LeNet-5 in the three encodings, side by side."""
    subject = tv.open_model("lenet5")
    first = nn.Sequential(OrderedDict(conv1=subject.module.conv1, relu1=subject.module.relu1))
    trace = tv.capture(first, subject.preprocess(subject.samples[2].image))
    size = (800, 800)
    parts = []
    for encoding in ("kind", "sequential", "signed"):
        scene = tv.Scene(trace, open=["conv1", "relu1"], encoding=encoding)
        parts.append(tv.screenshot(scene, size=size, title=f'encoding = "{encoding}"', colour_bar=True))
    return _side_by_side(parts)


def own_model() -> Image.Image:
    """A model with a skip connection that is not one of the shipped."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3, padding=1)
            self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
            self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
            self.pool = nn.AdaptiveAvgPool2d(7)
            self.classify = nn.Linear(4 * 7 * 7, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = torch.relu(self.conv2(torch.relu(self.conv1(x))) + x)
            return self.classify(self.pool(x).flatten(1))

    torch.manual_seed(3)
    digit = tv.open_model("lenet5").samples[6].image
    trace = tv.capture(Block().eval(), torch.from_numpy(digit / 255.0).float()[None, None])
    scene = tv.Scene(trace, class_names=[str(i) for i in range(10)], theme="light")
    return tv.screenshot(scene, size=WIDE, title="A residual block of your own", legend=True)


def branches() -> Image.Image:
    """GoogLeNet as about twenty boxes, with the branches of one of its inception blocks side by side."""
    subject = tv.open_model("torchvision:googlenet", random_weights=True)
    across, down = np.meshgrid(np.linspace(-1, 1, 224), np.linspace(-1, 1, 224))
    disc = np.hypot(across - 0.2, down + 0.1) < 0.5
    colours = np.stack([across * 0.5 + 0.5, np.where(disc, 0.9, 0.25), 0.5 - down * 0.5], axis=2)
    picture = Image.fromarray((colours * 255).astype(np.uint8))
    trace = tv.capture(subject.module, subject.preprocess(picture))
    scene = tv.Scene(trace, open=["inception3b"])
    return tv.screenshot(scene, size=WIDE, title="GoogLeNet, one inception block open", legend=True)


def growth() -> Image.Image:
    """What an update costs over the number of layers, measured."""
    torch.set_num_threads(2)
    return draw(measure()["growth"])


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "lenet5": closed,
    "lenet5-open": opened,
    "lenet5-light": light,
    "encodings": encodings,
    "own-model": own_model,
    "branches": branches,
    "playground": page_pictures.playground,
    "lab": page_pictures.lab,
    "growth": growth,
}


def make(folder: Path) -> None:
    """Write every picture into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in PICTURES.items():
        path = folder / f"{name}.png"
        made().save(path, optimize=True)
        print(f"{path} {path.stat().st_size / 1000:.0f} kB")


def _shipped(name: str, legend: bool = False, colour_bar: bool = False) -> Image.Image:
    title, scene = tv.SceneFile.load(name).title, tv.load_scene(name).scene
    return tv.screenshot(scene, size=WIDE, title=title, legend=legend, colour_bar=colour_bar)


def _side_by_side(parts: list[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)))
    x = 0
    for part in parts:
        whole.paste(part, (x, 0))
        x += part.width
    return whole


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
