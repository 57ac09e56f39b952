"""What recording a training loop costs, how large a step is, and how soon a long run can be looked at."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tensorview.capture import Trace, capture
from tensorview.runs import Run, watch
from tensorview.runs.contents import CONTENTS
from tensorview.runs.directory import step_path
from tensorview.scene import Scene

from .capture import lenet

EVERY = 50  # the default of `watch`


class Block(nn.Module):
    """Two convolutions and a skip, as in He et al., "Deep Residual Learning for Image Recognition" (2015)."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and width == out
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.skip(x))


def resnet18() -> nn.Module:
    """A ResNet-18 for images of (3, 32, 32) and ten classes."""
    blocks = [
        Block(width, out, stride)
        for width, out, stride in (
            *((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)),
            *((128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)),
        )
    ]
    first = (nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class Loop:
    """A training loop on random data, one step at a time."""

    def __init__(self, model: nn.Module, x: torch.Tensor) -> None:
        self.model, self._x, self._y = model.train(), x, torch.randint(0, 10, (len(x),))
        self._optimiser = torch.optim.SGD(model.parameters(), 0.01)

    def __call__(self) -> torch.Tensor:
        loss = cross_entropy(self.model(self._x), self._y)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return loss.detach()


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="tensorview-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def overhead(loop: Loop, x: torch.Tensor, recorded: int, apart: int = 4, **options: Any) -> dict[str, Any]:
    """What recording adds to a loop's time, from the medians of one loop that records every few steps.

    Training and recording are timed apart at every step, so that what else the machine does touches both alike. What
    a recorded step does to the next step of training, by emptying the processor's caches, is counted as its cost.
    """
    train: tuple[list[float], list[float]] = ([], [])  # other steps; those after a recorded one
    record: tuple[list[float], list[float]] = ([], [])  # steps of which metrics are written; recorded ones
    with folder() as path, watch(loop.model, x, path, every=apart, keep=50, **options) as run:
        for number in range(1, recorded * apart + 2):
            started = perf_counter()
            loss = loop().item()
            between = perf_counter()
            run.step(loss=loss)
            record[number % apart == 0].append(perf_counter() - between)
            train[number % apart == 1].append(between - started)
        step = median(train[0])
        line, cost = median(record[0]), median(record[1]) + max(0.0, median(train[1]) - step)
        return {
            f"every_{EVERY}_percent": round((cost + (EVERY - 1) * line) / (EVERY * step) * 100, 1),
            "every_1_percent": round(cost / step * 100, 1),
            "training_step_ms": round(step * 1e3, 2),
            "recorded_step_ms": round(cost * 1e3, 2),
            "line_of_metrics_ms": round(line * 1e3, 3),
            "recorded_step_kB": round(run.bytes_per_step / 1e3),
        }


def sizes(model: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Kilobytes of a recorded step, by content."""
    found = {}
    cross_entropy(model(x), torch.zeros(len(x), dtype=torch.int64)).backward()
    for content in CONTENTS:
        with folder() as path:
            with watch(model, x, path, content=content, probe_loss=lambda output: output[0].logsumexp(0)) as run:
                found[content] = round(run.bytes_per_step / 1e3)
    return found


def long_run(path: Path, trace: Trace, count: int) -> None:
    """A run of `count` recorded steps, all of the same trace, with a metric for each."""
    watch(nn.Identity(), torch.rand(1, 4), path, every=1).close()
    step_path(path, 0).unlink()
    trace.save(step_path(path, 0))
    for step in range(1, count):
        shutil.copyfile(step_path(path, 0), step_path(path, step))
    lines = (f'{{"step": {step}, "time": 1.0, "metrics": {{"loss": {1 / (step + 1)}}}}}\n' for step in range(count))
    (path / "metrics.jsonl").write_text("".join(lines))


def milliseconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """The median of several calls."""
    took = []
    for _ in range(repeats):
        started = perf_counter()
        work()
        took.append(perf_counter() - started)
    return round(median(took) * 1e3, 2)


def reading(count: int = 10_000, scrubbed: int = 1000) -> dict[str, Any]:
    """Opening runs, following one, and showing one step after the other without a page."""
    trace = capture(lenet(), torch.rand(1, 1, 28, 28))
    with folder() as path:
        long_run(path / "long", trace, count)
        long_run(path / "short", trace, 10)
        run, scene = Run.open(path / "long"), Scene(trace)
        still: list[float] = []
        moved: list[float] = []
        for step in run.steps[:scrubbed]:
            started = perf_counter()
            loaded = run.trace(step)
            between = perf_counter()
            scene.update(loaded)
            still.append(perf_counter() - between)
            moved.append(perf_counter() - started)
        return {
            f"open_{count}_ms": milliseconds(lambda: Run.open(path / "long")),
            "open_10_ms": milliseconds(lambda: Run.open(path / "short")),
            f"metrics_of_{count}_ms": milliseconds(lambda: Run.open(path / "long").metrics),
            "refresh_ms": milliseconds(run.refresh),
            f"scrub_{scrubbed}_ms_each": round(median(moved) * 1e3, 2),
            "of_which_scene_ms": round(median(still) * 1e3, 2),
        }


def measure() -> dict[str, Any]:
    """Overheads in per cent of the bare loop's time, sizes in kilobytes, times in milliseconds."""
    torch.manual_seed(0)
    small = Loop(lenet(), torch.rand(64, 1, 28, 28))
    large = Loop(resnet18(), torch.rand(16, 3, 32, 32))
    one, image = torch.rand(1, 1, 28, 28), torch.rand(1, 3, 32, 32)
    return {
        "recording_lenet": overhead(small, one, recorded=100),
        "recording_lenet_everything": overhead(
            small, one, recorded=100, content=CONTENTS, probe_loss=lambda output: output[0].logsumexp(0)
        ),
        "recording_resnet18": overhead(large, image, recorded=12),
        "recorded_kB_lenet": sizes(lenet(), one),
        "recorded_kB_resnet18": sizes(resnet18().eval(), image),
        "reading": reading(),
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps(measure(), indent=2))
