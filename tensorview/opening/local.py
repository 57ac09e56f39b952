"""What is opened lies on this machine."""

from __future__ import annotations

from pathlib import Path

from ..errors import OpenError


def local(path: str | Path) -> str | Path:
    """The path as it is. Raises OpenError for an address."""
    if "://" in str(path):
        raise OpenError(f"{path} is an address, and only files are opened: save it, and give the path of the file.")
    return path
