"""Scene to pixels: the only folder that imports VTK."""

from .screenshot import png_bytes, screenshot

__all__ = ["png_bytes", "screenshot"]
