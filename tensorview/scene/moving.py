"""Where an animation from one scene to the next begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .scene import Scene


def shift_between(old: Scene, new: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The affine map that takes every box of the new scene to where it was in the old one.

    A layer that comes out of a closed module begins in its box, a module that closes as large as its parts were.

    Returns:
        `(scale, offset)`, each `(boxes, 3)` float64: a point `p` of box `i` begins at `p * scale[i] + offset[i]`.
        What has no old place begins in the middle of its new one.
    """
    scale, offset = np.zeros((len(new.nodes), 3)), np.zeros((len(new.nodes), 3))
    bounds = np.stack([item.bounds for item in old.placements])
    place = {layer.name: k for k, node in enumerate(old.nodes) for layer in old.all_layers[node.start : node.stop]}
    for i, (node, item) in enumerate(zip(new.nodes, new.placements, strict=True)):
        held = [place[x.name] for x in new.all_layers[node.start : node.stop] if x.name in place]
        if not held:
            offset[i] = item.centre
            continue
        was = bounds[min(held) : max(held) + 1]
        low, high = was[:, 0].min(axis=0), was[:, 1].max(axis=0)
        scale[i] = (high - low) / item.size
        offset[i] = (low + high) / 2 - item.centre * scale[i]
    return scale, offset
