"""The trainer: a network learns labelled images in a process of its own, and records what it does as a run."""

from .architectures import ARCHITECTURES
from .data import DATA
from .headless import train
from .hyperparameters import LEARNING_RATES, OPTIMIZERS, Hyperparameters
from .messages import Status
from .trainer import Trainer

__all__ = ["ARCHITECTURES", "DATA", "LEARNING_RATES", "OPTIMIZERS", "Hyperparameters", "Status", "Trainer", "train"]
