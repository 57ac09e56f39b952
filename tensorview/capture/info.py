"""What stands on a layer's card: text, hyperparameters, parameters and the formula of their number."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .kinds import PRODUCTS
from .layers import ModuleInfo

_HYPER_NAMES = """
    in_channels out_channels kernel_size stride padding dilation groups output_padding padding_mode
    ceil_mode count_include_pad output_size in_features out_features num_features normalized_shape
    num_groups eps momentum affine p inplace negative_slope num_embeddings embedding_dim padding_idx
    embed_dim num_heads kdim vdim in1_features in2_features input_size hidden_size proj_size
    num_layers bidirectional batch_first size
    scale_factor mode align_corners upscale_factor downscale_factor start_dim end_dim
    unflattened_size dim dims value pad axis_order
"""
_HYPER = tuple(_HYPER_NAMES.split())

TIMES = " \N{MULTIPLICATION SIGN} "

# Arguments of functions that `inspect.signature` cannot read: written in C++, or chosen between at run time.
_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_POOLING = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    **{f"conv{n}d": _CONVOLUTION for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _TRANSPOSED for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _POOLING for n in (1, 2, 3)},
    **{f"max_pool{n}d": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode") for n in (1, 2, 3)},
    "linear": ("input", "weight", "bias"),
    "flatten": ("input", "start_dim", "end_dim"),
    "softmax": ("input", "dim"),
    "log_softmax": ("input", "dim"),
    "mean": ("input", "dim"),
    "sum": ("input", "dim"),
    "amax": ("input", "dim"),
    "cat": ("tensors", "dim"),
    "concat": ("tensors", "dim"),
    "stack": ("tensors", "dim"),
    "pixel_shuffle": ("input", "upscale_factor"),
    "prelu": ("input", "weight"),
    "batch_norm": ("input", "weight", "bias"),
}
_JOINS = frozenset(("cat", "concat", "concatenate", "stack"))


def module_info(module: nn.Module) -> ModuleInfo:
    """Describe a module. Its parameters are listed with those of its children."""
    hyper = {name: plain for name in _held(module) if (plain := _plain(getattr(module, name, None))) is not None}
    known = ((name, p) for name, p in module.named_parameters() if not is_lazy(p))
    parameters = tuple((name, tuple(p.shape), p.numel()) for name, p in known)
    return ModuleInfo(
        repr(module),
        hyper,
        parameters,
        sum(p[2] for p in parameters),
        _formula(hyper, parameters, _weight_role(module)),
    )


def function_info(
    name: str,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    known: Mapping[int, str],
) -> ModuleInfo:
    """Describe a call of a torch function; `known` maps the `id` of the model's parameters to their names."""
    given = _bind(name, func, args, kwargs)
    weight = given.get("weight")
    hyper = {key: plain for key, value in given.items() if key in _HYPER and (plain := _plain(value)) is not None}
    if name in _JOINS:
        hyper.setdefault("dim", 0)
    if isinstance(weight, Tensor) and name.startswith("conv"):
        groups = hyper.get("groups", 1)
        first, second = weight.shape[0], weight.shape[1] * groups
        wide = (first, second) if name.startswith("conv_transpose") else (second, first)
        hyper.update(in_channels=wide[0], out_channels=wide[1], kernel_size=tuple(weight.shape[2:]), groups=groups)
    elif isinstance(weight, Tensor) and name == "linear":
        hyper.update(in_features=weight.shape[-1], out_features=weight.shape[0])
    elif name in PRODUCTS and (inner := _inner(name, args, kwargs)):
        hyper["inner"] = inner
    used = [value for value in given.values() if isinstance(value, Tensor) and id(value) in known]
    parameters = tuple((known[id(p)], tuple(p.shape), p.numel()) for p in used)
    described = ", ".join(f"{key}={value!r}" for key, value in hyper.items())
    formula = _formula(hyper, parameters, name)
    return ModuleInfo(f"{name}({described})", hyper, parameters, sum(p[2] for p in parameters), formula)


def _inner(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """How many products are added for each number of a product of matrices; None where that is not told here."""
    if name in ("outer", "tensordot"):
        return None
    if name == "einsum" and isinstance(args[0], str) and "..." not in args[0]:
        operands = args[1] if isinstance(args[1], (tuple, list)) else args[1:]
        terms, _, result = args[0].replace(" ", "").partition("->")
        sizes = {
            c: n for term, t in zip(terms.split(","), operands, strict=True) for c, n in zip(term, t.shape, strict=True)
        }
        return math.prod(size for letter, size in sizes.items() if letter not in result)
    place, word = {"addmm": (1, "mat1"), "baddbmm": (1, "batch1")}.get(name, (0, "input"))
    first = args[place] if len(args) > place else kwargs.get(word)
    return first.shape[-1] if isinstance(first, Tensor) else None


def _bind(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The call's arguments by name; those without a known name are numbered."""
    names = _ARGUMENTS.get(name)
    if isinstance(func, torch._ops.OpOverload):
        names = tuple(argument.name for argument in func._schema.arguments)
    if names is None:
        try:
            return dict(inspect.signature(func).bind(*args, **kwargs).arguments)
        except (TypeError, ValueError):
            names = ()
    named = {names[i] if i < len(names) else f"argument {i}": arg for i, arg in enumerate(args)}
    return {**named, **kwargs}


def _held(module: nn.Module) -> list[str]:
    """The hyperparameters that a module has; asked for one that it has not, torch makes an error, which is slow."""
    if isinstance(module, torch.jit.ScriptModule):
        return list(_HYPER)
    kind: Any = type(module)
    of_class = _of_class(kind)
    return [name for name in _HYPER if name in module.__dict__ or name in of_class]


@functools.lru_cache(maxsize=256)
def _of_class(kind: type[nn.Module]) -> frozenset[str]:
    return frozenset(name for name in _HYPER if hasattr(kind, name))


def _plain(value: Any) -> Any:
    """`value` if JSON can hold it, else None."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)) and all(isinstance(item, (bool, int, float, str)) for item in value):
        return tuple(value)
    return None


def _weight_role(module: nn.Module) -> str:
    if isinstance(module, nn.modules.conv._ConvNd):
        return "conv_transpose" if module.transposed else "conv"
    return "linear" if isinstance(module, nn.Linear) else ""


def _formula(hyper: dict[str, Any], parameters: tuple[tuple[str, tuple[int, ...], int], ...], role: str) -> str:
    """The number of parameters spelled out, a sum of products of shapes."""
    if not parameters:
        return ""
    scale_and_shift = "num_features" in hyper or "normalized_shape" in hyper or "num_groups" in hyper
    terms = []
    for name, shape, _ in parameters:
        short = name.rpartition(".")[2]
        product = TIMES.join(map(str, shape)) or "1"
        if short == "weight" and role.startswith("conv") and len(shape) > 1:
            terms.append(f"{shape[0]}{TIMES}({TIMES.join(map(str, shape[1:]))}) weights")
        elif short == "weight":
            terms.append(f"{product} {'scales' if scale_and_shift else 'weights'}")
        elif short == "bias":
            terms.append(f"{product} {'shifts' if scale_and_shift else 'biases'}")
        else:
            terms.append(f"{product} {name}")
    return f"{' + '.join(terms)} = {sum(math.prod(shape) for _, shape, _ in parameters):,}"
