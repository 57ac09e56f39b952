"""Training without a page: for scripts, and for measuring."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..errors import OpenError
from ..runs import Run
from .building import Recipe, own_name
from .data import open_data
from .hyperparameters import Hyperparameters, usual
from .loop import Loop


def train(
    path: str | os.PathLike[str],
    data: str | os.PathLike[str] = "digits",
    architecture: str = "lenet5",
    hyper: Hyperparameters | None = None,
    *,
    epochs: float = 3,
    model_spec: str | None = None,
    seed: int = 0,
    device: str | None = None,
    on_batch: Callable[[Loop], object] = lambda loop: None,
) -> Run:
    """Train in this process and record it, as `Trainer` does in one of its own.

    Args:
        path: the run directory. A run that is there already moves to "lab.1" beside it.
        data: one of `DATA`, or a folder with a folder of images for each class.
        architecture: one of `ARCHITECTURES`.
        hyper: the hyperparameters; the usual ones of the data by default.
        epochs: how often every training example is seen.
        model_spec: a model of one's own, as `tensorview.opening.open_model` takes it, instead of `architecture`.
        seed: of the weights and of the order of the examples.
        device: where to train, as torch names it; a GPU if there is one.
        on_batch: called after every batch.

    Returns:
        The run, whose newest evaluation is on all held-out data.

    Raises:
        OpenError: something of it is not possible; the loss is not a number.
        MissingExtra: torchvision is not installed.
    """
    recipe = Recipe(architecture if model_spec is None else own_name(model_spec), model_spec, seed=seed)
    loop = Loop(path, open_data(os.fspath(data)), recipe, hyper or usual(os.fspath(data)), device=device)
    try:
        while loop.epoch < epochs:
            loop.batch()
            if loop.halted:
                raise OpenError(loop.halted)
            loop.evaluate_when_due()
            on_batch(loop)
        loop.evaluate(whole=True)
    finally:
        loop.close()
    return Run.open(path)
