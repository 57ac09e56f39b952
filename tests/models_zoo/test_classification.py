"""Every classification model of torchvision opens, with the graph that torch.fx finds."""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.fx
from torch import nn

from tensorview.capture import Trace, Tracer
from tensorview.opening.torchvision_shim import import_torchvision

MODELS = import_torchvision().models
NAMES = MODELS.list_models(module=MODELS)
JOINS = (operator.add, operator.iadd, operator.mul, operator.sub, operator.truediv, operator.matmul)
JOIN_NAMES = ("add", "add_", "sub", "mul", "cat", "concat", "stack", "matmul", "bmm", "where")


class Leaves(torch.fx.Tracer):
    """Stops at the modules that have no children, and at those of torch.nn that compute something themselves."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        if next(module.children(), None) is None:
            return True
        return super().is_leaf_module(module, path) and not isinstance(module, nn.Sequential)


class FxGraph:
    """Module calls and joins of different producers, in execution order, each with what feeds it.

    Attributes:
        producers: for `"features.0"`, its second call `"features.0#2"`, and joins `"join 7"`: the nearest of these
            and `"input"` before it, in argument order.
        hidden: paths of the modules whose functions fx sees as one only.
    """

    def __init__(self, model: nn.Module) -> None:
        self.graph = Leaves().trace(model)
        self.names: dict[torch.fx.Node, str] = {}
        self.producers: dict[str, tuple[str, ...]] = {}
        self.hidden: set[str] = set()
        calls: Counter[str] = Counter()
        for node in self.graph.nodes:
            before = self.before(node)
            if node.op == "placeholder":
                self.names[node] = "input"
            elif node.op == "call_module":
                calls[node.target] += 1
                self.add(node, numbered(node.target, calls[node.target]), before)
            elif is_join(node) and len(before) > 1:
                calls["join"] += 1
                self.add(node, f"join {calls['join']}", before)
            elif node.op == "call_function" and is_opaque(node.target):
                self.hidden.add(next(reversed(node.meta["nn_module_stack"].values()))[0])

    def add(self, node: torch.fx.Node, name: str, producers: tuple[str, ...]) -> None:
        self.names[node], self.producers[name] = name, producers

    def before(self, node: torch.fx.Node) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for parent in node.all_input_nodes:
            if is_size(parent):
                continue
            found.update(dict.fromkeys([self.names[parent]] if parent in self.names else self.before(parent)))
        return tuple(found)


def is_join(node: torch.fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in JOIN_NAMES
    name = getattr(node.target, "__name__", "")
    return node.op == "call_function" and (node.target in JOINS or name in JOIN_NAMES)


def is_size(node: torch.fx.Node) -> bool:
    """Whether it is a number computed from shapes, which feeds no values."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim", "device", "dtype")
    return bool(node.all_input_nodes) and all(map(is_size, node.all_input_nodes))


def is_opaque(function: Any) -> bool:
    """Whether it is one that torchvision has declared a single node with `torch.fx.wrap`."""
    return getattr(function, "__module__", "").startswith("torchvision.")


def numbered(name: str, call: int) -> str:
    return name if call == 1 else f"{name}#{call}"


def captured_producers(trace: Trace, hidden: set[str]) -> dict[str, tuple[str, ...]]:
    """The same as `FxGraph.producers`, of a trace."""
    names = {layer.name: "input" for layer in trace.inputs}
    nearest: dict[str, tuple[str, ...]] = {}
    found: dict[str, tuple[str, ...]] = {}
    joins = 0
    for layer in trace:
        before = tuple(dict.fromkeys(n for p in layer.parents for n in ([names[p]] if p in names else nearest[p])))
        nearest[layer.name] = before
        name, _, further = layer.name.partition(":")
        if name.split("#")[0] == layer.module_name:
            names[layer.name] = name
            if not further:
                found[name] = before
        elif layer.module_type in JOIN_NAMES and len(before) > 1 and layer.module_name not in hidden:
            joins += 1
            names[layer.name] = f"join {joins}"
            found[f"join {joins}"] = before
    return found


def state_of(model: nn.Module) -> list[Any]:
    """All that a capture could leave behind."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    parts = [sorted(vars(module)) for module in model.modules()]
    tensors = [(name, id(t), t._version, t.requires_grad) for name, t in model.state_dict(keep_vars=True).items()]
    return [hooks, parts, tensors, [module.training for module in model.modules()], torch.get_rng_state().tolist()]


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_the_graph_of_fx(name, make_model, side_of):
    model, side = make_model(name), side_of(name)
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(x)[0].numpy()
    before = state_of(model)
    trace = Tracer(model)(x)
    assert state_of(model) == before
    assert trace.warnings == ()
    np.testing.assert_array_equal(trace[trace.outputs[0]].values, expected)
    fx = FxGraph(model)
    assert captured_producers(trace, fx.hidden) == fx.producers
    assert len(fx.producers) >= 10
