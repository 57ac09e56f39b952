"""The sizes that a picture can have."""

from __future__ import annotations

from ..errors import StageError

MIN_EDGE, MAX_EDGE = 16, 8192


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        StageError: they are not two whole numbers from `MIN_EDGE` to `MAX_EDGE`.
    """
    try:
        width, height = size
        if int(width) == width and int(height) == height and all(MIN_EDGE <= n <= MAX_EDGE for n in size):
            return int(width), int(height)
    except (TypeError, ValueError, OverflowError):
        pass
    shown = " x ".join(map(str, size)) if isinstance(size, tuple | list) else str(size)
    raise StageError(
        f"a picture of {shown} pixels cannot be made: give width and height as whole numbers, "
        f"{MIN_EDGE} to {MAX_EDGE} each"
    )
