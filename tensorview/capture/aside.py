"""A function mode that is put aside while a layer runs."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch.jit import ScriptFunction
from torch.overrides import TorchFunctionMode, handle_torch_function

from .values import tensors_in

if TYPE_CHECKING:
    from typing import Self

_stacked = torch._C._len_torch_function_stack
_push = torch._C._push_on_torch_function_stack
_pop = torch._C._pop_torch_function_stack


class _ScriptedCalls:
    """Shows calls of functions that `torch.jit.script` or `trace` compiled to function modes, which torch does not."""

    def __init__(self) -> None:
        self._lock, self._modes = threading.Lock(), 0
        self._call: Any = None

    def show(self) -> None:
        """Until `hide` is called as often, by whichever thread."""
        with self._lock:
            self._modes += 1
            if self._modes == 1:
                self._call = ScriptFunction.__dict__["__call__"]
                ScriptFunction.__call__ = self._seen(ScriptFunction.__call__)  # type: ignore[method-assign]

    def hide(self) -> None:
        with self._lock:
            self._modes -= 1
            if not self._modes:
                ScriptFunction.__call__ = self._call  # type: ignore[method-assign]

    @staticmethod
    def _seen(call: Any) -> Any:
        def seen(function: Any, *args: Any, **kwargs: Any) -> Any:
            if not _stacked():
                return call(function, *args, **kwargs)
            return handle_torch_function(function, tuple(tensors_in((args, kwargs))), *args, **kwargs)

        return seen


_scripted_calls = _ScriptedCalls()


class AsideMode(TorchFunctionMode):
    """A mode that sees no functions inside a layer, which are the layer's own affair.

    Each function that a mode sees costs microseconds of Python, as much as some layers. Scripted functions are
    seen too.
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

    def __enter__(self) -> Self:
        _scripted_calls.show()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.take_up()
        super().__exit__(kind, error, traceback)
        _scripted_calls.hide()
