"""The multiply-adds inside a layer, counted from the operators that it runs, also on tensors without values."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .kinds import module_kind

# Of what torch's own counter knows no number; `args` as in the operator's schema.
_FURTHER: dict[str, Callable[[tuple[Any, ...], Any], int]] = {
    "aten::mv": lambda args, out: args[0].numel(),
    "aten::addmv": lambda args, out: args[1].numel(),
    "aten::dot": lambda args, out: args[0].numel(),
    "aten::vdot": lambda args, out: args[0].numel(),
    "aten::addbmm": lambda args, out: args[1].numel() * args[2].shape[-1],
    "aten::_int_mm": lambda args, out: args[0].numel() * args[1].shape[-1],
    "aten::_addmm_activation": lambda args, out: args[1].numel() * args[2].shape[-1],
    "aten::_grouped_mm": lambda args, out: _grouped(*args[:2]),
    "aten::_trilinear": lambda args, out: args[0].numel() // args[0].shape[-1] * args[1].numel(),
    "aten::_scaled_dot_product_flash_attention_for_cpu": lambda args, out: _attention(*args[:3]),
    "torchvision::deform_conv2d": lambda args, out: out.numel() * args[1][0].numel(),
}
_MULTIPLYING = re.compile(r"(mm|linear|matmul)$|_mm_|conv|rnn|attention")
_KNOWN = {"aten", "prim", "prims", "profiler", "c10d", "_c10d_functional", "torchvision"}


class Products(TorchDispatchMode):
    """Counts multiply-adds.

    Attributes:
        count: those so far; None once there was an operator of which it is not known how many it takes.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.count: int | None = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            self.count = None
            return NotImplemented
        if torch.is_inference_mode_enabled() and func._overloadpacket not in flop_registry:
            with self:  # there torch hands on what it otherwise takes apart
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if self.count is not None:
            number = _number(func, args, kwargs, out)
            self.count = None if number is None else self.count + number
        return out


class Uncounted(nullcontext[None]):
    """In place of `Products` where a layer does not run under it, as flex attention does not."""

    count = None


def has_formula(module: nn.Module) -> bool:
    """Whether a module is one of torch's whose work is told by what it is, if it has any, and need not be counted."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    forward = vars(module).get("forward", type(module).forward)
    home = getattr(forward, "__module__", None) or ""
    return home.startswith(("torch.nn.", "torch.ao.nn.")) and module_kind(module) != "other"


def _number(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int | None:
    """The multiply-adds of one operator; None where they are not known."""
    name = func._schema.name
    try:
        if func._overloadpacket in flop_registry:
            return int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)) // 2
        if name in _FURTHER:
            return _FURTHER[name](args, out)
    except Exception:  # of whatever kind, from a formula for other shapes
        return None
    known = func.namespace in _KNOWN and not _MULTIPLYING.search(name.partition("::")[2])
    return 0 if known else None


def _grouped(rows: Any, matrices: Any) -> int:
    """Each of the rows, (N, D) or (E, N, D), meets one of the matrices, (E, D, M)."""
    _, inner, width = matrices.shape
    return int(rows.numel() // rows.shape[-1] * inner * width)


def _attention(query: Any, key: Any, value: Any) -> int:
    """Scores and weighted sums; of keys and values there may be fewer heads, each for a group of the query's."""
    return int(query.numel() // query.shape[-1] * key.shape[-2] * (query.shape[-1] + value.shape[-1]))
