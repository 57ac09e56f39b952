"""A module and an input become a trace: layers, the edges between them, and activations, as plain data."""

from .layers import KINDS, Graph, Layer, ModuleInfo, Stats
from .trace import LayerNotFound, Trace
from .tracer import Tracer, capture, structure

__all__ = ["KINDS", "Graph", "Layer", "LayerNotFound", "ModuleInfo", "Stats", "Trace", "Tracer", "capture", "structure"]
