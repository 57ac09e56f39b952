"""What is wrong with a network: dead units, saturation, exploding values, NaN; each named with its layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Rectifiers whose units can die, that is give 0 for every example and so never get a gradient.
RECTIFIERS = ("relu", "relu6")
# Squashing functions and the ends that they approach.
SQUASHING = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hardtanh": (-1.0, 1.0), "hardsigmoid": (0.0, 1.0)}
NEAR_END = 0.025  # of the span between the ends: sigmoid' is under 0.025, a tenth of its largest
MANY = 0.5  # share of saturated values that is worth a warning
HUGE = 1e4  # activations and gradients of a network that learns are smaller by far
LARGE_NORM = 1e3  # of the gradients of a layer


@dataclass
class _Layer:
    """What has been seen of a layer's outputs, over several batches."""

    units: str  # "maps" or "units"
    alive: Tensor | None = None  # (units,) bool, which were ever above 0
    saturated: float = 0.0
    values: int = 0
    broken: int = 0  # NaN and infinite values
    largest: float = 0.0


class Health:
    """Gathers what layers give; see `tensorview.training.watching`."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}

    def see(self, name: str, kind: str, output: Any) -> None:
        """Look at what a layer made of a batch.

        Args:
            kind: one of `RECTIFIERS` or `SQUASHING`; any other name for a layer that can only give NaN or explode.
        """
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
            return
        output = output.detach()
        layer = self._layers.setdefault(name, _Layer("maps" if output.ndim == 4 else "units"))
        layer.values += output.numel()
        largest = float(output.abs().amax()) if output.numel() else 0.0
        if not largest < float("inf"):
            layer.broken += int((~torch.isfinite(output)).sum())
            return
        layer.largest = max(layer.largest, largest)
        if kind in RECTIFIERS:
            alive = output.transpose(0, 1).flatten(1).amax(1) > 0
            layer.alive = alive if layer.alive is None else layer.alive | alive
        ends = SQUASHING.get(kind)
        if ends is not None:
            margin = (ends[1] - ends[0]) * NEAR_END
            layer.saturated += float(((output < ends[0] + margin) | (output > ends[1] - margin)).sum())

    def warnings(self) -> tuple[str, ...]:
        """A sentence for everything that is wrong; of NaN and of explosions the first layer where they come up."""
        found = []
        broken = next(((name, layer) for name, layer in self._layers.items() if layer.broken), None)
        if broken is not None:
            name, layer = broken
            found.append(f"{name}: {layer.broken:,} of {layer.values:,} values are NaN or infinite.")
        exploding = next(((name, layer) for name, layer in self._layers.items() if layer.largest > HUGE), None)
        if exploding is not None:
            name, layer = exploding
            found.append(f"{name}: activations explode, up to {layer.largest:.1e}.")
        for name, layer in self._layers.items():
            if layer.alive is not None and not layer.alive.all() and not layer.broken:
                dead, units = int((~layer.alive).sum()), layer.units if len(layer.alive) > 1 else layer.units[:-1]
                what = f"{dead} of {len(layer.alive)} {units} {'is' if dead == 1 else 'are'} dead"
                found.append(f"{name}: {what} (0 for every held-out example).")
            if layer.saturated > MANY * layer.values:
                found.append(f"{name}: {layer.saturated / layer.values:.0%} of the values are saturated.")
        return tuple(found)


class Norms:
    """Euclidean norms of a model's parameters and gradients, all in one call, which costs more than the sums do."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.named_parameters())

    def __call__(self) -> tuple[dict[str, float], float]:
        """The norm of the gradient of every parameter that has one, by name; the squares of all parameters, summed."""
        named = [(name, value.grad) for name, value in self._parameters if value.grad is not None]
        tensors = [gradient for _, gradient in named] + [value.detach() for _, value in self._parameters]
        norms = torch.stack(list(torch._foreach_norm(tensors))).tolist() if tensors else []
        gradients = dict(zip((name for name, _ in named), norms, strict=False))
        return gradients, math.fsum(norm * norm for norm in norms[len(named) :])


def gradient_warnings(norms: dict[str, float]) -> tuple[str, ...]:
    """What is wrong with gradients: the layer with NaN that is nearest to the loss, else the largest that explodes."""
    broken = [name for name, norm in norms.items() if not norm < float("inf")]
    if broken:
        layer = broken[-1].rpartition(".")[0] or broken[-1]
        return (f"{layer}: gradients are NaN or infinite, in {len(broken)} of {len(norms)} parameters.",)
    name = max(norms, key=lambda name: norms[name], default="")
    if name and norms[name] > LARGE_NORM:
        return (f"{name.rpartition('.')[0] or name}: gradients explode, their norm is {norms[name]:.1e}.",)
    return ()


def broken_weights(model: nn.Module) -> tuple[str, ...]:
    """The first layer whose weights are NaN or infinite, as a sentence; empty where none is."""
    for name, value in model.named_parameters():
        count = int((~torch.isfinite(value)).sum())
        if count:
            return (f"{name.rpartition('.')[0] or name}: {count:,} of {value.numel():,} weights are NaN or infinite.",)
    return ()
