"""Which kind of layer a module or a function is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .layers import KINDS

# torch.nn keeps one kind of module in one file, so that the file's name says the kind, also of subclasses.
_FILES = {
    "conv": "convolution",
    "pooling": "pooling",
    "linear": "linear",
    "activation": "activation",
    "batchnorm": "normalization",
    "instancenorm": "normalization",
    "normalization": "normalization",
    "dropout": "dropout",
    "flatten": "reshape",
    "fold": "reshape",
    "channelshuffle": "reshape",
    "pixelshuffle": "upsampling",
    "padding": "padding",
    "upsampling": "upsampling",
    "sparse": "embedding",
    "rnn": "recurrent",
    "distance": "merge",
}
_CLASSES = {
    "Identity": "other",
    "MultiheadAttention": "attention",
    "MaxUnpool1d": "upsampling",
    "MaxUnpool2d": "upsampling",
    "MaxUnpool3d": "upsampling",
    "PixelUnshuffle": "reshape",
}
# Modules from elsewhere are known by the habits of their names.
_NAMES = (
    (re.compile(r"Norm(\dd)?$"), "normalization"),
    (re.compile(r"(Dropout|DropPath|StochasticDepth)"), "dropout"),
    (re.compile(r"Pool(ing)?(\dd)?$"), "pooling"),
    (re.compile(r"Conv(\dd)?$"), "convolution"),
    (re.compile(r"Embed(ding|dings)?$"), "embedding"),
    (re.compile(r"Attention$"), "attention"),
    (re.compile(r"(Activation|ReLU|GELU|SiLU|Swish|Sigmoid|Softmax|Tanh)$"), "activation"),
    (re.compile(r"^(Permute|SwapAxes|Reshape|View|Flatten)$"), "reshape"),
    (re.compile(r"^(Concat|Concatenate|Add|Sum|Multiply)$"), "merge"),
)
_CONTAINERS = (
    nn.Sequential,
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)


def module_kind(module: nn.Module) -> str:
    """The kind of a module: its class's own `layer_kind`, else what its name tells; `"other"` for what is not known."""
    told = getattr(type(module), "layer_kind", None)
    if isinstance(told, str) and told in KINDS:
        return told
    for cls in type(module).__mro__:
        if cls.__module__.startswith(("torch.nn.", "torch.ao.nn.")):
            if cls.__name__ in _CLASSES:
                return _CLASSES[cls.__name__]
            if (file := cls.__module__.rpartition(".")[2]) in _FILES:
                return _FILES[file]
    name = module_type(module)
    return next((kind for pattern, kind in _NAMES if pattern.search(name)), "other")


def module_type(module: nn.Module) -> str:
    """The name of a module's class; of a scripted module, that of the class it was made from."""
    return str(module.original_name) if isinstance(module, torch.jit.ScriptModule) else type(module).__name__


def is_atomic(module: nn.Module) -> bool:
    """Whether a module is one layer rather than a box of layers.

    It is when it has no children, and when torch itself wrote its `forward` (`MultiheadAttention`, a `Linear` with a
    parametrization or one that is quantized), unless that only hands the work to the children. A scripted module
    runs outside Python, where its children are not seen.
    """
    if next(module.children(), None) is None or isinstance(module, torch.jit.ScriptModule):
        return True
    forward = type(module).forward
    if forward is nn.Module.forward or isinstance(module, _CONTAINERS):  # the former is a compiled module's
        return False
    return (getattr(forward, "__module__", None) or "").startswith(("torch.nn.modules.", "torch.ao.nn.", "torch.jit."))


_FUNCTIONS_OF = {
    "convolution": """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    """,
    "pooling": """
        max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d
        lp_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d fractional_max_pool2d fractional_max_pool3d
    """,
    "linear": """
        linear bilinear
    """,
    "activation": """
        relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid logsigmoid log_sigmoid tanh
        hardtanh hardsigmoid hardswish softplus softsign tanhshrink softshrink hardshrink threshold
        prelu rrelu glu softmax log_softmax softmin gumbel_softmax
    """,
    "normalization": """
        batch_norm layer_norm instance_norm group_norm rms_norm local_response_norm normalize
    """,
    "dropout": """
        dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout
    """,
    "reshape": """
        flatten view reshape unflatten permute transpose swapaxes movedim fold unfold
        channel_shuffle pixel_unshuffle
    """,
    "padding": """
        pad
    """,
    "upsampling": """
        interpolate upsample upsample_nearest upsample_bilinear grid_sample pixel_shuffle
        max_unpool1d max_unpool2d max_unpool3d
    """,
    "embedding": """
        embedding embedding_bag
    """,
    "attention": """
        scaled_dot_product_attention multi_head_attention_forward
    """,
    "recurrent": """
        lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell
    """,
    "merge": """
        add sub mul div pow cat concat concatenate stack hstack vstack dstack maximum minimum
        addcmul addcdiv lerp where cosine_similarity pairwise_distance
    """,
}
CONCATENATIONS = {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"}
_FUNCTIONS = {name: kind for kind, names in _FUNCTIONS_OF.items() for name in names.split()}
PRODUCTS = {"matmul", "mm", "bmm", "mv", "dot", "addmm", "baddbmm", "einsum", "tensordot", "outer"}
_REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "logsumexp"}
AXIS_MOVES = {"permute", "transpose", "swapaxes", "movedim"}
_OPERATORS = {"truediv": "div", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub"}
# They take a tensor for its shape, dtype or device and not for its values.
_CONSTANTS = {
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like"),
    *("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"),
    *("fill", "zero", "uniform"),
}
_DRAWS = {"normal_", "bernoulli_", "exponential_", "geometric_", "log_normal_", "cauchy_", "random_"}
# Of their further arguments they take the shape or the dtype.
_AS = {"view_as", "reshape_as", "expand_as", "type_as"}
# Without another layer's values they make each cell of the same cell.
CELLWISE = {
    *("add", "sub", "rsub", "mul", "div", "pow", "neg", "negative", "abs", "sign", "square", "sqrt", "rsqrt"),
    *("reciprocal", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "clamp", "clip", "round"),
    *("floor", "ceil", "nan_to_num", "to", "type", "float", "double", "half", "bfloat16", "clone", "contiguous"),
    "detach",
}


def function_name(func: Callable[..., Any]) -> str:
    """The plain name of a torch function: `add` for `__iadd__`, `__radd__`, `add_` and `aten.add.Tensor`."""
    if isinstance(func, torch.jit.ScriptFunction):  # which may be called as a function of torch is
        return f"scripted_{func.name}"
    name = getattr(func, "__name__", "") or ""
    if isinstance(func, torch._ops.OpOverload):  # as in the modules of torch.export
        name = name.partition(".")[0]
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        if name[:1] in "ir" and name[1:] in ("add", "sub", "mul", "truediv", "matmul", "pow"):
            name = name[1:]
    else:
        name = name.strip("_").removesuffix("_with_indices")
    return _OPERATORS.get(name, name)


def feeding(name: str, func: Callable[..., Any], given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Those of the tensors that a function is given whose values enter its result."""
    if name in _CONSTANTS or getattr(func, "__name__", "") in _DRAWS:
        return ()
    if name == "copy":  # whose first argument is overwritten
        return given[1:]
    return given[:1] if name in _AS else given


def function_kind(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], operands: int) -> str | None:
    """The kind of layer that a function call is, `None` where it only hands on what it was given.

    Activations, convolutions, pooling, reshapes and the like are layers; arithmetic is one when it joins two or
    more `operands` (tensors of different producers, or of one and constants that are as large); so is a product of
    matrices, and a mean, sum or maximum over some dimensions. Arithmetic with smaller constants, slicing, casting and
    moving the batch dimension are not.
    """
    if name in PRODUCTS:
        return "merge" if operands > 1 else "linear"
    if name in _REDUCTIONS:
        if operands > 1:
            return "merge"
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        dims = (dims,) if isinstance(dims, int) else dims
        return "pooling" if isinstance(dims, (tuple, list)) and 0 not in dims else None
    if name in AXIS_MOVES and _moves_batch(name, args, kwargs):
        return None
    kind = _FUNCTIONS.get(name)
    return None if kind == "merge" and operands < 2 else kind


def _moves_batch(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a transposition moves dimension 0, as between (N, T, D) and (T, N, D)."""
    numbers = [value for value in (*args[1:], *kwargs.values()) if not isinstance(value, Tensor)]
    dims = [dim for value in numbers for dim in (value if isinstance(value, (tuple, list)) else (value,))]
    if name == "permute":
        return bool(dims) and dims[0] != 0
    rank = args[0].ndim if args and isinstance(args[0], Tensor) else 0
    return 0 in dims or -rank in dims
