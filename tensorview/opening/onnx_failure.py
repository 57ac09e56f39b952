"""What to say of an ONNX model that onnxruntime does not run."""

from __future__ import annotations

import re

import onnxruntime
from onnx import ModelProto

_UNKNOWN = ("is not a registered function/op", "No Op registered", "find an implementation")
_NEW_OPSET = re.compile(r"Opset (\d+) is under development.*for domain (\S+) is till opset (\d+)", re.DOTALL)
_NEW_IR = re.compile(r"model IR version: (\d+), max supported IR version: (\d+)")
# Status codes, and where in onnxruntime's own source it was noticed.
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|Load model from .*? failed: ?"
    r"|Non-zero status code returned while "
    r"|Name:'' |Status Message: "
    r"|/\S+\.(?:cc|h):\d+ .*?\)(?: const)? (?:\S.{0,120}? was false\. )?(?=[A-Z[])"
    r"|[\w/]*\w+\.(?:cc|h):\d+ (?:Compute )?"
)
_SIZES = ("running ", "ShapeInferenceError", "invalid dimensions")
_LONGEST = 300


def why_not(error: Exception, model: ModelProto, name: str, shapes: str, is_shape_open: bool) -> str:
    """A sentence on what onnxruntime raised.

    Args:
        name: of the file.
        shapes: what the model was run on.
        is_shape_open: whether the model takes inputs of other shapes as well.
    """
    message = str(error)
    if (new := _NEW_OPSET.search(message)) is not None:
        found, domain, newest = new.groups()
        return _too_new(name, f"opset {found} of {domain}", newest)
    if (new := _NEW_IR.search(message)) is not None:
        return _too_new(name, f"IR version {new[1]} of ONNX", new[2])
    if any(part in message for part in _UNKNOWN):
        versions = {entry.domain: entry.version for entry in model.opset_import}
        for node in model.graph.node:
            if f"{node.op_type}(" in message or f" {node.op_type} " in message:
                version = versions.get(node.domain, "unknown")
                return (
                    f"{name} uses the operator {node.op_type} of {node.domain or 'ai.onnx'}, version {version}, which "
                    "neither onnx2torch nor onnxruntime knows."
                )
    words = _NOISE.sub(" ", (message.strip().splitlines() or [""])[0]).split()
    reason = " ".join(words)[:_LONGEST].rstrip(" .") or type(error).__name__
    advice = "; another input_shape may help" if is_shape_open and any(word in reason for word in _SIZES) else ""
    return f"{name} does not run in onnxruntime on {shapes}: {reason}{advice}."


def _too_new(name: str, found: str, newest: str) -> str:
    return (
        f"{name} is written for {found}, and onnxruntime {onnxruntime.__version__} runs up to {newest}: install a "
        "newer onnxruntime, or export the model for an older version."
    )
