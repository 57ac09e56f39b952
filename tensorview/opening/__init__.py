"""Opening: anything that a person names becomes a `Subject`, a model with its input and its class names."""

from .digits import prepare_digit
from .images import open_array, open_image, open_input
from .opener import brings_weights, open_model, shipped_models
from .preprocessing import InputSpec, Preparation
from .subject import Sample, Subject
from .torchvision_shim import import_torchvision
from .weights import load_weights

__all__ = [
    "InputSpec",
    "Preparation",
    "Sample",
    "Subject",
    "brings_weights",
    "import_torchvision",
    "load_weights",
    "open_array",
    "open_image",
    "open_input",
    "open_model",
    "prepare_digit",
    "shipped_models",
]
