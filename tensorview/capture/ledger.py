"""What the first pass has found so far."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .attention import Attention
from .failure import Failure
from .keeping import Keep, Reduced, Wanted, is_reducible, size_kept, size_of
from .layers import ModuleInfo
from .plan import FIRST_SLOT, Link, Node, Output, Step
from .provenance import Provenance
from .values import Pick, copy_sample, named_tensors, pick_for, sample_shape


class Ledger:
    """The nodes and steps of a pass in execution order, and which of them made each living tensor.

    Args:
        batch: the batch size.
        sample: which sample is kept.
        wanted: whether a layer of that name and module (None for a function) keeps its values.
        room: how many bytes of values are copied at most. Where they take more, none are, and only what they are is
            noted.
        means: whether in that case the means of maps are kept, and the values of layers without maps, as far as the
            room goes: of a large network that is what its first view shows.

    Attributes:
        nodes, steps: what was found; the inputs are the first nodes.
        provenance: which nodes a tensor comes from.
        warnings: sentences about what could not be shown.
        failure: the innermost module or function that raised.
        calls: how many torch functions were called outside of layers.
        links: those of them that are no layers, by their number from 1.
        full: whether the values took more than the room.
    """

    def __init__(self, batch: int, sample: int, wanted: Wanted, room: float = math.inf, means: bool = False) -> None:
        self.nodes: list[Node] = []
        self.steps: list[Step] = []
        self.provenance = Provenance()
        self.warnings: list[str] = []
        self.failure: Failure | None = None
        self.calls = 0
        self.links: dict[int, Link] = {}
        self._slots = FIRST_SLOT
        self._batch, self._sample, self._wanted = batch, sample, wanted
        self._most = self._left = room
        self._means = means
        self.full = not room
        self._calls: Counter[str] = Counter()

    @property
    def copied(self) -> list[Any]:
        """The values, by node."""
        return [node.copied for node in self.nodes]

    def has_kept(self, keeps: Mapping[int, Keep]) -> bool:
        """Whether the values of nodes are there as they are to be kept."""
        if not self.full:
            return all(keep == "exact" for keep in keeps.values())
        return all(
            keep == ("mean" if isinstance(self.nodes[number].copied, Reduced) else "exact")
            and self.nodes[number].copied is not None
            for number, keep in keeps.items()
        )

    @property
    def batch(self) -> int:
        """The batch size."""
        return self._batch

    def calls_of(self, base: str) -> int:
        """How many finished calls there are of a module's or function's name."""
        return self._calls[base]

    def warn(self, sentence: str) -> None:
        """Note what could not be shown, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def fail(self, error: BaseException, base: str, what: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Note who raised `error`. Those it passes through on its way out are not to blame."""
        if self.failure is None or self.failure.error is not error:
            self.failure = Failure(error, base, what, shapes)

    def add_link(self, position: int, fed: tuple[int, ...], results: int) -> tuple[int, ...]:
        """Note a function that is no layer, and what it was given: slots for so many tensors of its results."""
        slots = tuple(range(self._slots, self._slots + results))
        self._slots += results
        self.links[position] = Link(fed, slots)
        return slots

    def add_input(self, name: str, tensor: Tensor) -> Output:
        """Make `tensor` an input called `name`."""
        return self.add(Node(name, "input", "Input", ""), tensor)

    def add(self, node: Node, tensor: Tensor, module: nn.Module | None = None, axis: int = 0) -> Output:
        """Append `node` with the shape and values of `tensor`, of which it becomes the source.

        `axis` is the dimension where the batch is expected.
        """
        shape = tensor.shape
        pick = pick_for(shape, self._batch, axis)
        self._calls[node.base] += node.first < 0
        call = self._calls[node.base]
        name = node.base if call == 1 else f"{node.base}#{call}"
        if pick.axis < 0 and self._batch > 1:
            whole = f"no batch dimension of {self._batch}, and is shown whole"
            self.warn(f"layer '{name}' returned {tuple(shape)}, which has {whole}")
        node.shape, node.dtype = sample_shape(shape, pick), str(tensor.dtype).removeprefix("torch.")
        kept = node.kind == "input" or self._wants(name, node, module)
        if kept and (keep := self._fitting(node)):
            if keep == "exact":
                node.copied = copy_sample(tensor, pick, self._sample)
            else:
                node.copied = Reduced.of(tensor, pick, self._sample, keep)
            if node.copied is None:
                self.warn(f"layer '{name}' returned {node.dtype} values, which are not drawn")
                kept = False
        number = len(self.nodes)
        self.nodes.append(node)
        self.provenance.set(tensor, (number,), True)
        return Output(number, shape, tensor.dtype, pick, "exact" if kept else None)

    def add_attention(self, node: Node, attention: Attention, module: nn.Module | None) -> tuple[int, bool]:
        """Append the maps of `attention` as a further value of the layer `node.first`: their number, and if kept."""
        node.shape, node.dtype = attention.shape(self._batch), "float32"
        call = self._calls[node.base]
        kept = self._wants(node.base if call == 1 else f"{node.base}#{call}", node, module)
        if kept and self._fitting(node, attention.nbytes // self._batch):
            node.copied = attention.of_sample(self._batch, self._sample)
        self.nodes.append(node)
        return len(self.nodes) - 1, kept

    def _fitting(self, node: Node, size: int | None = None) -> Keep | None:
        """How a node's values are kept, for which there is room then; None for not at all.

        Args:
            size: in bytes, where something else is kept than the values.
        """
        exactly = size_of(node.shape, node.dtype) if size is None else size
        if not self.full and exactly > self._left:
            self._fill()
        if self.full and (not self._means or size is not None):
            return None
        keep: Keep = "mean" if self.full and is_reducible(node) and node.kind != "input" else "exact"
        taken = size_kept(node, keep) if keep == "mean" else exactly
        if taken > self._left:
            return None
        self._left -= taken
        return keep

    def _fill(self) -> None:
        """Keep less of what was copied, since all values take more than the room."""
        self.full, self._left = True, self._most
        for node in self.nodes:
            copied, node.copied = node.copied, None
            if copied is None or isinstance(copied, Attention):
                continue
            if keep := self._fitting(node):
                values = torch.as_tensor(copied)
                node.copied = copied if keep == "exact" else Reduced.of(values, Pick(-1), 0, keep)

    def _wants(self, name: str, node: Node, module: nn.Module | None) -> bool:
        """Whether a tensor's values are kept: its own name or that of the call is wanted."""
        return self._wanted.layer(f"{name}:{node.suffix}" if node.first >= 0 else name, module)

    def shape_of_sample(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of one sample in a batched tensor."""
        return sample_shape(tensor.shape, pick_for(tensor.shape, self._batch))

    def add_returned(self, result: Any) -> tuple[Output, ...]:
        """The tensors that the model returned; what is no layer's own value becomes a layer called `output`."""
        outputs = []
        for path, tensor in named_tensors(result):
            number = self.provenance.direct(tensor)
            if number >= 0:
                outputs.append(Output(number, tensor.shape, tensor.dtype, Pick(-1), None))
            else:
                sources = self.provenance.of(tensor)
                base = ".".join(("output", *path))
                cellwise = self.provenance.cellwise([tensor], tensor.shape)
                info = ModuleInfo("returned by the model", {"cellwise": cellwise})
                node = Node(base, "other", "output", "", sources, info)
                outputs.append(self.add(node, tensor))
        if not outputs:
            self.warn(f"the model returned {type(result).__name__}, in which there is no tensor")
        return tuple(outputs)
