"""How an update grows with the network: chains of convolutions and ReLUs, every map open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import msgpack
import numpy as np
import torch
from PIL import Image

from tensorview.app.wire import patches_message
from tensorview.capture import capture
from tensorview.scene import Scene
from tensorview.stage.stage import Stage

from .capture import chain

LAYERS = (10, 30, 100, 300, 1000)


def measure(counts: Sequence[int] = LAYERS, repeats: int = 15) -> dict[str, list[dict[str, Any]]]:
    """For every number of layers the least milliseconds of an update and its message, the bytes, texels and actors."""
    return {"growth": [_of(count, repeats) for count in counts]}


def _of(count: int, repeats: int) -> dict[str, Any]:
    trace = capture(chain(count), torch.rand(1, 1, 28, 28))
    scene = Scene(trace, "*")
    took = []
    for _ in range(repeats):
        started = perf_counter()
        message = msgpack.packb(patches_message(scene.update(trace), 1))
        took.append(perf_counter() - started)
    return {
        "layers": count,
        "update_ms": round(min(took) * 1e3, 2),
        "bytes": len(message),
        "texels": scene.page("cells").pixels[..., 0].size,
        "budget": scene.look.budget,
        "actors": Stage(scene).actor_count,
    }


def draw(figures: Sequence[dict[str, Any]]) -> Image.Image:
    """The plot of the docs: time and bytes over the number of layers, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    layers = [each["layers"] for each in figures]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), dpi=110, layout="constrained")
    for axis, key, title in zip(axes, ("update_ms", "bytes"), ("milliseconds", "bytes"), strict=True):
        axis.loglog(layers, [each[key] for each in figures], "o-", color="#2f6db3")
        axis.set(xlabel="layers, every map open", title=f"{title} of an update")
        axis.grid(True, which="major", alpha=0.3)
    reached = next((each["layers"] for each in figures if each["texels"] > 0.5 * each["budget"]), None)
    if reached is not None:
        for axis in axes:
            axis.axvline(reached, color="#999999", linestyle=":", linewidth=1)
            axis.text(reached * 1.05, axis.get_ylim()[0] * 1.2, "texel budget", color="#666666", fontsize=8)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    plt.close(figure)
    return picture


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps(measure(), indent=2))
