"""What an ONNX operator is as a layer: its kind, and its attributes in torch's words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from onnx import NodeProto, helper

_KINDS_OF = {
    "convolution": "Conv ConvTranspose ConvInteger QLinearConv DeformConv FusedConv",
    "pooling": """
        MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool MaxRoiPool RoiAlign ReduceMean ReduceMax
        ReduceMin ReduceSum ReduceL1 ReduceL2 ReduceLogSumExp ReduceProd QLinearAveragePool QLinearGlobalAveragePool
    """,
    "linear": "Gemm MatMul MatMulInteger QLinearMatMul QGemm FusedMatMul",
    "activation": """
        Relu LeakyRelu PRelu Elu Selu Celu Gelu FastGelu Mish Swish Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign
        Softmax LogSoftmax Hardmax ThresholdedRelu Clip Erf Shrink QLinearSigmoid QLinearLeakyRelu
    """,
    "normalization": """
        BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization
        SimplifiedLayerNormalization LRN LpNormalization MeanVarianceNormalization
    """,
    "dropout": "Dropout",
    "reshape": "Flatten Reshape Transpose SpaceToDepth",
    "merge": "Add Sub Mul Div Pow Sum Mean Max Min Concat Where Einsum QLinearAdd QLinearMul QLinearConcat And Or Xor",
    "padding": "Pad",
    "upsampling": "Resize Upsample DepthToSpace GridSample MaxUnpool",
    "embedding": "Gather EmbedLayerNormalization",
    "attention": "Attention MultiHeadAttention",
    "recurrent": "LSTM GRU RNN",
}
_KINDS = {name: kind for kind, names in _KINDS_OF.items() for name in names.split()}
# They are layers only where they join values.
_ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Where", "And", "Or", "Xor"))
_QUIET = frozenset(
    (
        "Identity",
        "Cast",
        "CastLike",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Expand",
        "Neg",
        "Sqrt",
        "Reciprocal",
        "Abs",
        "Exp",
    )
)
# torch's names, by which the scene knows what feeds a cell.
NAMES = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin", "Transpose": "Permute"}


def is_quiet(node: NodeProto, data: Sequence[str]) -> bool:
    """Whether a node is arithmetic on the way and no layer.

    Args:
        data: those of its inputs that come from the model's inputs.
    """
    takes_part = node.op_type == "Gather" and node.input[0] in data and len(data) == 1
    return takes_part or node.op_type in _QUIET or (node.op_type in _ARITHMETIC and len(data) < 2)


def kind_of(node: NodeProto) -> str:
    return _KINDS.get(node.op_type, "other")


def _attributes(node: NodeProto) -> dict[str, Any]:
    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, (int, float, str)) or (isinstance(value, list) and not value[8:]):
            found[attribute.name] = value
    return found


def text_of(node: NodeProto) -> str:
    return ", ".join(f"{key}={value}" for key, value in _attributes(node).items() if not isinstance(value, bytes))


def geometry(node: NodeProto, parameters: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The attributes that torch's modules have under other names, as these have them."""
    given = _attributes(node)
    hyper: dict[str, Any] = {}
    weight = parameters.get("weight")
    kernel = given.get("kernel_shape") or (
        list(weight.shape[2:]) if weight is not None and "Conv" in node.op_type else []
    )
    if kernel:
        axes = len(kernel)
        hyper["kernel_size"] = tuple(kernel)
        hyper["stride"] = tuple(given.get("strides") or [1] * axes)
        hyper["dilation"] = tuple(given.get("dilations") or [1] * axes)
        hyper["padding"] = tuple(given.get("pads", [0] * axes)[:axes])
    if node.op_type in ("Conv", "ConvTranspose"):
        hyper["groups"] = int(given.get("group", 1))
    if node.op_type == "Transpose" and given.get("perm"):
        hyper["dims"] = tuple(given["perm"])
    elif node.op_type in ("Concat", "Softmax", "LogSoftmax"):
        hyper["dim"] = int(given.get("axis", -1))
    elif node.op_type.startswith("Reduce") and given.get("axes"):
        hyper["dim"] = tuple(given["axes"])
    elif node.op_type == "LayerNormalization":
        scale = next(iter(parameters.values()), None)
        hyper["normalized_shape"] = tuple(scale.shape) if scale is not None else ()
    return {key: value for key, value in hyper.items() if not isinstance(value, float) or math.isfinite(value)}
