"""Which layers made a tensor, followed through views, in-place writes and functions that are no layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakTensorKeyDictionary

# Of the tensors inside torch.vmap, torch.func.grad and their like.
_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_unwrapped = torch._C._functorch.get_unwrapped

Sources = tuple[int, ...]
UNKNOWN = -1
_NOTHING: tuple[Sources, bool, bool, int] = ((), False, False, UNKNOWN)


class Provenance:
    """A map from living tensors to the numbers of the layers they were computed from.

    A tensor is *direct* when it is exactly what its layer returned, and *cellwise* when each of its cells comes from
    the cell of its only layer at the same place, as it is or by arithmetic with constants. Parameters and constants
    have no entry: they have no sources. Entries vanish with their tensors.

    A tensor's *slot* says which it is: the number of the node whose value it is, or the number that was given to a
    result which is no layer.
    """

    def __init__(self) -> None:
        self._entries = WeakTensorKeyDictionary()
        # Of memory that was written to; with the storage itself, so that its number is not given to another one.
        self._memories: dict[int, tuple[UntypedStorage, Sources]] = {}

    def set(self, tensor: Tensor, sources: Sources, direct: bool, cellwise: bool = False, slot: int = UNKNOWN) -> None:
        """Say that `tensor` comes from `sources`; `direct` when it is the value of the only one, else in a `slot`."""
        if _is_wrapped(tensor):  # what comes out in the end is another tensor on its memory
            self.set(inner := _unwrapped(tensor), sources, False)
            if (memory := _memory(inner)) is not None:
                self._memories.setdefault(memory, (inner.untyped_storage(), sources))
        self._entries[tensor] = (sources, direct, direct or cellwise, sources[0] if direct else slot)

    def entries(self, tensors: Iterable[Tensor]) -> list[tuple[Tensor, Any]]:
        """What is known of tensors, for `put_back`."""
        return [(tensor, self._entries.get(tensor)) for tensor in tensors]

    def put_back(self, entries: Iterable[tuple[Tensor, Any]]) -> None:
        """Know of tensors again what was known, whatever was said since."""
        for tensor, entry in entries:
            if entry is None:
                self._entries.pop(tensor, None)
            else:
                self._entries[tensor] = entry

    def of(self, tensor: Tensor) -> Sources:
        """The numbers of the layers that `tensor` comes from, in argument order.

        A tensor without an entry, as a fresh buffer, comes from what was written to its memory through another one.
        """
        entry = self._entries.get(tensor)
        if entry is not None:
            return tuple(entry[0])
        if _is_wrapped(tensor):
            return self.of(_unwrapped(tensor))
        if not self._memories or (memory := _memory(tensor)) not in self._memories:
            return ()
        return self._memories[memory][1]

    def of_all(self, tensors: Iterable[Tensor]) -> Sources:
        """The union of several tensors' sources, in order, without duplicates."""
        return tuple(dict.fromkeys(source for tensor in tensors for source in self.of(tensor)))

    def operands(self, tensors: Iterable[Tensor]) -> int:
        """How many different sources the tensors have, each tensor's taken together."""
        return len({sources for tensor in tensors if (sources := self.of(tensor))})

    def direct(self, tensor: Tensor) -> int:
        """The number of the layer whose value `tensor` is, `UNKNOWN` if there is none."""
        sources, direct, _, _ = self._entries.get(tensor, _NOTHING)
        return sources[0] if direct else UNKNOWN

    def slots(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        """The slots of tensors, `UNKNOWN` for those that have none."""
        return tuple(self._entries.get(tensor, _NOTHING)[3] for tensor in tensors)

    def cellwise(self, tensors: Iterable[Tensor], shape: tuple[int, ...]) -> bool:
        """Whether those of the tensors that come from layers come from the same one, cell by cell, and have a shape."""
        known = [(*self._entries.get(tensor, _NOTHING), tensor.shape) for tensor in tensors if self.of(tensor)]
        return len({entry[0] for entry in known}) == 1 and all(entry[2] and entry[4] == shape for entry in known)

    def written(self, tensor: Tensor, sources: Sources) -> None:
        """Say that `tensor` was written to in place, from `sources`.

        Other tensors on the same cells follow: one that is no larger is taken to be overwritten, a larger
        one keeps its own sources beside the new.
        """
        memory = _memory(tensor)
        if memory is not None:
            storage, before = self._memories.get(memory, (tensor.untyped_storage(), ()))
            whole = tensor.numel() * tensor.element_size() >= storage.nbytes()
            self._memories[memory] = storage, tuple(dict.fromkeys((*(() if whole else before), *sources)))
        for other, (old, _, _, _) in list(self._entries.items()):
            if other is tensor or memory is None or _memory(other) != memory or _are_apart(other, tensor):
                continue
            kept = () if other.numel() <= tensor.numel() else old
            self._entries[other] = (tuple(dict.fromkeys((*kept, *sources))), False, False, UNKNOWN)
        self._entries[tensor] = (sources, False, False, UNKNOWN)


def _are_apart(one: Tensor, other: Tensor) -> bool:
    """Whether two strided tensors on the same memory have no cell in common, as far as that is easily told.

    Views of one tensor that slicing and splitting make have its strides. Each is a box among its cells, and two boxes
    are apart where they are along one of the axes.
    """
    if one.layout is not torch.strided or other.layout is not torch.strided or one.dtype is not other.dtype:
        return False
    if one.ndim != other.ndim or one.stride() != other.stride():
        return False
    strides = [int(stride) for stride in one.stride()]
    here, there = int(one.storage_offset()), int(other.storage_offset())
    apart, around = False, 0
    for axis in sorted((axis for axis, stride in enumerate(strides) if stride), key=lambda axis: -strides[axis]):
        stride = strides[axis]
        (start, here), (begin, there) = divmod(here, stride), divmod(there, stride)
        stop, end = start + one.shape[axis], begin + other.shape[axis]
        if around and (around % stride or max(stop, end) > around // stride):
            return False  # a box that goes on in the next row
        apart = apart or stop <= begin or end <= start
        around = stride
    return apart or here != there


def version(tensor: Tensor) -> int:
    """A count that grows with every in-place write to the tensor's memory; 0 where torch keeps none."""
    return 0 if is_lazy(tensor) or tensor.is_inference() else tensor._version


def _memory(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse and wrapped tensors have no storage of their own
        return None
