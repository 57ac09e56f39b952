"""What a forward pass may change besides its result, saved and put back: random generators and buffers."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .provenance import version

SMALL = 1024  # numbers of a buffer that costs next to nothing to copy


class Saved(NamedTuple):
    """A buffer and what it held."""

    module: nn.Module
    name: str
    buffer: Tensor
    copy: Tensor
    version: int

    @property
    def changed(self) -> bool:
        """Whether it was replaced or holds other values; batch norm writes without counting its writes."""
        if self.module._buffers.get(self.name) is not self.buffer:
            return True
        return version(self.buffer) != self.version or not _same(self.buffer, self.copy)

    def put_back(self) -> None:
        """Give the buffer its values again, and the module its buffer."""
        if version(self.buffer) != self.version or not _same(self.buffer, self.copy):
            with torch.inference_mode(self.buffer.is_inference()):
                self.buffer.copy_(self.copy)
        self.module._buffers[self.name] = self.buffer


class Unchanged:
    """A context in which a forward pass leaves buffers and random generators as they were.

    The generators are torch's (CPU, CUDA), and those of Python and numpy: these cost as much as a small layer, so
    that of a model in eval mode they are saved in the first pass, and later only if that pass drew from them.
    Buffers of modules in training mode are copied (batch norm's running statistics), and in the first pass those
    of modules from outside torch.nn too; later passes copy only the small ones of these and those that did change, so
    that a constant mask is not copied each time. A buffer that was None is None again.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = [module for module in model.modules() if any(b is not None for b in module._buffers.values())]
        self._owners = [m for m in model.modules() if m._buffers and not _is_of_torch(m)]
        self._empty: list[tuple[nn.Module, str]] = []
        self._children = [(m._modules, list(m._modules.values())) for m in model.modules() if m._modules]
        self._changing: dict[int, set[str]] | None = None  # names of buffers by their module's id
        self._draws: bool | None = None
        self._saved: list[Saved] = []
        self._plain: tuple[Any, Any] | None = None

    @property
    def outdated(self) -> bool:
        """Whether a module of the model was replaced, added or taken away since this was made."""
        return not all(list(found.values()) == known for found, known in self._children)

    def __enter__(self) -> None:
        self._saved = [
            Saved(module, name, buffer, buffer.detach().clone(), version(buffer))
            for module in self._modules
            if module.training or self._changing is None or id(module) in self._changing or not _is_of_torch(module)
            for name, buffer in module._buffers.items()
            if buffer is not None and not is_lazy(buffer) and self._may_change(module, name, buffer)
        ]
        self._empty = [(m, name) for m in self._owners for name, buffer in m._buffers.items() if buffer is None]
        self._random = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        draws = self._draws is not False or self._model.training
        self._plain = (random.getstate(), np.random.get_state()) if draws else None  # noqa: NPY002 (not drawn from)

    def _may_change(self, module: nn.Module, name: str, buffer: Tensor) -> bool:
        if module.training:
            return True
        if not _is_of_torch(module) and (self._changing is None or buffer.numel() <= SMALL):
            return True
        return self._changing is not None and name in self._changing.get(id(module), ())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        torch.set_rng_state(self._random)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        if self._plain is not None:
            self._put_generators_back(*self._plain)
        if self._changing is None:
            self._changing = {}
            for saved in self._saved:
                if saved.changed:
                    self._changing.setdefault(id(saved.module), set()).add(saved.name)
        with torch.no_grad():
            for saved in self._saved:
                saved.put_back()
            for module, name in self._empty:
                module._buffers[name] = None
        self._saved = []

    def _put_generators_back(self, python: Any, numpy: Any) -> None:
        now: Any = np.random.get_state()  # noqa: NPY002
        drawn = random.getstate() != python or now[2:] != numpy[2:] or not np.array_equal(now[1], numpy[1])
        if drawn:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
        self._draws = bool(self._draws) or drawn


@contextlib.contextmanager
def put_back(model: nn.Module) -> Iterator[None]:
    """A context at whose end the modules have the attributes again that they had, and parameters their memory.

    For passes on tensors without values, of which a model may keep some: a table that it makes once, a layer that it
    adds when it sees its first input, a cache in a dict or a list, or a mask that it writes to `weight.data`.
    """
    own = [value for module in model.modules() for value in (module.__dict__, *module.__dict__.values())]
    mappings = [(value, dict(value)) for value in own if isinstance(value, dict)]
    others = [(value, copy.copy(value)) for value in own if type(value) in (list, set)]
    data = [(p, p.data, p.grad) for p in model.parameters() if not is_lazy(p)]
    try:
        yield
    finally:
        for mapping, before in mappings:
            if mapping.keys() != before.keys() or any(mapping[key] is not value for key, value in before.items()):
                mapping.clear()
                mapping.update(before)
        for other, before in others:
            other.clear()
            other.extend(before) if isinstance(other, list) else other.update(before)
        for parameter, memory, gradient in data:
            if parameter.device != memory.device or type(parameter.data) is not type(memory):
                parameter.data = memory
            parameter.grad = gradient


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and (one.is_meta or torch.equal(one, other))
