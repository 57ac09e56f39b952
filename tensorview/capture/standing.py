"""What stands in for the `forward` of modules while a pass follows a plan."""

from __future__ import annotations

from collections.abc import Callable, Container
from threading import get_ident
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

if TYPE_CHECKING:
    from .replay import Replay


class StandIns:
    """Functions in place of the `forward` of modules, which tell a pass what was called.

    torch's own hooks make a call 5 µs longer, and these 1 µs. They are made once, and set and removed in each pass:
    a module that somebody has hooks on, or a `forward` of its own, is left to hooks in that pass.

    Attributes:
        modules: those that are called in the pass, each once.
    """

    def __init__(self, modules: tuple[nn.Module, ...]) -> None:
        self.modules = modules
        # Not the pass itself: functions that held it would be held by it, and its values with them.
        self._under_way: list[Replay | None] = [None]
        # Methods, since a model may copy a part of itself: the copy of a method is that of the copied module.
        self._methods = [MethodType(_stand_in(module, self._under_way), module) for module in modules]
        self._kinds = frozenset(map(type, modules))
        self._set: list[nn.Module] = []

    def set(self, replay: Replay, but_for: Container[int]) -> list[nn.Module]:
        """Stand in for every module whose call is its `forward` and no more, but for those of these ids.

        Returns:
            The modules that nothing stands in for.
        """
        self._under_way[0] = replay
        kinds = () if _are_hooks_for_all() else set(filter(_is_plain, self._kinds))
        others = []
        for module, method in zip(self.modules, self._methods, strict=True):
            own = module.__dict__
            if (
                module.__class__ in kinds
                and not own["_forward_hooks"]
                and not own["_forward_pre_hooks"]
                and "forward" not in own
                and own.get("_compiled_call_impl") is None
                and id(module) not in but_for
            ):
                own["forward"] = method
                self._set.append(module)
            else:
                others.append(module)
        return others

    def remove(self) -> None:
        """Give every module its `forward` again."""
        for module in self._set:
            module.__dict__.pop("forward", None)
        self._set.clear()
        self._under_way[0] = None


def _stand_in(module: nn.Module, under_way: list[Replay | None]) -> Callable[..., Any]:
    # Its name is what pickle finds a method again by.
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        replay = under_way[0]
        if replay is None or self is not module or replay.thread != get_ident():
            return self.__class__.forward(self, *args, **kwargs)
        watch = replay.watch
        if watch is not None:
            watch.put_aside()
        out = self.__class__.forward(self, *args, **kwargs)
        other = replay.leave(self, args, out)
        return out if other is None else other

    return forward


def _are_hooks_for_all() -> bool:
    """Whether there are hooks that torch calls before or after the `forward` of every module."""
    return bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)


def _is_plain(kind: type[nn.Module]) -> bool:
    """Whether modules of a class are called as torch has it, and have a `forward` to stand in for."""
    return (
        not issubclass(kind, torch.jit.ScriptModule)  # which has no `forward`
        and kind.__call__ is nn.Module.__call__
        and isinstance(kind.forward, FunctionType)
    )
