"""The structure of a forward pass, as found the first time and expected the next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .attention import Attention
from .keeping import Keep, Reduced, shares
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


FIRST_SLOT = 1 << 40  # of results that are no layers, until it is known how many nodes there are


class Link(NamedTuple):
    """A function that hands values on and is no layer.

    Attributes:
        fed: the slots of the tensors that it was given, -1 for those that have none.
        slots: of the tensors that it returned.
    """

    fed: tuple[int, ...]
    slots: tuple[int, ...]


class Place(NamedTuple):
    """Where the values of a plain output lie among those of a pass.

    Attributes:
        node: the number of the node.
        start, stop: from where to where in the array that holds all such values.
        shape: of what is kept: one sample, or one map where their mean is.
        averaged: whether the mean of the maps is kept.
    """

    node: int
    start: int
    stop: int
    shape: tuple[int, ...]
    averaged: bool


class Step(NamedTuple):
    """One call that makes layers.

    Attributes:
        module: the module that was called, None for a function.
        func: the function that was called, None for a module.
        position: the function's number among the torch functions called outside of layers, from 1; -1 for a module.
        fed_by: the slot of the first argument; -1 if it has none.
        outputs: the tensors that were returned.
        plain: whether that is a single one, float32, strided, on the CPU, with the batch first and no gradient.
        maps: the node of its attention maps, -1 where there are none.
        listens: whether these are kept.
        also: the slots of all tensors among the arguments, where others than the first have one.
    """

    module: nn.Module | None
    func: Callable[..., Any] | None
    position: int
    fed_by: int
    outputs: tuple[Output, ...]
    plain: bool = False
    maps: int = -1
    listens: bool = False
    also: tuple[int, ...] = ()


class Plain(NamedTuple):
    """A step whose output is plain, as it is checked, and copied if need be, the short way.

    Attributes:
        called: the module or the function.
        fed_by: as in `Step`.
        node, shape, dtype: of the output, as in `Output`.
        place: the number of the place where its values go; -1 if they are not kept.
        shares: what each map counts for in their mean, (C,) float32; None where every value is kept.
    """

    called: nn.Module | Callable[..., Any] | None
    fed_by: int
    node: int
    shape: torch.Size
    dtype: torch.dtype
    place: int = -1
    shares: Tensor | None = None


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
        plains: for each step the same once more, where its output is plain.
        places: where the values of these go.
        found: the steps as they were found, before it was settled what is kept.
        returned: the tensors that the model returned, in order; those that are a step's own are not kept twice.
        template: the first pass's trace without values.
        nodes: for each layer of the template, inputs first, the number of its node.
        batch: the batch size.
        size: how many slots there are, those of the nodes first.
        modules: those whose calls are steps, each once.
        calls: how many torch functions were called outside of layers; -1 where no layer comes of one, nor what one is
            given, and they need no watching.
        links: those of them that hand values on, by their number from 1.
    """

    inputs: tuple[Output, ...]
    steps: tuple[Step, ...]
    plains: tuple[Plain | None, ...]
    places: tuple[Place, ...]
    found: tuple[Step, ...]
    returned: tuple[Output, ...]
    template: Trace
    nodes: tuple[int, ...]
    batch: int
    size: int
    modules: tuple[nn.Module, ...]
    calls: int
    links: Mapping[int, Link]

    @property
    def room(self) -> int:
        """How many numbers the places take together."""
        return self.places[-1].stop if self.places else 0

    @property
    def layers(self) -> dict[int, Layer]:
        """The template's layers, inputs first, by the number of their node."""
        return dict(zip(self.nodes, (*self.template.inputs, *self.template.layers), strict=True))

    def keeping(self, keeps: Mapping[int, Keep], warnings: tuple[str, ...] = ()) -> Plan:
        """The plan of passes of the same structure that keep the values of other nodes."""

        def chosen(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
            return tuple(output._replace(kept=keeps.get(output.node)) for output in outputs)

        steps = tuple(s._replace(outputs=chosen(s.outputs), listens=s.maps in keeps) for s in self.found)
        plains, places = _laid_out(steps)
        # A returned tensor that is a layer's own is kept there.
        own = {output.node for step in self.found for output in step.outputs} | {o.node for o in self.inputs}
        returned = tuple(o if o.node in own else o._replace(kept=keeps.get(o.node)) for o in self.returned)
        template = replace(self.template, warnings=self.template.warnings + warnings)
        inputs = chosen(self.inputs)
        return self._replace(
            inputs=inputs, steps=steps, plains=plains, places=places, returned=returned, template=template
        )

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


def also(fed: tuple[int, ...]) -> tuple[int, ...]:
    """The slots of arguments that a step must check beside the first; empty for none."""
    return fed if any(slot >= 0 for slot in fed[1:]) else ()


def is_plain(value: Any, output: Output) -> bool:
    """Whether what a call returned is a plain output, as `Step` says."""
    return (
        isinstance(value, Tensor)
        and output.pick == Pick(0)
        and value.ndim > 1
        and value.device.type == "cpu"
        and value.layout is torch.strided
        and value.dtype is torch.float32
        and not value.requires_grad
    )


def _laid_out(steps: tuple[Step, ...]) -> tuple[tuple[Plain | None, ...], tuple[Place, ...]]:
    """The plain ones among the steps, None for the others, and where their values go."""
    plains: list[Plain | None] = []
    places: list[Place] = []
    stop = 0
    for step in steps:
        if not step.plain or not _is_quick(step.outputs[0]):
            plains.append(None)
            continue
        node, shape, dtype, _, kept = step.outputs[0]
        called = step.func if step.module is None else step.module
        plain = Plain(called, step.fed_by, node, shape, dtype)
        if kept:
            part = tuple(shape[1 + (kept == "mean") :])
            start, stop = stop, stop + math.prod(part)
            plain = plain._replace(place=len(places), shares=shares(shape[1]) if kept == "mean" else None)
            places.append(Place(node, start, stop, part, kept == "mean"))
        plains.append(plain)
    return tuple(plains), tuple(places)


def _is_quick(output: Output) -> bool:
    """Whether what is kept of a plain output can be copied the short way."""
    return output.kept in (None, "exact") or (output.kept == "mean" and output.shape[1] > 0)


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
    links: Mapping[int, Link],
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
    slots = _Slots(len(nodes), dropped, links)
    found = tuple(
        slots.of_step(step) for step in steps if step.module is not None or step.outputs[0].node not in dropped
    )
    modules = tuple({id(step.module): step.module for step in found if step.module is not None}.values())
    own = {output.node for step in found for output in step.outputs}
    watched = any(step.func is not None or max(step.fed_by, *step.also, -1) >= len(nodes) for step in found)
    watched = watched or any(output.node not in own and output.node >= count for output in returned)
    links, calls = slots.links, calls if watched else -1
    plan = Plan(inputs, found, (), (), found, returned, template, kept, batch, slots.size, modules, calls, links)
    keeps = {o.node: o.kept for outputs in (inputs, returned, *(step.outputs for step in found)) for o in outputs}
    keeps.update({step.maps: "exact" for step in found if step.listens})
    return plan.keeping({number: keep for number, keep in keeps.items() if keep})


class _Slots:
    """The numbers of slots when it is known how many nodes there are, and which of these are dropped.

    Attributes:
        links: of what hands on something that has a slot.
        size: how many slots there are.
    """

    def __init__(self, nodes: int, dropped: set[int], links: Mapping[int, Link]) -> None:
        self._nodes, self._dropped = nodes, dropped
        self.links = {
            position: Link(tuple(map(self._of, link.fed)), tuple(map(self._of, link.slots)))
            for position, link in links.items()
            if link.slots
        }
        self.size = nodes + sum(len(link.slots) for link in links.values())

    def _of(self, slot: int) -> int:
        if slot >= FIRST_SLOT:
            return slot - FIRST_SLOT + self._nodes
        return -1 if slot in self._dropped else slot

    def of_step(self, step: Step) -> Step:
        """A step with these numbers."""
        return step._replace(fed_by=self._of(step.fed_by), also=tuple(map(self._of, step.also)))


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
