"""What goes through a model's layers, and through the functions between them, while it is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from ..capture.kinds import function_name
from .health import RECTIFIERS, SQUASHING, Health

KINDS = (*RECTIFIERS, *SQUASHING)


@contextmanager
def watching(model: nn.Module) -> Iterator[Health]:
    """The model in eval mode with its layers watched; hooks are removed and modes put back in the end."""
    health = Health()
    watch = _Watch(health)
    modes = [(module, module.training) for module in model.modules()]
    hooks = [hook for name, module in model.named_modules() for hook in watch.attach(name, module)]
    try:
        for module, _ in modes:
            module.training = False
        with watch:
            yield health
    finally:
        for module, mode in modes:
            module.training = mode
        for hook in hooks:
            hook.remove()


class _Watch(TorchFunctionMode):
    """Shows what modules without children return, and rectifiers and squashing functions that are called without a
    module, to a `Health`; named as in a trace, "relu#2" for a second call."""

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health
        self._running: list[tuple[str, str]] = []  # name and kind of the modules whose `forward` has begun
        self._calls: Counter[str] = Counter()

    def attach(self, name: str, module: nn.Module) -> tuple[Any, ...]:
        """The hooks that watch a module."""
        kind, is_leaf = _kind_of(module), next(module.children(), None) is None

        def before(module: nn.Module, inputs: Any) -> None:
            if not self._running:  # another batch
                self._calls.clear()
            self._running.append((name, kind))

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            self._running.pop()
            if is_leaf:
                self._see(name, kind, output)

        return module.register_forward_pre_hook(before), module.register_forward_hook(after)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        kind = function_name(func)
        if kind in KINDS and self._running:
            owner, of_owner = self._running[-1]
            if of_owner not in KINDS:  # what `nn.ReLU` calls is itself
                self._see(f"{owner}.{kind}" if owner else kind, kind, output)
        return output

    def _see(self, name: str, kind: str, output: Any) -> None:
        self._calls[name] += 1
        call = self._calls[name]
        self._health.see(name if call == 1 else f"{name}#{call}", kind, output)


def _kind_of(module: nn.Module) -> str:
    """One of `KINDS` for such a module and what is derived from it; for others the class's name."""
    names = [kind.__name__.lower() for kind in type(module).__mro__]
    return next((name for name in names if name in KINDS), names[0])
