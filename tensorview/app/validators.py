"""What a value that came from a browser must look like before anything else sees it.

A validator is a function of one value, as msgpack unpacked it, that returns the value to use or raises
`ValueError` with a short reason. The reason goes into the log, so it never repeats the value itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Validator = Callable[[Any], Any]


def boolean(value: Any) -> bool:
    """`True` or `False`, and nothing that merely counts as one."""
    if isinstance(value, bool):
        return value
    raise ValueError("not a boolean")


def number(low: float = -math.inf, high: float = math.inf) -> Validator:
    """A finite number in [low, high], returned as `float`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("not a number")
        if not low <= value <= high or not math.isfinite(value):
            raise ValueError(f"not a finite number from {low:g} to {high:g}")
        return float(value)

    return check


def integer(low: int, high: int) -> Validator:
    """A whole number in [low, high], returned as `int`. A browser writes 3.0 as 3, so 3.0 is taken too."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise ValueError("not a whole number")
        if not low <= value <= high or value != int(value):
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(value)

    return check


def text(longest: int = 200) -> Validator:
    """A string of at most `longest` characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("not a string")
        if len(value) > longest:
            raise ValueError(f"longer than {longest} characters")
        return value

    return check


def line(longest: int) -> Validator:
    """A string for the log: cut after `longest` characters, on one line, without control characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("not a string")
        return "".join(character if character.isprintable() else " " for character in value[:longest])

    return check


def choice(*options: str | int) -> Validator:
    """One of the options; 1 and `True` are different."""

    def check(value: Any) -> str | int:
        for option in options:
            if type(option) is type(value) and option == value:
                return option
        raise ValueError("none of the options")

    return check


def data(longest: int) -> Validator:
    """Bytes (a `Uint8Array`, `ArrayBuffer` or `Blob` of the page), at most `longest`."""

    def check(value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise ValueError("not bytes")
        if len(value) > longest:
            raise ValueError(f"longer than {longest} bytes")
        return value

    return check


def optional(validator: Validator) -> Validator:
    """`None`, or what the validator takes. As the last argument of a trigger it may be left out."""

    def check(value: Any) -> Any:
        return None if value is None else validator(value)

    return check


def list_of(validator: Validator, longest: int, shortest: int = 0) -> Validator:
    """A list of `shortest` to `longest` items, each of which the validator takes."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("not a list")
        if not shortest <= len(value) <= longest:
            raise ValueError(f"not a list of {shortest} to {longest} items")
        return [validator(item) for item in value]

    return check


def fields(**validators: Validator) -> Validator:
    """A mapping with these keys and no other. A key whose validator takes `None` may be missing."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("not a mapping")
        for key in set(value) - set(validators):
            raise ValueError(f"a mapping with an undeclared key {str(key)[:50]!r}")
        key, cleaned = "", {}
        try:
            for key, validator in validators.items():
                cleaned[key] = validator(value.get(key))
        except ValueError as error:
            raise ValueError(f"{key} is {error}") from None
        return cleaned

    return check
