"""The page: a person's events on one side, a session on the other. The only folder that imports trame."""

from .explore import Viewer, explore, play

__all__ = ["Viewer", "explore", "play"]
