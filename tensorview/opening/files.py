"""Open a file that holds a whole model."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path

from torch import nn

from ..errors import OpenError
from .archives import check_archive
from .formats import EXPORTED, KERAS, KERAS_H5, ONNX, PICKLED, TENSORFLOW_JS, TORCHSCRIPT, Format
from .subject import Subject
from .weights import read_torch, weights_alone

# The functions are imported when they are needed, as they import what an extra brings.
_OPENERS = {
    ONNX.name: ("onnx_model", "open_onnx"),
    KERAS.name: ("keras_model", "open_keras"),
    KERAS_H5.name: ("keras_model", "open_keras"),
    TENSORFLOW_JS.name: ("tensorflow_js", "open_tensorflow_js"),
    EXPORTED.name: ("exported", "open_exported"),
    TORCHSCRIPT.name: ("torchscript", "open_torchscript"),
}


def open_file(path: Path, format: Format, trust: bool, input_shape: tuple[int, ...] | None) -> Subject | nn.Module:
    """The model in a file; as it is where it is a pickled one, whose class may say more about it.

    Args:
        path: the file.
        format: what its name says that it is.
        trust: open it also where that can run code.
        input_shape: shape of one input without the batch dimension, where the file does not say it.

    Raises:
        OpenError: the file is missing, broken, too large when unpacked, or holds no model.
        TrustRequired: it could run code.
        MissingExtra: what the format needs is not installed.
    """
    if not path.is_file():
        raise OpenError(f"{path} is a folder, not a file." if path.is_dir() else f"There is no file {path}.")
    check_archive(path)
    if format is PICKLED:
        format = _inside(path)
    if format is PICKLED:
        found = read_torch(path, trust)
        if isinstance(found, nn.Module):
            return found.eval()
        raise OpenError(weights_alone(path))
    if format is KERAS and not zipfile.is_zipfile(path):
        raise OpenError(f"{path} is not a whole .keras file, which is a zip archive: it is cut short, or another file.")
    format.require(path, trust)
    module, function = _OPENERS[format.name]
    subject: Subject = getattr(importlib.import_module(f"{__package__}.{module}"), function)(path, input_shape)
    return subject


def _inside(path: Path) -> Format:
    """Which of the formats whose files are called .pt it is: all are zip archives of their own make."""
    if not zipfile.is_zipfile(path):
        return PICKLED
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "archive_format" in names or "serialized_exported_program.json" in archive.namelist():
        return EXPORTED
    return TORCHSCRIPT if "constants.pkl" in names else PICKLED
