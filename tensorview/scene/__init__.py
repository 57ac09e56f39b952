"""Trace to scene: slabs, pages of texels, links and labels as numpy arrays, without a screen."""

from .camera import Camera, Ray, fit_camera
from .look import Look
from .pages import Page, Patch
from .palette import THEMES, Theme
from .picking import Hit
from .scene import Scene

__all__ = [
    "THEMES",
    "Camera",
    "Hit",
    "Look",
    "Page",
    "Patch",
    "Ray",
    "Scene",
    "Theme",
    "fit_camera",
]
