"""Import torchvision, also where its compiled operators do not load.

A torchvision whose binary was built for another torch cannot load its C++ operators, and its Python half then
stops at `operator torchvision::nms does not exist`. But for the detectors, models and transforms use none of
them, so declaring the two schemas that are missing is enough to import it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from ..errors import MissingExtra

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a Library takes its schemas with it when it is collected


def import_torchvision() -> ModuleType:
    """The module `torchvision`.

    Raises:
        MissingExtra: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise MissingExtra('torchvision is not installed; `pip install "tensorview[torchvision]"` adds it.') from error
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    _forget_half_imported()
    _declare_operators()
    return importlib.import_module("torchvision")


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
