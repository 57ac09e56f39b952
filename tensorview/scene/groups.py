"""Modules nest, and so does the scene: the layers of a module that is not expanded are shown as one box.

A box stands for a run of layers that follow each other in execution order. It shows what the run hands on: the values
of its last layer that something outside of it uses.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import SceneError
from .arrange import PARAMETERS
from .folding import folded, free_name

if TYPE_CHECKING:
    from ..capture import Layer

KIND = "module"
# Boxes in a first view: fewer than `FEW` are opened further, up to `ENOUGH`, and a whole level up to `MOST`, or up to
# `UTMOST` where fewer than `BRANCHED` were left. From `BRANCHED` on a graph with branches stands as it is.
FEW, ENOUGH, MOST, UTMOST, BRANCHED = 15, 24, 26, 30, 8


@dataclass(frozen=True)
class Node:
    """Something that stands in the scene: a layer, or a module that is closed.

    Attributes:
        name: of the layer or module; the second run of a module is `"block#2"`.
        start, stop: the part of the layers (inputs first) that it stands for.
        output: index of the layer whose values it shows.
        path: the module, empty for a layer of its own.
    """

    name: str
    start: int
    stop: int
    output: int
    path: str = ""


@dataclass(frozen=True)
class Module:
    """A run of two layers or more in one module: `layers[start:stop]`, with `depth` modules around it."""

    name: str
    start: int
    stop: int
    depth: int


@dataclass(frozen=True)
class Span:
    """An expanded module: `nodes[first:last + 1]` of those that are shown lie in it, `depth` modules around it."""

    name: str
    first: int
    last: int
    depth: int


def module_paths(name: str) -> list[str]:
    """The modules around a layer, the outermost first: `layer1`, `layer1.0` for `layer1.0.conv1`."""
    parts = name.split(".")[:-1]
    return [".".join(parts[: k + 1]) for k in range(len(parts))]


class Grouping:
    """The modules of a network's layers.

    Args:
        layers: inputs first, in execution order.
        outputs: names of the layers that the network returns.
    """

    def __init__(self, layers: Sequence[Layer], outputs: Iterable[str]) -> None:
        self._layers = layers
        self._names = [layer.name for layer in layers]
        paths = [module_paths(layer.name) if layer.kind != "input" else [] for layer in layers]
        self._paths, self._joined = folded(layers, paths)
        self._index = {name: i for i, name in enumerate(self._names)}
        self._shapes = [layer.shape for layer in layers]
        self._used = _last_use(layers, outputs)
        self._runs = self._find_runs()

    @property
    def modules(self) -> list[Module]:
        """Every module that can be closed into a box, by where it starts, the outer ones first."""
        every = [Module(name, *run) for name, run in self._runs.items()]
        return sorted(every, key=lambda module: (module.start, module.depth))

    @property
    def names(self) -> list[str]:
        """Every module that can be closed into a box: those with more than one layer."""
        return list(self._runs)

    def nodes(self, expanded: frozenset[str]) -> list[Node]:
        """What stands in the scene when these modules are expanded, in order."""
        return list(self._walk(0, len(self._names), 0, expanded))

    def spans(self, expanded: frozenset[str], nodes: Sequence[Node]) -> list[Span]:
        """The expanded modules that something of is shown, the outer ones first."""
        found = []
        for name, (start, stop, depth) in self._runs.items():
            inside = [i for i, node in enumerate(nodes) if start <= node.start and node.stop <= stop]
            if name in expanded and len(inside) > 1:
                found.append(Span(name, inside[0], inside[-1], depth))
        return found

    def around(self, name: str) -> frozenset[str]:
        """The modules that must be expanded for the layer or module of that name to be shown."""
        if name in self._runs:
            at, limit = self._runs[name][0], self._runs[name][2]
        else:
            at, limit = self._index[name], len(self._names)
        return frozenset(
            run
            for run, (start, stop, depth) in self._runs.items()
            if start <= at < stop and depth < limit and run != name
        )

    def first_view(self) -> frozenset[str]:
        """The modules to expand so that about twenty boxes are shown.

        Whole levels are expanded while not too many result. What has some boxes and skips or branches between them, as
        a U-Net, is a picture of its own and stays. Where few boxes are left, modules of the next level follow, those of
        fewest parts first.
        """
        expanded: frozenset[str] = frozenset()
        depth = 0
        while True:
            level = frozenset(name for name, (_, _, d) in self._runs.items() if d == depth)
            if not level or self._is_picture(expanded):
                return expanded
            if len(self.nodes(expanded | level)) > MOST:
                break
            expanded |= level
            depth += 1
        if len(self.nodes(expanded)) < FEW:
            for name in sorted(level - self._joined, key=lambda n: (len(self.nodes(expanded | {n})), self._runs[n][0])):
                if len(self.nodes(expanded | {name})) <= ENOUGH:
                    expanded |= {name}
        if len(self.nodes(expanded)) < BRANCHED and len(self.nodes(expanded | level)) <= UTMOST:
            expanded |= level
        return expanded

    def _is_picture(self, expanded: frozenset[str]) -> bool:
        """Whether the boxes are enough, closed modules among them, and more than a chain."""
        nodes = self.nodes(expanded)
        shown = shown_layers(self._layers, nodes)
        return len(nodes) >= BRANCHED and any(len(layer.parents) > 1 for layer in shown)

    def _walk(self, start: int, stop: int, depth: int, expanded: frozenset[str]) -> Iterator[Node]:
        i = start
        while i < stop:
            run = self._run_at.get((i, depth))
            if run is None:
                # A layer may be deeper than this level and yet alone in its module.
                if depth < len(self._paths[i]):
                    end = i + 1
                    yield from self._walk(i, end, depth + 1, expanded)
                else:
                    end = i + 1
                    yield Node(self._names[i], i, end, i)
            else:
                end = self._runs[run][1]
                if run in expanded:
                    yield from self._walk(i, end, depth + 1, expanded)
                else:
                    yield Node(run, i, end, self._output(i, end), self._paths[i][depth])
            i = end

    def _output(self, start: int, stop: int) -> int:
        """Of the layers of a run that are used behind it the last of those with most dimensions; else its last one.

        What a module returns beside its feature map or vector, as a sum for the loss, is a number.
        """
        used = [i for i in range(start, stop) if self._used[i] >= stop]
        return max(used, key=lambda i: (len(self._shapes[i]), i), default=stop - 1)

    def _find_runs(self) -> dict[str, tuple[int, int, int]]:
        """For every run of two layers or more its name, start, stop and depth."""
        runs: dict[str, tuple[int, int, int]] = {}
        self._run_at: dict[tuple[int, int], str] = {}
        deepest = max((len(p) for p in self._paths), default=0)
        taken = set(self._names)  # an input may be called as the module that takes it
        cuts: set[int] = set()  # where a call of a module begins, right behind another one
        for depth in range(deepest):
            i = 0
            while i < len(self._names):
                path = self._paths[i][depth] if depth < len(self._paths[i]) else None
                end = i + 1
                while self._goes_on(path, end, depth) and end not in cuts:
                    end += 1
                if path is not None and i not in cuts:
                    size = call_size(self._layers[i:end])
                    cuts.update(range(i + size, end, size))
                    end = i + size
                if path is not None and end - i > 1:
                    first = name = free_name(path, taken)
                    k = 1
                    while name in runs:
                        k += 1
                        name = f"{first}#{k}"
                    runs[name] = (i, end, depth)
                    self._run_at[i, depth] = name
                i = end
        return runs

    def _goes_on(self, path: str | None, at: int, depth: int) -> bool:
        """Whether the layer there lies in that module as well."""
        return path is not None and at < len(self._names) and path in self._paths[at][depth : depth + 1]


def call_size(run: Sequence[Layer]) -> int:
    """How many layers a call has, of a module whose run is several calls that do not feed each other; else all of them.

    So the encoders of a siamese network, which are one module, are told apart.
    """
    bases = [layer.name.partition("#")[0] for layer in run]
    place = {layer.name: i for i, layer in enumerate(run)}
    for size in range(1, len(run) // 2 + 1):
        if len(run) % size or bases != bases[:size] * (len(run) // size):
            continue
        called = any(layer.module_name == base for layer, base in zip(run[:size], bases, strict=False))
        fed = any(place.get(p, i) // size != i // size for i, layer in enumerate(run) for p in layer.parents)
        if called and not fed:
            return size
    return len(run)


def _last_use(layers: Sequence[Layer], outputs: Iterable[str]) -> list[int]:
    """For every layer the index of the last one that it feeds; what the network returns is used behind all of them."""
    index = {layer.name: i for i, layer in enumerate(layers)}
    used = [-1] * len(layers)
    for i, layer in enumerate(layers):
        for parent in layer.parents:
            if parent in index:
                used[index[parent]] = i
    for name in outputs:
        if name in index:
            used[index[name]] = len(layers)
    return used


def shown_layers(layers: Sequence[Layer], nodes: Sequence[Node]) -> tuple[Layer, ...]:
    """The layers that stand in the scene; a closed module is a layer of kind "module" with the values of its output.

    What feeds a closed module, or is fed by it, has its name among its parents.
    """
    if len(nodes) == len(layers):
        return tuple(layers)
    home = {layers[i].name: node.name for node in nodes for i in range(node.start, node.stop)}
    return tuple(_shown(layers, node, home) for node in nodes)


def _shown(layers: Sequence[Layer], node: Node, home: Mapping[str, str]) -> Layer:
    inside, output = layers[node.start : node.stop], layers[node.output]
    parents = tuple(dict.fromkeys(home[p] for x in inside for p in x.parents if home.get(p, node.name) != node.name))
    if not node.path:
        return output if parents == output.parents else replace(output, parents=parents)
    counted = {name: size for x in inside for name, size in x.parameters().items()}
    info = replace(
        output.info,
        text=f"{node.path}: {len(inside)} layers",
        hyper={},
        parameters=(),
        parameter_count=sum(counted.values()),
        formula="",
    )
    return replace(
        output,
        name=node.name,
        kind=KIND,
        module_type=output.module_type if output.module_type in PARAMETERS else "Module",
        module_name=node.path,
        call=1,
        parents=parents,
        info=info,
    )


def find(
    names: str | Iterable[str], layers: Sequence[Layer], grouping: Grouping
) -> tuple[frozenset[str], frozenset[str]]:
    """The layers and the modules of these names; `"*"` stands for all.

    Raises:
        SceneError: there is no such layer or module; near names are offered.
    """
    known, modules = [layer.name for layer in layers], grouping.names
    wanted = [names] if isinstance(names, str) else list(names)
    if "*" in wanted:
        return frozenset(known), frozenset(modules)
    for name in wanted:
        if name not in known and name not in modules:
            near = difflib.get_close_matches(name, [*known, *modules], 3, 0.4) or known[:6]
            raise SceneError(f"there is no layer {name!r} to open; near names are {', '.join(near)}")
    return frozenset(wanted) & frozenset(known), frozenset(wanted) & frozenset(modules)
