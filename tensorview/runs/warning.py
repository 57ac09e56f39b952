"""Saying what went wrong without ending the training."""

from __future__ import annotations

import contextlib
import sys
import warnings


def warn(message: str) -> None:
    """A RuntimeWarning; a line on stderr where warnings are errors, which would end the training."""
    try:
        warnings.warn(f"tensorview: {message}", RuntimeWarning, stacklevel=4)
    except RuntimeWarning:
        with contextlib.suppress(OSError):
            print(f"tensorview: {message}", file=sys.stderr)
