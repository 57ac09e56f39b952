"""The structure of a forward pass, as found the first time and expected the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .layers import Layer, ModuleInfo
from .trace import Trace
from .values import Pick, to_array


class Output(NamedTuple):
    """One tensor that a step returned.

    Attributes:
        node: its number among the nodes.
        shape, dtype: of the whole batch.
        pick: where the sample lies in it.
        kept: whether its values are wanted.
        plain: whether it can be copied by the short way: on the CPU, a dtype of numpy's, batch first.
    """

    node: int
    shape: torch.Size
    dtype: torch.dtype
    pick: Pick
    kept: bool
    plain: bool


class Step(NamedTuple):
    """One call that makes layers.

    Attributes:
        module: the module that was called, None for a function.
        func: the function that was called, None for a module.
        position: the function's number among all torch functions called in the pass; -1 for a module.
        fed_by: the node whose value was the first argument itself; -1 if it was none's.
        outputs: the tensors that were returned.
    """

    module: nn.Module | None
    func: Callable[..., Any] | None
    position: int
    fed_by: int
    outputs: tuple[Output, ...]


@dataclass(slots=True)
class Node:
    """A layer to be: everything but its final name and its parents' names."""

    base: str
    kind: str
    module_type: str
    module_name: str
    shape: tuple[int, ...]
    dtype: str
    parents: tuple[int, ...]
    info: ModuleInfo = field(default_factory=ModuleInfo)
    function: bool = False
    first: int = -1
    suffix: str = ""
    copied: np.ndarray | Tensor | None = None


class Plan(NamedTuple):
    """What `Replay` needs to repeat a pass.

    Attributes:
        inputs: the tensors that the model is given.
        steps: in execution order.
        returned: the tensors that the model returned, in order; those that are a step's own are not kept twice.
        template: the first pass's trace without values.
        nodes: for each layer of the template, inputs first, the number of its node.
        modules: those whose calls are steps, each once.
        functions: whether a step is a function.
    """

    inputs: tuple[Output, ...]
    steps: tuple[Step, ...]
    returned: tuple[Output, ...]
    template: Trace
    nodes: tuple[int, ...]
    modules: tuple[nn.Module, ...]
    functions: bool

    def filled(self, copied: Mapping[int, np.ndarray | Tensor | None]) -> Trace:
        """The trace with the values that were copied in a pass."""
        template = self.template
        count = len(template.inputs)
        layers = tuple(
            layer.with_values(to_array(copied.get(node)))
            for layer, node in zip((*template.inputs, *template.layers), self.nodes, strict=True)
        )
        return template.renewed(layers[:count], layers[count:])


def settle(
    nodes: list[Node],
    steps: list[Step],
    inputs: tuple[Output, ...],
    returned: tuple[Output, ...],
    model_name: str,
    warnings: tuple[str, ...],
) -> Plan:
    """Name the nodes, of which the inputs are the first, and make the plan of a pass.

    Of a row of reshapes that feed only each other, the last is a layer.
    """
    dropped = _passing_reshapes(nodes, {output.node for output in returned})
    names: dict[int, str] = {}
    calls: dict[str, int] = {}
    kept = [number for number in range(len(nodes)) if number not in dropped]
    layers = []
    for number in kept:
        node = nodes[number]
        if node.first >= 0:
            names[number] = f"{names[node.first]}:{node.suffix}"
        else:
            calls[node.base] = calls.get(node.base, 0) + 1
            names[number] = node.base if calls[node.base] == 1 else f"{node.base}#{calls[node.base]}"
        parents = dict.fromkeys(names[p] for p in _living(node.parents, nodes, dropped))
        layers.append(
            Layer(
                names[number],
                node.kind,
                node.module_type,
                node.module_name,
                calls[node.base],
                node.shape,
                node.dtype,
                tuple(parents),
                None,
                node.info,
            )
        )
    outputs = tuple(dict.fromkeys(names[output.node] for output in returned))
    count = len(inputs)
    template = Trace(tuple(layers[:count]), tuple(layers[count:]), outputs, warnings, None, model_name)
    steps = [
        step._replace(fed_by=-1 if step.fed_by in dropped else step.fed_by)
        for step in steps
        if step.module is not None or step.outputs[0].node not in dropped
    ]
    modules = tuple({id(step.module): step.module for step in steps if step.module is not None}.values())
    functions = any(step.func is not None for step in steps)
    return Plan(inputs, tuple(steps), returned, template, tuple(kept), modules, functions)


def _passing_reshapes(nodes: list[Node], returned: set[int]) -> set[int]:
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
    living: list[int] = []
    for parent in parents:
        living += _living(nodes[parent].parents, nodes, dropped) if parent in dropped else [parent]
    return living
