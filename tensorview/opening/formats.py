"""The files that hold a whole model: what each is called, what it needs, and whether it can run code."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingExtra, TrustRequired


@dataclass(frozen=True)
class Format:
    """A kind of file that a model opens from.

    Attributes:
        name: for people.
        suffixes: ends of the file's name, ".onnx".
        extra: tensorview's extra that it needs; "" for none.
        modules: what the extra installs.
        danger: what opening such a file can do where it is not trusted; "" where it is data alone.
    """

    name: str
    suffixes: tuple[str, ...]
    extra: str = ""
    modules: tuple[str, ...] = ()
    danger: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether everything that it needs is there."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)

    def require(self, path: Path, trust: bool) -> None:
        """Raises TrustRequired or MissingExtra where the file cannot be opened for want of trust or of a package."""
        if self.danger and not trust:
            raise TrustRequired(
                f"{path} is a {self.name} file, and {self.danger}: if you trust where it comes from, open it with "
                "--trust (trust=True)."
            )
        if not self.is_installed:
            raise MissingExtra(
                f'{path} is a {self.name} file, which needs more packages; `pip install "tensorview[{self.extra}]"` '
                "adds them."
            )


_KERAS = ("keras", "h5py")
_KERAS_DANGER = "its layers can carry Python that opening it runs"
_PICKLE_DANGER = "the pickles in it can run any code when they are loaded"

ONNX = Format("ONNX", (".onnx",), "onnx", ("onnx", "onnxruntime", "onnx2torch", "torchvision"))
KERAS = Format("Keras 3", (".keras",), "keras", _KERAS, _KERAS_DANGER)
KERAS_H5 = Format("Keras HDF5", (".h5", ".hdf5"), "keras", _KERAS, _KERAS_DANGER)
TENSORFLOW_JS = Format("TensorFlow.js layers", (".json",), "keras", _KERAS)
EXPORTED = Format("torch.export", (".pt2",), danger=_PICKLE_DANGER)
TORCHSCRIPT = Format("TorchScript", (".ts", ".torchscript"), danger="it is a program that opening it runs")
PICKLED = Format("PyTorch module", (".pt", ".pth"), danger=_PICKLE_DANGER)

FORMATS = (ONNX, KERAS, KERAS_H5, TENSORFLOW_JS, EXPORTED, TORCHSCRIPT, PICKLED)


def format_of(path: str | Path) -> Format | None:
    """The format that a file's name tells; None for another name."""
    suffix = Path(path).suffix.lower()
    return next((format for format in FORMATS if suffix in format.suffixes), None)
