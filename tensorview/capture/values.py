"""Taking one sample out of a batch and copying it to where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_NUMPY_DTYPES = frozenset(
    (torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
)


class Pick(NamedTuple):
    """Where one sample lies in a batched tensor.

    Attributes:
        axis: the batch dimension, -1 for a tensor that has none and is taken whole.
        rows: how many rows along `axis` belong to a sample; 0 where one does and the dimension is removed.
    """

    axis: int
    rows: int = 0


def pick_for(shape: tuple[int, ...], batch: int, axis: int = 0) -> Pick:
    """Find the sample in a tensor of `shape`.

    The batch is the first dimension, or the second of a sequence (T, N, D), which is also where `axis=1` looks
    first; a first dimension that is a multiple of the batch holds several rows of each sample (windows, frames).
    """
    rank = len(shape)
    if axis == 1 and rank >= 2 and shape[1] == batch:
        return Pick(1)
    if rank and shape[0] == batch:
        return Pick(0)
    if rank == 3 and shape[1] == batch:
        return Pick(1)
    if rank and batch > 1 and shape[0] and shape[0] % batch == 0:
        return Pick(0, shape[0] // batch)
    return Pick(-1)


def batch_axis(module: nn.Module, position: int) -> int:
    """Which dimension of a module's output number `position` its documentation says is the batch."""
    if isinstance(module, nn.RNNBase):
        return 0 if module.batch_first and position == 0 else 1
    if isinstance(module, nn.MultiheadAttention):
        return 0 if module.batch_first or position else 1
    return 0


def sample_shape(shape: tuple[int, ...], pick: Pick) -> tuple[int, ...]:
    """The shape of what `pick` takes out of a tensor of `shape`."""
    if pick.axis < 0:
        return tuple(shape)
    if pick.rows:
        return (pick.rows, *shape[1:])
    return (*shape[: pick.axis], *shape[pick.axis + 1 :])


def copy_sample(tensor: Tensor, pick: Pick, sample: int) -> np.ndarray | Tensor | None:
    """Copy one sample: to an array from the CPU, to a tensor on the same device from elsewhere.

    float16, bfloat16 and float8 become float32. Complex tensors cannot be held: `None`.
    """
    taken = take_sample(tensor, pick, sample)
    if taken is None:
        return None
    if taken.device.type == "cpu":
        return np.array(taken.numpy(), order="C")
    return taken.clone(memory_format=torch.contiguous_format)


def take_sample(tensor: Tensor, pick: Pick, sample: int) -> Tensor | None:
    """One sample, dense and of a dtype that numpy knows, not copied if need not be; None for complex numbers."""
    tensor = tensor.detach()
    if tensor.dtype.is_complex or tensor.is_nested:
        return None
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if pick.rows:
        tensor = tensor[sample * pick.rows : (sample + 1) * pick.rows]
    elif pick.axis >= 0:
        tensor = tensor.select(pick.axis, sample)
    return tensor if tensor.dtype in _NUMPY_DTYPES else tensor.float()


def to_array(copied: np.ndarray | Tensor | None) -> np.ndarray | None:
    """Bring what `copy_sample` made to the CPU and close it for writing."""
    if copied is None:
        return None
    array = copied if isinstance(copied, np.ndarray) else copied.cpu().numpy()
    array.setflags(write=False)
    return array


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor inside nested tuples, lists, dicts and dataclasses, in order."""
    for _, tensor in named_tensors(value):
        yield tensor


def named_tensors(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """As `tensors_in`, each with its way there: `("boxes", "0")`."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named_tensors(item, (*path, str(key)))
    elif isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", None) or range(len(value))
        for name, item in zip(names, value, strict=True):
            yield from named_tensors(item, (*path, str(name)))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from named_tensors(getattr(value, field.name), (*path, field.name))


def apart(tensor: Tensor) -> Tensor:
    """Another tensor of the same memory, through which gradients go as well."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach()


def cloned(value: Any, copy: Callable[[Tensor], Tensor] = lambda tensor: tensor.detach().clone()) -> Any:
    """`value` with every tensor in nested tuples, lists and dicts detached and copied."""
    if isinstance(value, Tensor):
        return copy(value)
    if isinstance(value, dict):
        return {key: cloned(item, copy) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [cloned(item, copy) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
