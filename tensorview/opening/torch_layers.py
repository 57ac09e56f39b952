"""Layers of torch.nn that come without their class, from files that hold programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .wired import Operation, operation

_KINDS = {
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
}  # by the file of torch.nn.modules
_HYPER = """
    kernel_size stride padding dilation groups output_padding ceil_mode count_include_pad output_size p dim dims
    normalized_shape num_groups negative_slope padding_idx size scale_factor mode align_corners upscale_factor
    downscale_factor start_dim end_dim num_heads hidden_size num_layers bidirectional eps
"""


def torch_class(name: str) -> tuple[str, str] | None:
    """The class and its kind of a layer of torch.nn, by its dotted name; None for other classes and for boxes."""
    folder, _, cls = name.rpartition(".")
    file = folder.removeprefix("torch.nn.modules.")
    if file == folder or file not in _KINDS:
        return None
    return cls, "attention" if cls == "MultiheadAttention" else _KINDS[file]


def layer_of_class(
    known: tuple[str, str], run: Callable[..., Any], parameters: Mapping[str, Tensor], get: Callable[[str], Any]
) -> Operation:
    """A layer of a class of torch.nn.

    Args:
        known: what `torch_class` returned.
        run: does the work.
        parameters: its weights by their name.
        get: gives an argument of the class by its name, None where it is not known.
    """
    name, kind = known
    hyper = {key: value for key in _HYPER.split() if (value := _plain(get(key))) is not None}
    weight = parameters.get("weight")
    if weight is not None and kind == "linear" and weight.ndim == 2:
        hyper.update(in_features=weight.shape[1], out_features=weight.shape[0])
    elif weight is not None and kind == "convolution":
        groups = int(hyper.get("groups", 1))
        first, second = weight.shape[0], weight.shape[1] * groups
        wide = (first, second) if "Transpose" in name else (second, first)
        hyper.update(in_channels=wide[0], out_channels=wide[1], kernel_size=tuple(weight.shape[2:]))
    elif weight is not None and name.startswith("Batch"):
        hyper["num_features"] = weight.shape[0]
    return operation(name, kind, run, hyper=hyper, parameters=parameters)


def tie_parameters(module: nn.Module) -> None:
    """Make one parameter of those that are the same memory, as tied weights are when their file is read."""
    first: dict[tuple[Any, ...], nn.Parameter | None] = {}
    for layer in module.modules():
        for name, value in layer._parameters.items():
            if value is not None and value.numel() and not value.is_meta:
                same = (value.data_ptr(), value.dtype, value.shape, value.stride())
                layer._parameters[name] = first.setdefault(same, value)


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)) and all(isinstance(item, (int, float)) for item in value):
        return tuple(value)
    return None
