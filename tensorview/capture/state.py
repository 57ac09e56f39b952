"""What a forward pass may change besides its result, saved and put back: random generators and buffers."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor, nn


class Unchanged:
    """A context in which a forward pass leaves buffers and torch's random generators (CPU, CUDA) as they were.

    Buffers of modules in training mode are copied (batch norm's running statistics), and in the first pass those
    of modules from outside torch.nn too; later passes copy only those of them that did change, so that a constant
    mask is not copied each time.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [module for module in model.modules() if any(b is not None for b in module._buffers.values())]
        self._changing: set[tuple[int, str]] | None = None
        self._saved: list[tuple[nn.Module, str, Tensor, Tensor]] = []

    def __enter__(self) -> None:
        self._saved = [
            (module, name, buffer, buffer.detach().clone())
            for module in self._modules
            for name, buffer in module._buffers.items()
            if buffer is not None and self._may_change(module, name)
        ]
        self._random = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def _may_change(self, module: nn.Module, name: str) -> bool:
        if module.training:
            return True
        if self._changing is None:
            return not type(module).__module__.startswith("torch.nn.")
        return (id(module), name) in self._changing

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        torch.set_rng_state(self._random)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        if self._changing is None:
            self._changing = {
                (id(module), name)
                for module, name, buffer, copy in self._saved
                if module._buffers.get(name) is not buffer or not torch.equal(buffer, copy)
            }
        with torch.no_grad():
            for module, name, buffer, copy in self._saved:
                buffer.copy_(copy)
                module._buffers[name] = buffer
        self._saved = []
