"""The classes beside the output cubes: which units are shown, and the text of each."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..classes import probabilities
from .labels import VALUE_PIXELS, Label, class_labels, text_page, write_text
from .pages import Page, Patch
from .placement import Placement
from .text import font, shorten, text_mask

MOST_LETTERS = 28


def share_text(name: str, value: float, named: bool) -> str:
    """`7  98.2 %` for a class with a name, `7  -1.204` for a bare output."""
    return f"{name}  {value * 100:.1f} %" if named and not math.isnan(value) else f"{name}  {value:.4g}"


@functools.lru_cache(maxsize=4096)
def _length(name: str) -> float:
    """In texels. Drawing a thousand names to see how wide they are takes as long as a forward pass."""
    return font(VALUE_PIXELS, bold=True).getlength(name)


class Shares:
    """Texts of all cubes, in a page of their own that is small because it changes with every input.

    Args:
        items: the placements whose look is "cubes".
        names: of the classes; without them units are called by their index and show their value.
        tallest: the greatest height of a line, in the scene's unit.

    Attributes:
        texts: for every cube its label and the widest text that it may show.
        units: for every layer, the unit that each of its cubes shows, from top to bottom.
    """

    def __init__(self, items: Sequence[Placement], names: Sequence[str], tallest: float = math.inf) -> None:
        self._names = tuple(names)
        self._first: dict[int, int] = {}
        self.units: dict[int, np.ndarray] = {}
        self._widest: list[str] = []
        labels: list[Label] = []
        for item in items:
            self._first[item.layer] = len(labels)
            self.units[item.layer] = np.arange(item.grid[0])
            labels += class_labels(item, [""] * item.grid[0], tallest)
            self._widest += [self._widest_text(item.maps.size)] * item.grid[0]
        self._labels = [replace(label, bold=True) for label in labels]
        self.texts = list(zip(self._labels, self._widest, strict=True))
        drawn = text_page(self._labels, VALUE_PIXELS, self._widest)
        self._places, self._pixels = drawn.places, drawn.pixels
        self.surface = drawn.surface
        self.page = Page("shares", drawn.coverage, smooth=True)

    def show(self, item: Placement, values: np.ndarray) -> tuple[np.ndarray, list[Patch]]:
        """What the cubes of a placement show for the outputs `values` `(K,)`.

        Returns:
            The value of every cube, `(cubes,)` float, and the rectangles of the page whose text changed. The text of
            the greatest output is bold; NaN never is the greatest.
        """
        flat = values.reshape(-1).astype(float)
        named = bool(self._names)
        shown = probabilities(flat) if named else flat
        count = item.grid[0]
        units = np.arange(count) if count == len(flat) else np.argsort(-shown, kind="stable")[:count]
        self.units[item.layer] = units
        winner = -1 if np.isnan(flat).all() else int(np.nanargmax(flat))
        texts = [(share_text(self._name(int(u)), float(shown[u]), named), u == winner) for u in units]
        return shown[units], self._write_all(item, texts)

    def clear(self, item: Placement) -> list[Patch]:
        """Show no text at the cubes of a placement: its values are not known. Returns what changed."""
        return self._write_all(item, [("", False)] * item.grid[0])

    def _write_all(self, item: Placement, texts: Sequence[tuple[str, bool]]) -> list[Patch]:
        patches = [self._write(k, *each) for k, each in enumerate(texts, start=self._first[item.layer])]
        return [patch for patch in patches if patch is not None]

    def _name(self, unit: int) -> str:
        return shorten(self._names[unit], MOST_LETTERS) if self._names else str(unit)

    def _widest_text(self, count: int) -> str:
        name = max((self._name(i) for i in range(count)), key=_length)
        return share_text(name, 1.0 if self._names else -8.888e-10, bool(self._names))

    def _write(self, k: int, text: str, bold: bool) -> Patch | None:
        label = self._labels[k]
        if label.text == text and label.bold == bold:
            return None
        self._labels[k] = replace(label, text=text, bold=bold)
        row, column = self._places[k]
        height, width = text_mask(self._widest[k], self._pixels, True).shape
        target = self.page.pixels[row : row + height, column : column + width]
        before = target.copy()
        write_text(self.page.pixels, (row, column), (height, width), text, self._pixels, bold)
        rows, columns = np.nonzero(target != before)
        if not len(rows):
            return None
        top, left = int(rows.min()), int(columns.min())
        return Patch("shares", row + top, column + left, target[top : rows.max() + 1, left : columns.max() + 1])
