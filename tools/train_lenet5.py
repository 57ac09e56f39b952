"""Train the LeNet-5 that ships, or measure it.

    python tools/train_lenet5.py --data ROOT --out models/lenet5.safetensors
    python tools/train_lenet5.py --data ROOT --evaluate models/lenet5.safetensors

ROOT is the `root` of torchvision.datasets.MNIST: the files lie in ROOT/MNIST/raw. `--download` fetches them.
MNIST's test images are read by `--evaluate` only; `--holdout 500` watches training on images kept out of it.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from strokes import STYLES, draw, random_hand
from tensorview.models.lenet5 import LeNet5
from torch import Tensor, nn
from torch.nn import functional as F

from tensorview.opening import import_torchvision, prepare_digit
from tensorview.opening.mnist import load_mnist

PER_STYLE = 40  # drawn digits of each style, beside MNIST's thousands
PIXEL = 2.0 / 28.0  # one pixel of a 28 x 28 image in the coordinates of grid_sample


@dataclass(frozen=True)
class Recipe:
    """What decides the result besides the data."""

    epochs: int = 300
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    average: float = 0.998  # decay of the moving average of the weights, per step
    clean: float = 0.1  # share of the images that are shown as they are
    seed: int = 0


def mnist(root: Path, train: bool) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) float32 in [0, 1] and labels (N,) int64."""
    images, labels = load_mnist(root, train)
    return torch.from_numpy(images / np.float32(255))[:, None], torch.from_numpy(labels.astype(np.int64))


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Digits in the styles of strokes.py by random hands, in the same form: 1 with its flag, a crossed 7."""
    generator = np.random.default_rng(seed)
    images, labels = [], []
    for digit, styles in STYLES.items():
        for style in styles:
            for _ in range(PER_STYLE):
                images.append(prepare_digit(draw(style, random_hand(generator), generator)))
                labels.append(digit)
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels)


def uniform(n: int, low: float, high: float) -> Tensor:
    return torch.empty(n).uniform_(low, high)


def affine(n: int) -> Tensor:
    """(n, 2, 3) float32: rotation to 15 degrees, scale 0.8 to 1.18, shear to 0.2, shift to 2.5 pixels."""
    angle = uniform(n, -math.radians(15), math.radians(15))
    shear = uniform(n, -0.2, 0.2)
    scale_x, scale_y = uniform(n, 0.85, 1.25), uniform(n, 0.85, 1.25)
    cos, sin = angle.cos(), angle.sin()
    top = torch.stack([cos * scale_x, (shear * cos - sin) * scale_y, uniform(n, -2.5, 2.5) * PIXEL], 1)
    bottom = torch.stack([sin * scale_x, (shear * sin + cos) * scale_y, uniform(n, -2.5, 2.5) * PIXEL], 1)
    return torch.stack([top, bottom], 1)


def elastic(n: int) -> Tensor:
    """(n, 28, 28, 2) float32: a smooth random field, most of it under a pixel and a half."""
    strength = uniform(n, 0.0, 1.0).view(n, 1, 1, 1) * PIXEL
    coarse = torch.randn(n, 2, 6, 6) * strength
    field = F.interpolate(coarse, size=(28, 28), mode="bicubic", align_corners=False)
    return field.permute(0, 2, 3, 1)


def restroke(images: Tensor) -> Tensor:
    """Thicker, thinner or softer strokes, by a random amount; a quarter of the images is left."""
    n = len(images)
    thick = F.max_pool2d(images, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-images, 3, stride=1, padding=1)
    soft = F.avg_pool2d(images, 3, stride=1, padding=1)
    choice = torch.randint(0, 4, (n,))
    amount = uniform(n, 0.0, 1.0)
    amount = torch.where(choice == 1, amount * 0.6, amount).view(n, 1, 1, 1)  # fully thinned, a thin stroke is gone
    other = torch.stack([thick, thin, soft, images])[choice, torch.arange(n)]
    return images + amount * (other - images)


def augment(images: Tensor, clean: float) -> Tensor:
    """Digits as other hands would have drawn them, (N, 1, 28, 28) float32 in [0, 1]."""
    n = len(images)
    grid = F.affine_grid(affine(n), [n, 1, 28, 28], align_corners=False) + elastic(n)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    moved = restroke(moved)
    contrast = torch.exp(uniform(n, -0.5, 0.5)).view(n, 1, 1, 1)
    moved = moved.clamp(0, 1) ** contrast
    keep = (torch.rand(n) < clean).view(n, 1, 1, 1)
    return torch.where(keep, images, moved)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    model.eval()
    right = sum(
        int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(1000), labels.split(1000), strict=True)
    )
    return right / len(labels)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def train(images: Tensor, labels: Tensor, recipe: Recipe, held: tuple[Tensor, Tensor] | None = None) -> nn.Module:
    """The moving average of the weights at the end of the last epoch; no epoch is chosen."""
    torch.manual_seed(recipe.seed)
    model = LeNet5()
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * (len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.1, final_div_factor=1000
    )
    begin, step = time.perf_counter(), 0
    for epoch in range(recipe.epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(images)).split(recipe.batch):
            if len(rows) < recipe.batch:
                continue
            loss = F.cross_entropy(model(augment(images[rows], recipe.clean)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            # while young, the average would be mostly the random start
            follow(average, model, min(recipe.average, 1 - 1 / step))
            total += loss.item()
        report(epoch, recipe, total / (len(images) // recipe.batch), begin, average, held)
    return average


def report(
    epoch: int,
    recipe: Recipe,
    loss: float,
    begin: float,
    average: nn.Module,
    held: tuple[Tensor, Tensor] | None,
) -> None:
    line = f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.4f}  {time.perf_counter() - begin:.0f} s"
    if held is not None:
        line += f"  held out {accuracy(average, *held):.2%}"
    print(line, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="root of torchvision's MNIST")
    parser.add_argument("--download", action="store_true", help="fetch MNIST to ROOT with torchvision")
    parser.add_argument("--out", type=Path, metavar="FILE", help="train, and write the weights there")
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="measure these weights on the test images")
    parser.add_argument("--holdout", type=int, default=0, help="training images kept out to watch (default 0)")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if (options.out is None) == (options.evaluate is None):
        parser.error("name one of --out FILE (to train) and --evaluate FILE (to measure)")
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.download:
        import_torchvision().datasets.MNIST(options.data, download=True)
    if options.evaluate:
        model = LeNet5()
        model.load_state_dict(load_file(options.evaluate))
        images, labels = mnist(options.data, train=False)
        print(f"accuracy {accuracy(model, images, labels):.2%} on {len(labels)} test images")
        return
    images, labels = mnist(options.data, train=True)
    held = (images[: options.holdout], labels[: options.holdout]) if options.holdout else None
    images, labels = images[options.holdout :], labels[options.holdout :]
    more_images, more_labels = drawn(options.seed)
    images, labels = torch.cat([images, more_images]), torch.cat([labels, more_labels])
    model = train(images, labels, Recipe(epochs=options.epochs, seed=options.seed), held)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, options.out)


if __name__ == "__main__":
    main()
