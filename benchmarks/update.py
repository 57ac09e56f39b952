"""What one update costs: input, captured, coloured, bytes ready for the socket."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import msgpack
import numpy as np
import torch
from torch import nn

from tensorview.app.wire import patches_message
from tensorview.capture import Tracer
from tensorview.scene import Scene

from .capture import chain, lenet


def update_bytes(scene: Scene, tracer: Tracer, x: torch.Tensor) -> bytes:
    """The message that shows a new input."""
    return msgpack.packb(patches_message(scene.update(tracer(x)), 1))


def interleaved(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of two functions, called in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, kept in zip((first, second), times, strict=True):
            started = perf_counter()
            function()
            kept.append(perf_counter() - started)
    return median(times[0]), median(times[1])


def update_ratio(model: nn.Module, inputs: list[torch.Tensor], opened: str | None, repeats: int) -> dict[str, Any]:
    """An update over the bare forward pass and one look-up of as many texels."""
    tracer = Tracer(model)
    scene = Scene(tracer(inputs[0]), opened)
    texels = scene.pages[0].pixels.shape[0] * scene.pages[0].pixels.shape[1]
    table = np.random.default_rng(0).integers(0, 255, (256, 4), dtype=np.uint8).view(np.uint32).reshape(-1)
    level = np.random.default_rng(0).integers(0, 256, texels)
    turn = iter(range(10**9))

    def bare() -> None:
        with torch.no_grad():
            model(inputs[next(turn) % len(inputs)])
        _ = table[level]

    def update() -> None:
        update_bytes(scene, tracer, inputs[next(turn) % len(inputs)])

    least, spent = interleaved(bare, update, repeats)
    return {"ratio": round(spent / least, 2), "update_ms": round(spent * 1e3, 3), "bare_ms": round(least * 1e3, 3)}


def measure() -> dict[str, Any]:
    inputs = [torch.rand(1, 1, 28, 28) for _ in range(8)]
    tracer = Tracer(lenet())
    scene = Scene(tracer(inputs[0]), "*", class_names=tuple("0123456789"))
    sizes = [len(update_bytes(scene, tracer, x)) for x in inputs]
    page = scene.page("cells").pixels.nbytes
    return {
        "update_lenet": update_ratio(lenet(), inputs, None, 600),
        "update_lenet_open": update_ratio(lenet(), inputs, "*", 600),
        "update_chain800": update_ratio(chain(), inputs, None, 20),
        "scene_update_bytes": max(sizes),
        "page_bytes": page,
        "scene_update_bytes_over_page": round(max(sizes) / page, 3),
    }
