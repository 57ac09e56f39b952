"""A function mode that is put aside while a layer runs."""

from __future__ import annotations

from types import TracebackType

import torch
from torch.overrides import TorchFunctionMode

_stacked = torch._C._len_torch_function_stack
_push = torch._C._push_on_torch_function_stack
_pop = torch._C._pop_torch_function_stack


class AsideMode(TorchFunctionMode):
    """A mode that sees no functions inside a layer, which are the layer's own affair.

    Each function that a mode sees costs microseconds of Python, as much as some layers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._aside = False

    def put_aside(self) -> None:
        """See nothing until `take_up`; where the model has set a mode of its own above this one, go on as before."""
        if not self._aside and _stacked():
            top = _pop()
            self._aside = top is self
            if not self._aside:
                _push(top)

    def take_up(self) -> None:
        """See functions again."""
        if self._aside:
            _push(self)
            self._aside = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.take_up()
        super().__exit__(kind, error, traceback)
