"""The structure of a forward pass, as found the first time and expected the next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .attention import Attention
from .keeping import Keep, Reduced
from .layers import Layer, ModuleInfo
from .trace import Trace
from .values import Pick, to_array

Copied = np.ndarray | Tensor | Attention | Reduced | None


class Output(NamedTuple):
    """One tensor that a step returned.

    Attributes:
        node: its number among the nodes.
        shape, dtype: of the whole batch.
        pick: where the sample lies in it.
        kept: how its values are kept; None for not at all.
    """

    node: int
    shape: torch.Size
    dtype: torch.dtype
    pick: Pick
    kept: Keep | None


class Plain(NamedTuple):
    """A module's only output, where it is checked, and copied if need be, the short way.

    It is float32, strided, on the CPU, with the batch first and no gradient.

    Attributes:
        node, shape, dtype: as in `Output`.
        part: the shape of one sample.
        start, stop: where it lies in the array that holds all such values of a pass; -1 if they are not kept.
        averaged: whether the mean of the maps is kept instead of all.
    """

    node: int
    shape: torch.Size
    dtype: torch.dtype
    part: tuple[int, ...]
    start: int = -1
    stop: int = -1
    averaged: bool = False

    def placed(self, kept: Keep, start: int) -> Plain | None:
        """The same, copied to `start`; None where that takes the long way."""
        maps, *place = self.part or (0,)
        if kept == "mean" and maps:
            return self._replace(start=start, stop=start + math.prod(place), averaged=True)
        return self._replace(start=start, stop=start + math.prod(self.part)) if kept == "exact" else None


class Step(NamedTuple):
    """One call that makes layers.

    Attributes:
        module: the module that was called, None for a function.
        func: the function that was called, None for a module.
        position: the function's number among the torch functions called outside of layers, from 1; -1 for a module.
        fed_by: the node whose value was the first argument itself; -1 if it was none's.
        outputs: the tensors that were returned.
        plain: the output again, where it is a plain one.
        maps: the node of its attention maps, -1 where there are none.
        listens: whether these are kept.
    """

    module: nn.Module | None
    func: Callable[..., Any] | None
    position: int
    fed_by: int
    outputs: tuple[Output, ...]
    plain: Plain | None = None
    maps: int = -1
    listens: bool = False


@dataclass(slots=True)
class Node:
    """A layer to be: everything but its final name and its parents' names.

    Attributes:
        base: the name without the number of the call.
        parents: numbers of the nodes that feed it.
        function: whether it is a function's result.
        first: the node of the first tensor, where one call returned several and this is a further one; else -1.
        suffix: what tells it from the first tensor.
        copied: the values, perhaps still on another device, or what they are computed from.
    """

    base: str
    kind: str
    module_type: str
    module_name: str
    parents: tuple[int, ...] = ()
    info: ModuleInfo = field(default_factory=ModuleInfo)
    function: bool = False
    first: int = -1
    suffix: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    copied: Copied = None


class Plan(NamedTuple):
    """What `Replay` needs to repeat a pass.

    Attributes:
        inputs: the tensors that the model is given.
        steps: in execution order.
        found: the same steps as they were found, before it was settled what is kept.
        returned: the tensors that the model returned, in order; those that are a step's own are not kept twice.
        template: the first pass's trace without values.
        nodes: for each layer of the template, inputs first, the number of its node.
        batch: the batch size.
        size: how many nodes there are.
        room: how many float32 numbers the plain outputs have together.
        modules: those whose calls are steps, each once.
        calls: how many torch functions were called outside of layers; -1 where no layer comes of one, and they need no
            watching.
    """

    inputs: tuple[Output, ...]
    steps: tuple[Step, ...]
    found: tuple[Step, ...]
    returned: tuple[Output, ...]
    template: Trace
    nodes: tuple[int, ...]
    batch: int
    size: int
    room: int
    modules: tuple[nn.Module, ...]
    calls: int

    @property
    def layers(self) -> dict[int, Layer]:
        """The template's layers, inputs first, by the number of their node."""
        return dict(zip(self.nodes, (*self.template.inputs, *self.template.layers), strict=True))

    def keeping(self, keeps: Mapping[int, Keep], warnings: tuple[str, ...] = ()) -> Plan:
        """The plan of passes of the same structure that keep the values of other nodes."""

        def chosen(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
            return tuple(output._replace(kept=keeps.get(output.node)) for output in outputs)

        steps: list[Step] = []
        room = 0
        for step in self.found:
            outputs, plain = chosen(step.outputs), step.plain
            if plain is not None and (kept := outputs[0].kept):
                plain = plain.placed(kept, room)
                room = room if plain is None else plain.stop
            steps.append(step._replace(outputs=outputs, plain=plain, listens=step.maps in keeps))
        # A returned tensor that is a layer's own is kept there.
        own = {output.node for step in self.found for output in step.outputs} | {o.node for o in self.inputs}
        returned = tuple(o if o.node in own else o._replace(kept=keeps.get(o.node)) for o in self.returned)
        template = replace(self.template, warnings=self.template.warnings + warnings)
        inputs = chosen(self.inputs)
        return self._replace(inputs=inputs, steps=tuple(steps), returned=returned, room=room, template=template)

    def filled(self, copied: Sequence[Copied]) -> Trace:
        """The trace with the values that were copied in a pass."""
        template = self.template
        count = len(template.inputs)
        layers = tuple(
            [
                _filled(layer, copied[node])
                for layer, node in zip((*template.inputs, *template.layers), self.nodes, strict=True)
            ]
        )
        return template.renewed(layers[:count], layers[count:])


def _filled(layer: Layer, copied: Copied) -> Layer:
    if copied is None:
        return layer
    if isinstance(copied, Attention):
        return layer.deferred(copied.to_cpu().computed)
    if isinstance(copied, Reduced):
        return layer.with_values(None, copied.arrays())
    return layer.with_values(to_array(copied))


def settle(
    nodes: list[Node],
    steps: list[Step],
    inputs: tuple[Output, ...],
    returned: tuple[Output, ...],
    model_name: str,
    warnings: tuple[str, ...],
    calls: int,
    batch: int,
) -> Plan:
    """Name the nodes, of which the inputs are the first, and make the plan of a pass of `calls` torch functions.

    Of a row of reshapes that feed only each other, the last is a layer.
    """
    dropped = _passing_reshapes(nodes, {output.node for output in returned})
    kept = tuple(number for number in range(len(nodes)) if number not in dropped)
    names, layers = _named(nodes, kept, dropped)
    count = len(inputs)
    outputs = tuple(dict.fromkeys(names[output.node] for output in returned))
    template = Trace(layers[:count], layers[count:], outputs, warnings, None, model_name)
    found = tuple(_living_steps(steps, dropped))
    modules = tuple({id(step.module): step.module for step in found if step.module is not None}.values())
    own = {output.node for step in found for output in step.outputs}
    watched = any(step.func is not None for step in found) or any(
        output.node not in own and output.node >= count for output in returned
    )
    plan = Plan(inputs, found, found, returned, template, kept, batch, len(nodes), 0, modules, calls if watched else -1)
    keeps = {o.node: o.kept for outputs in (inputs, returned, *(step.outputs for step in found)) for o in outputs}
    keeps.update({step.maps: "exact" for step in found if step.listens})
    return plan.keeping({number: keep for number, keep in keeps.items() if keep})


def _living_steps(steps: list[Step], dropped: set[int]) -> Iterator[Step]:
    """The steps without those whose layer is dropped."""
    for step in steps:
        if step.module is not None or step.outputs[0].node not in dropped:
            yield step._replace(fed_by=-1) if step.fed_by in dropped else step


def _named(nodes: list[Node], kept: tuple[int, ...], dropped: set[int]) -> tuple[dict[int, str], tuple[Layer, ...]]:
    """The names of the nodes that are kept, and layers of them without values."""
    names: dict[int, str] = {}
    calls: Counter[str] = Counter()
    layers = []
    for number in kept:
        node = nodes[number]
        calls[node.base] += node.first < 0
        call = calls[node.base]
        if node.first >= 0:
            names[number] = f"{names[node.first]}:{node.suffix}"
        else:
            names[number] = node.base if call == 1 else f"{node.base}#{call}"
        parents = tuple(dict.fromkeys(names[parent] for parent in _living(node.parents, nodes, dropped)))
        described = (node.kind, node.module_type, node.module_name, call, node.shape, node.dtype)
        layers.append(Layer(names[number], *described, parents, None, node.info))
    return names, tuple(layers)


def _passing_reshapes(nodes: list[Node], returned: set[int]) -> set[int]:
    """Reshaping functions that feed only other reshaping functions."""
    children: dict[int, list[int]] = {}
    for number, node in enumerate(nodes):
        for parent in node.parents:
            children.setdefault(parent, []).append(number)

    def is_reshape(number: int) -> bool:
        return nodes[number].function and nodes[number].kind == "reshape"

    return {
        number
        for number, fed in children.items()
        if is_reshape(number) and number not in returned and all(map(is_reshape, fed))
    }


def _living(parents: tuple[int, ...], nodes: list[Node], dropped: set[int]) -> list[int]:
    """`parents` with those dropped replaced by their own."""
    living: list[int] = []
    for parent in parents:
        living += _living(nodes[parent].parents, nodes, dropped) if parent in dropped else [parent]
    return living
