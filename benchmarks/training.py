"""How fast the lab's trainer is beside a bare loop, what recording takes of it, and how soon LeNet-5 reads digits.

python -m benchmarks.training [--mnist ROOT]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from tensorview.runs import Run
from tensorview.training import Hyperparameters, Trainer, train
from tensorview.training.architectures import make_architecture
from tensorview.training.data import Data, open_data
from tensorview.training.worker import threads

SECONDS = 2.0  # of each measurement
ROUNDS = 3
GOAL = 0.97


def bare(data: Data, hyper: Hyperparameters, architecture: str, seconds: float) -> float:
    """Examples per second of the shortest loop that learns the same, with as many threads as the trainer has.

    It is what a script has: the network as torch lays it out, and torch's own choice of how SGD steps.
    """
    torch.set_num_threads(threads())
    model = make_architecture(architecture, data.input_spec.shape, len(data.class_names)).train()
    model.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.SGD(
        model.parameters(), hyper.learning_rate, hyper.momentum, weight_decay=hyper.weight_decay
    )
    generator = torch.Generator().manual_seed(0)
    started, seen = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for rows in torch.randperm(len(data.train), generator=generator).split(hyper.batch_size):
            x = data.augmentation(data.inputs(data.train.pixels[rows]), generator)
            loss = cross_entropy(model(x), data.train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(rows)
    return seen / (time.perf_counter() - started)


def wait(trainer: Trainer, state: str) -> None:
    while trainer.status.state != state:
        if trainer.status.state == "failed":
            raise SystemExit(trainer.status.message)
        time.sleep(0.01)


def lab(trainer: Trainer, seconds: float) -> tuple[float, float]:
    """Examples per second of the trainer's process, which also records and judges, and recorded steps per second."""
    run, before = Run.open(trainer.run_path), trainer.status.examples
    started = time.perf_counter()
    trainer.start()
    wait(trainer, "running")
    time.sleep(seconds)
    trainer.pause()
    wait(trainer, "paused")
    took, recorded = time.perf_counter() - started, len(run.steps)
    trainer.save().result()  # the test on held-out data that follows a pause is over then
    run.refresh()
    return (trainer.status.examples - before) / took, (len(run.steps) - recorded) / took


def speed(data: Data, architecture: str, **changes: Any) -> dict[str, Any]:
    """Both in turn, so that both have the same machine."""
    hyper = Hyperparameters(**changes)
    plain, own, recorded = [], [], []
    with (
        tempfile.TemporaryDirectory(prefix="tensorview-bench-") as folder,
        Trainer(Path(folder) / "lab", architecture=architecture, hyper=hyper) as trainer,
    ):
        wait(trainer, "ready")
        for _ in range(ROUNDS):
            plain.append(bare(data, hyper, architecture, SECONDS))
            examples, steps = lab(trainer, SECONDS)
            own.append(examples)
            recorded.append(steps)
    return {
        "bare_per_s": round(median(plain)),
        "lab_per_s": round(median(own)),
        "lab_over_bare": round(median(a / b for a, b in zip(own, plain, strict=True)), 2),
        "recorded_steps_per_s": round(median(recorded), 1),
    }


def to_goal(folder: Path) -> dict[str, Any]:
    """Seconds from start until LeNet-5 has recognised 97 % of the held-out digits, and how many batches that took."""
    with Trainer(folder / "lab") as trainer:
        wait(trainer, "ready")
        run, started = Run.open(folder / "lab"), time.perf_counter()
        trainer.start()
        while run.metrics.at(1 << 40).get("validation_accuracy", 0.0) < GOAL:
            time.sleep(0.05)
            run.refresh()
        return {"seconds": round(time.perf_counter() - started, 1), "batches": trainer.status.step}


def mnist(root: str, folder: Path) -> dict[str, Any]:
    """Accuracy on MNIST's test images after one, two and three epochs."""
    os.environ["TENSORVIEW_DATA"] = root
    torch.set_num_threads(threads())
    run = train(folder / "lab", "mnist", epochs=3)
    ends = [int(steps[epochs >= n][0]) for steps, epochs in [run.metrics.series("epoch")] for n in (1, 2, 3)]
    return {"after_each_epoch": [run.metrics.at(step)["validation_accuracy"] for step in ends]}


def measure(root: str | None = None) -> dict[str, Any]:
    data = open_data("digits")
    figures: dict[str, Any] = {"trainer_threads": threads()}
    for name in ("lenet5", "resnet"):
        figures[f"train_{name}"] = speed(data, name)
    figures["train_lenet5_every_batch"] = speed(data, "lenet5", every=1)
    with tempfile.TemporaryDirectory(prefix="tensorview-bench-") as folder:
        figures["lenet5_to_97_percent"] = to_goal(Path(folder))
    if root is not None:
        with tempfile.TemporaryDirectory(prefix="tensorview-bench-") as folder:
            figures["mnist"] = mnist(root, Path(folder))
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--mnist", metavar="ROOT", help="train on MNIST too; its files lie in ROOT/MNIST/raw")
    print(json.dumps(measure(parser.parse_args().mnist), indent=2))
