"""The trainer: a network learns labelled images in a process of its own, and records what it does as a run."""

from .architectures import ARCHITECTURES
from .data import DATA, Data, open_data
from .headless import train
from .hyperparameters import LEARNING_RATES, OPTIMIZERS, Hyperparameters, usual
from .messages import Status
from .trainer import Trainer

__all__ = [
    "ARCHITECTURES",
    "DATA",
    "LEARNING_RATES",
    "OPTIMIZERS",
    "Data",
    "Hyperparameters",
    "Status",
    "Trainer",
    "open_data",
    "train",
    "usual",
]
