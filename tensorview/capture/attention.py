"""Attention maps: who looks at whom, as the softmax of scaled products of queries and keys.

Fused attention never holds its maps. What it is given is copied instead, and softmax(Q K^T / sqrt(d) + mask), equation
1 of Vaswani et al., "Attention Is All You Need" (2017), is computed from it when somebody looks: equal up to rounding,
before dropout. The model itself is not asked for anything else than it would compute anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .layers import read_only

FUNCTIONS = ("scaled_dot_product_attention", "multi_head_attention_forward")
SUFFIX = "weights"


class Attention(NamedTuple):
    """What a call of attention was given, or its maps where it computes them.

    Attributes:
        query: (..., H, T, D).
        key: (..., H, S, D); it may have fewer heads, each for a group of the query's.
        mask: broadcastable to (..., H, T, S), True or 0 where it may look.
        causal: whether nobody looks ahead.
        scale: of the products; None for 1 / sqrt(D).
        maps: (..., T, S), in place of all of these.
    """

    query: Tensor | None = None
    key: Tensor | None = None
    mask: Tensor | None = None
    causal: bool = False
    scale: float | None = None
    maps: Tensor | None = None

    def shape(self, batch: int) -> tuple[int, int, int]:
        """(heads, T, S) of one sample."""
        if self.query is None or self.key is None:
            assert self.maps is not None
            *leading, rows, columns = self.maps.shape
        else:
            *leading, rows, _ = self.query.shape
            columns = self.key.shape[-2]
        whole = not leading or leading[0] % batch
        return (math.prod(leading) // (1 if whole else batch), rows, columns)

    @property
    def nbytes(self) -> int:
        """The bytes of all that is held."""
        return sum(part.nbytes for part in self if isinstance(part, Tensor))

    def of_sample(self, batch: int, sample: int) -> Attention:
        """The part of one sample, copied, float32, on the same device."""

        def part(tensor: Tensor, rank: int) -> Tensor:
            if tensor.ndim == rank and tensor.shape[0] % batch == 0:
                rows = tensor.shape[0] // batch
                tensor = tensor[sample * rows : (sample + 1) * rows]
            return (tensor if tensor.dtype is torch.bool else tensor.detach().float()).clone()

        first = self.maps if self.query is None else self.query
        assert first is not None
        return self._each(lambda tensor: part(tensor, first.ndim))

    def to_cpu(self) -> Attention:
        """The same on the CPU."""
        return self._each(Tensor.cpu)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Attention:
        held = {name: part for name, part in self._asdict().items() if isinstance(part, Tensor)}
        parts: dict[str, Any] = {name: change(part) for name, part in held.items()}
        return self._replace(**parts)

    def computed(self) -> np.ndarray:
        """(heads, T, S) float32, read-only, each row a distribution; a row that may look nowhere is 0."""
        if self.maps is not None:
            maps = self.maps
        else:
            assert self.query is not None
            assert self.key is not None
            maps = self._softmax(self.query, self.key)
        return read_only(maps.reshape(-1, *maps.shape[-2:]).numpy())

    @torch.no_grad()
    def _softmax(self, query: Tensor, key: Tensor) -> Tensor:
        if query.ndim > 2 and key.shape[-3] != query.shape[-3]:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
        scale = 1 / math.sqrt(query.shape[-1]) if self.scale is None else self.scale
        products = query @ key.transpose(-1, -2) * scale
        if self.causal:
            ahead = torch.ones(products.shape[-2:], dtype=torch.bool).triu(1)
            products = products.masked_fill(ahead, -math.inf)
        if self.mask is not None:
            free = self.mask.dtype is not torch.bool
            products = products + self.mask if free else products.masked_fill(~self.mask, -math.inf)
        return products.softmax(-1).nan_to_num(0.0)


class Listener(TorchDispatchMode):
    """Listens to the operators inside one call and notes the attention among them.

    Attributes:
        heard: the last attention that was computed; None if there was none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: Attention | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._schema.name
        if name.startswith("aten::_scaled_dot_product"):
            names = [argument.name for argument in func._schema.arguments]
            self.heard = _given({**dict(zip(names, args, strict=False)), **kwargs})
        elif name in ("aten::_softmax", "aten::_safe_softmax") and out.ndim >= 3:
            self.heard = Attention(maps=out)
        return out


def listens_to(module: nn.Module) -> bool:
    """Whether a module's maps are heard."""
    return isinstance(module, nn.MultiheadAttention)


def heard_in(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Attention | None]:
    """Call one of `FUNCTIONS`: its result, and what it attended to."""
    listener = Listener()
    with listener:
        out = func(*args, **kwargs)
    return out, listener.heard


def _given(arguments: dict[str, Any]) -> Attention | None:
    query, key = arguments.get("query"), arguments.get("key")
    if not isinstance(query, Tensor) or not isinstance(key, Tensor) or query.is_nested:
        return None
    mask = arguments.get("attn_mask", arguments.get("attn_bias"))
    return Attention(query, key, mask, bool(arguments.get("is_causal")), arguments.get("scale"))
