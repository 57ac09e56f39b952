"""Large networks: what it costs to capture, open and update them, over the bare forward pass or over LeNet-5."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import msgpack
import torch
from torch import nn

from tensorview.app.session import Session
from tensorview.app.wire import patches_message
from tensorview.capture import Tracer
from tensorview.opening import Subject, open_model
from tensorview.scene import Scene

from .capture import lenet

SIDE = 224
PAIRS = 31
# A process of its own, since the peak is that of the process: of the passes alone, or of a session with passes.
PEAK = """
import resource, sys, torch
torch.set_num_threads(2)
from benchmarks.large import opened
from tensorview.app.session import Session
subject, x = opened("resnet152")
with torch.no_grad():
    for _ in range(3):
        subject.module(x)
bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
session = Session(subject, x, memory=int(sys.argv[1]))
for _ in range(3):
    session.show(*session.run(x))
arrays = [a for l in session.scene.all_layers for a in (l.values, *(l.reduced or {}).values()) if a is not None]
print(bare, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sum(a.nbytes for a in arrays))
"""


def opened(name: str) -> tuple[Subject, torch.Tensor]:
    """torchvision's model of that name with random weights, and a picture of noise for it."""
    torch.manual_seed(0)
    return open_model(f"torchvision:{name}", random_weights=True), torch.rand(1, 3, SIDE, SIDE)


def bare(model: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def seconds(function: Callable[[], Any]) -> float:
    """How long one call takes, on the device as well."""
    if torch.cuda.is_available():
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    started = perf_counter()
    function()
    return perf_counter() - started


def ratio(function: Callable[[], Any], reference: Callable[[], Any], pairs: int = PAIRS) -> float:
    """Median of the ratios of neighbouring calls, which a slow change of the machine's speed leaves as they are."""
    function()
    found = []
    for _ in range(pairs):
        before = seconds(reference)
        took = seconds(function)
        found.append(2 * took / (before + seconds(reference)))
    return round(median(found), 3)


def capturing(device: str = "cpu") -> dict[str, float]:
    """A pass as it is explored, one that keeps everything, and the first one, each over the bare forward pass."""
    figures: dict[str, float] = {}
    for name in ("resnet50", "vit_b_16", "vgg16"):
        subject, x = opened(name)
        model, x = subject.module.to(device), x.to(device)
        ways: dict[str, Callable[[], Any]] = {
            "explored": partial(Session(subject, x).run, x),
            "everything": partial(Tracer(model), x),
            "tracing": lambda model=model, x=x: Tracer(model)(x),  # type: ignore[misc]
        }
        for way, run in ways.items():
            figures[f"{name}_{way}_over_forward"] = ratio(run, bare(model, x), 3 if way == "tracing" else PAIRS)
    return figures


def opening() -> dict[str, float]:
    """From a model to the message that a page begins with, over the model's first forward pass, in new processes."""
    first = "bare(subject.module, x)()"
    ready = "scene_message(Session(subject, x).scene, 1)"
    code = (
        "import torch; torch.set_num_threads(2)\n"
        "from benchmarks.large import *\nfrom tensorview.app.wire import scene_message\n"
        "Session(open_model('lenet5')); subject, x = opened('resnet152')\n"
        "started = perf_counter(); {}; print(perf_counter() - started)"
    )
    took = [[float(_python(code.format(each))) for each in (first, ready)] for _ in range(3)]
    return {
        "resnet152_first_scene_over_first_forward": round(median(after / before for before, after in took), 2),
        "resnet152_first_scene_ms": round(median(after for _, after in took) * 1e3),
    }


def updating() -> dict[str, float]:
    """A new input's pixels and their message: ResNet-152, closed, over a LeNet-5 with as many texels."""
    subject, x = opened("resnet152")
    session = Session(subject, x)
    scene, trace = session.scene, session.run(x)[0]
    texels = texels_of(scene)
    side = next(side for side in range(28, 2000, 4) if texels_of(_lenet(side)[0]) >= texels)
    small, other = _lenet(side)

    def update(shown: Scene, with_trace: Any) -> bytes:
        packed: bytes = msgpack.packb(patches_message(shown.update(with_trace), 1))
        return packed

    return {
        "resnet152_update_over_lenet": ratio(lambda: update(scene, trace), lambda: update(small, other), 100),
        "resnet152_update_bytes": len(update(scene, trace)),
        "lenet_of_as_many_texels_bytes": len(update(small, other)),
    }


def texels_of(scene: Scene) -> int:
    """How many texels the layers take, without the page's gaps."""
    return sum(math.prod(placement.texture) for placement in scene.placements)


def _lenet(side: int) -> tuple[Scene, Any]:
    x = torch.rand(1, 1, side, side)
    model = lenet()
    features = model[:6]
    with torch.no_grad():
        units = features(x).numel()
    trace = Tracer(nn.Sequential(*features, nn.Flatten(), nn.Linear(units, 120), *model[8:]).eval())(x)
    return Scene(trace), trace


def peak(memory: int = 64 * 2**20) -> dict[str, float]:
    """MiB that exploring ResNet-152 adds to the peak of its bare passes, and what its trace holds."""
    before, after, held = map(int, _python(PEAK, str(memory)).split())
    return {
        "resnet152_memory_asked_mib": memory // 2**20,
        "resnet152_peak_extra_mib": round((after - before) / 1024, 1),
        "resnet152_held_mib": round(held / 2**20, 1),
    }


def _python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {**capturing(), **opening(), **updating(), **peak()}
    if torch.cuda.is_available():
        figures["cuda"] = {"device": torch.cuda.get_device_name(), **capturing("cuda")}
    return figures


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps(measure(), indent=2))
