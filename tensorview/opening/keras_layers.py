"""What the scene and the cards want to know of a layer of Keras's, in torch's words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

_KINDS_OF = {
    "convolution": """
        Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D DepthwiseConv2D
        SeparableConv1D SeparableConv2D
    """,
    "pooling": """
        MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D
        GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
        GlobalMaxPooling3D AdaptiveAveragePooling2D AdaptiveMaxPooling2D
    """,
    "linear": "Dense EinsumDense",
    "activation": "Activation ReLU LeakyReLU PReLU ELU Softmax ThresholdedReLU Relu Sigmoid Tanh Gelu Silu Swish",
    "normalization": """
        BatchNormalization LayerNormalization GroupNormalization UnitNormalization RMSNormalization
        SpectralNormalization Normalization Rescaling
    """,
    "dropout": """
        Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout
        ActivityRegularization
    """,
    "reshape": "Flatten Reshape Permute RepeatVector Transpose",
    "merge": "Add Subtract Multiply Average Maximum Minimum Concatenate Dot Matmul Divide Where",
    "padding": "ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D Pad",
    "upsampling": "UpSampling1D UpSampling2D UpSampling3D Resizing",
    "embedding": "Embedding",
    "attention": "Attention AdditiveAttention MultiHeadAttention GroupedQueryAttention",
    "recurrent": "LSTM GRU SimpleRNN RNN Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D TimeDistributed",
}
_KINDS = {name: kind for kind, names in _KINDS_OF.items() for name in names.split()}
_BUFFERS = ("moving_mean", "moving_variance", "seed_generator_state", "mean", "variance", "count")
# Weights of Keras's under torch's names, with the axes in torch's order: the outputs first.
_TORCH_NAMES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


def kind_of(layer: Any, moves: bool = False) -> str:
    """Which of `tensorview.capture.layers.KINDS` a layer is.

    Args:
        moves: its input is kept channels first and its output is not, or the other way round.
    """
    kind = _KINDS.get(type(layer).__name__, "other")
    # Where both the order of the axes and the shape change, no rule tells which cell went where.
    return "other" if kind == "reshape" and moves and type(layer).__name__ != "Flatten" else kind


def class_name(layer: Any) -> str:
    """The layer's class; "Softmax" for an activation that is one, as it mixes cells."""
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    return "Softmax" if type(layer).__name__ == "Activation" and activation == "softmax" else type(layer).__name__


def moves_channels(layer: Any) -> bool:
    """Whether a layer has a spatial extent, so that its channels are feature maps."""
    return getattr(layer, "data_format", None) == "channels_last" or type(layer).__name__ in (
        "UpSampling1D",
        "ZeroPadding1D",
        "Cropping1D",
    )


def shown_parameters(layer: Any) -> dict[str, Tensor]:
    """The layer's weights under torch's names, in torch's order of axes where torch has such a layer."""
    found: dict[str, Tensor] = {}
    for variable in getattr(layer, "weights", ()):
        value = variable.value
        if variable.name in _BUFFERS or not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        if variable.name == "kernel" and value.ndim > 1:
            outer = (value.ndim - 1, value.ndim - 2)
            is_depthwise = type(layer).__name__.startswith("Depthwise")
            value = value.detach().permute(*(reversed(outer) if is_depthwise else outer), *range(value.ndim - 2))
        name = _TORCH_NAMES.get(variable.name, variable.name)
        found[name if name not in found else f"{name}_{len(found)}"] = value
    return found


def geometry(layer: Any, given: Sequence[Any], first: bool, first_out: bool) -> dict[str, Any]:
    """What feeds what, as torch's modules say it: `kernel_size`, `stride`, `padding`, `dim` and so on.

    Args:
        layer: of Keras's.
        given: the tensors that it takes, with Keras's shapes.
        first: whether its first input is kept channels first.
        first_out: whether its output is.
    """
    name = type(layer).__name__
    shape = tuple(given[0].shape) if given else ()
    kind = kind_of(layer)
    if kind in ("convolution", "pooling"):
        return _window(layer, shape)
    if kind == "linear" and name == "Dense":
        return {"in_features": shape[-1], "out_features": layer.units}
    if name == "BatchNormalization":
        return {"num_features": shape[layer.axis]}
    if class_name(layer) == "Softmax" or name == "Concatenate":
        axis = getattr(layer, "axis", -1)
        return {"dim": _axis(axis, len(shape), first_out)} if isinstance(axis, int) else {}
    if name == "Flatten":
        return {"axis_order": (*range(1, len(shape) - 1), 0)} if first else {}
    if name == "Permute" and not (first or first_out):
        return {"dims": (0, *layer.dims)}
    if name.startswith(("ZeroPadding", "Cropping")):
        pairs = layer.padding if name.startswith("Zero") else layer.cropping
        pairs = (pairs,) if isinstance(pairs[0], int) else pairs
        sign = 1 if name.startswith("Zero") else -1
        return {"padding": tuple(sign * number for pair in reversed(pairs) for number in pair)}
    if name.startswith("UpSampling"):
        size = layer.size if isinstance(layer.size, tuple) else (layer.size,)
        return {"scale_factor": tuple(map(float, size)), "mode": getattr(layer, "interpolation", "nearest")}
    return {}


def _axis(axis: int, rank: int, first: bool) -> int:
    """The same axis where the channels, last in Keras, come first."""
    axis = axis % rank
    return axis if not first or axis == 0 else 1 if axis == rank - 1 else axis + 1


def _window(layer: Any, shape: tuple[int | None, ...]) -> dict[str, Any]:
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if not kernel:
        return {}
    sizes = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
    stride = layer.strides or kernel
    dilation = getattr(layer, "dilation_rate", None) or (1,) * len(kernel)
    is_transposed = "Transpose" in type(layer).__name__
    rule = _transposed_before if is_transposed else _before
    padding = tuple(
        rule(layer.padding, size, k, s, d) for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    )
    found = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    channels = shape[-1] if layer.data_format == "channels_last" else shape[1]
    if type(layer).__name__.startswith("Depthwise"):
        return {**found, "groups": channels}
    if kind_of(layer) == "convolution":
        groups = getattr(layer, "groups", 1)
        return {**found, "groups": groups, "in_channels": channels, "out_channels": layer.filters}
    return found


def _before(padding: str, size: int | None, kernel: int, stride: int, dilation: int) -> int:
    """How many cells stand before the first: TensorFlow's "same" puts the odd one at the end."""
    extent = (kernel - 1) * dilation + 1
    if padding == "causal":
        return extent - 1
    if padding != "same" or size is None:
        return extent // 2 if padding == "same" and stride == 1 else 0
    return max((math.ceil(size / stride) - 1) * stride + extent - size, 0) // 2


def _transposed_before(padding: str, size: int | None, kernel: int, stride: int, dilation: int) -> int:
    extent = (kernel - 1) * dilation + 1
    return max(extent - stride, 0) // 2 if padding == "same" else 0
