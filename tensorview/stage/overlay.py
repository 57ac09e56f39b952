"""Title, legend and colour bar on a picture, in scale with its size.

The title stands at the top left. The legend with the colour bar stands at the bottom right, where a network in its
first view seldom is, or where else at the edge it hides least.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ..scene import Scene
from ..scene.palette import LEVELS, NAN, NEG_INF, POS_INF, RGB, lookup_table
from ..scene.text import shorten, text_mask
from .pieces import below, beside, gradient, rounded, solid, spread, table, text_piece

REFERENCE = (1280, 720)  # the picture for which the sizes below, in pixels, are meant
MARGIN, PADDING = 30, 16
TITLE, TEXT, SMALL = 26, 15, 13
BAR = (220, 11)
SWATCH = 13
VEIL = 0.8
PLACES = 5  # along an edge of the picture, for the legend and the colour bar
LEAST = 8  # letters are never smaller
MOST_RANGES = 6
LEAST_SCALE_OF_RANGES = 0.45
_SPECIAL = ((NAN, "NaN", np.isnan), (POS_INF, "+Inf", np.isposinf), (NEG_INF, "−Inf", np.isneginf))


class Overlay:
    """Draws onto pictures of a scene.

    Args:
        scene: whose theme, kinds of layer and scale are shown.
        size: width and height of the picture, in pixels.
    """

    def __init__(self, scene: Scene, size: tuple[int, int]) -> None:
        self.scene, self.theme, self.size = scene, scene.theme, size
        self.scale = _scale(*size)

    def draw(self, picture: Image.Image, title: str | None, legend: bool, colour_bar: bool) -> None:
        """Draw onto `picture` (RGBA), in place. Where the background is opaque, a veil of it lies below."""
        margin = self._px(MARGIN)
        if title:
            self._place(picture, self.title(title), (margin, round(margin * 0.8)))
        if legend or colour_bar:
            panels = [self.panel(legend, colour_bar, ranges) for ranges in (True, False)[: 1 + colour_bar]]
            found = [(*self._free_place(picture, panel.size), panel) for panel in panels]
            _, at, panel = min(found, key=lambda each: each[0])
            self._place(picture, panel, at)

    def panel(self, legend: bool, colour_bar: bool, ranges: bool) -> Image.Image:
        """Legend and colour bar, one below the other; smaller where they would fill the picture."""
        parts = [self.legend()] * legend + [self.colour_bar(ranges)] * colour_bar
        return self._fitted(below(parts, self._px(18)))

    def title(self, text: str) -> Image.Image:
        """One line at the width of the picture at most: smaller letters where it is longer, then an ellipsis."""
        text = " ".join(text.split()) or " "
        room = max(1, self.size[0] - 2 * self._px(MARGIN))
        pixels = self._letters(TITLE)
        while text_mask(text, pixels, True).shape[1] > room and pixels > max(LEAST, self._letters(TITLE) * 0.6):
            pixels -= 1
        while text_mask(text, pixels, True).shape[1] > room and len(text) > 2:
            text = text[:-2].rstrip() + "…"
        return text_piece(text, pixels, self.theme.text, bold=True)

    def legend(self) -> Image.Image:
        """The kinds of layer, each with its hue."""
        return below([self._named_swatch(hue, kind) for kind, hue in self.scene.legend()], self._px(3))

    def colour_bar(self, with_ranges: bool = True) -> Image.Image:
        """What the colours say, with the numbers of single layers or without."""
        ends = [self._small(text) for text in self._ends()]
        width, height = (max(1, self._px(n)) for n in BAR)
        width = max(width, sum(piece.width for piece in ends) + LEAST * (len(ends) - 1))
        bar = gradient(self._bar_colours(), width, height, height / 3)
        parts = [self._small(self._caption(), muted=True), bar, spread(ends, width)]
        ranges = self._range_table()
        if ranges and with_ranges:
            parts.append(ranges)
        special = self._special()
        if special:
            parts.append(beside(special, self._px(12)))
        return below(parts, self._px(4))

    # Parts ---------------------------------------------------------------------------------------------------------

    def _bar_colours(self) -> np.ndarray:
        """`(LEVELS, 3)` uint8: the look-up table over the background; that of the input where hue says the kind."""
        colours = lookup_table(self.scene.look.encoding, "input", self.theme)[:LEVELS].astype(float)
        alpha = colours[:, 3:] / 255
        return np.rint(colours[:, :3] * alpha + np.array(self.theme.background) * (1 - alpha)).astype(np.uint8)

    def _caption(self) -> str:
        look = self.scene.look
        scale = {"layer": "scaled per layer", "map": "scaled per map", "fixed": "one scale for all layers"}
        return f"value, {scale[look.scaling]}"

    def _ends(self) -> list[str]:
        look = self.scene.look
        if look.scaling != "fixed":
            return ["−max", "0", "+max"] if look.encoding == "signed" else ["low", "high"]
        low, high = look.value_range
        if look.encoding == "signed":
            reach = max(abs(low), abs(high))
            return [number(-reach), "0", number(reach)]
        return [number(low), number(high)]

    def ranges(self) -> list[tuple[str, float, float]]:
        """The values at the two ends for the open layers, for all where none is open: `(layer, low, high)`."""
        if self.scene.look.scaling != "layer":
            return []
        layers = self.scene.layers
        names = [layer.name for layer in layers if layer.values is not None or layer.reduced is not None]
        shown = [name for name in names if name in self.scene.look.open] or names
        return [(name, *self.scene.value_range(name)) for name in shown]

    def _range_table(self) -> Image.Image | None:
        ranges = self.ranges() if self.scale >= LEAST_SCALE_OF_RANGES else []
        rows = []
        for name, low, high in ranges[:MOST_RANGES]:
            texts = [shorten(name, 18), number(low), "to", number(high)]
            rows.append([self._small(text, muted=k in (0, 2)) for k, text in enumerate(texts)])
        if not rows:
            return None
        whole = table(rows, self._px(7), ["left", "right", "left", "right"])
        more = len(ranges) - len(rows)
        return below([whole, self._small(f"and {more} more", muted=True)], 0) if more else whole

    def _special(self) -> list[Image.Image]:
        """Swatches for NaN and the infinities, where there are any."""
        colours = lookup_table(self.scene.look.encoding, "other", self.theme)
        layers = self.scene.layers
        values = [layer.values for layer in layers if layer.values is not None]
        values += [part for layer in layers for part in (layer.reduced or {}).values()]
        odd = [v for v in values if v.dtype.kind == "f" and not np.isfinite(v).all()]
        return [
            self._named_swatch((int(r), int(g), int(b)), text)
            for level, text, is_it in _SPECIAL
            for r, g, b, _ in [colours[level]]
            if any(is_it(v).any() for v in odd)
        ]

    def _named_swatch(self, colour: RGB, text: str) -> Image.Image:
        edge = max(2, self._px(SWATCH))
        swatch = solid(colour, rounded(edge, edge, edge / 4))
        return beside([swatch, text_piece(text, self._letters(TEXT), self.theme.text)], self._px(8))

    def _small(self, text: str, muted: bool = False) -> Image.Image:
        return text_piece(text, self._letters(SMALL), self.theme.muted if muted else self.theme.text)

    # Sizes ---------------------------------------------------------------------------------------------------------

    def _px(self, length: float) -> int:
        return round(length * self.scale)

    def _letters(self, pixels: float) -> int:
        return max(LEAST, self._px(pixels))

    def _fitted(self, panel: Image.Image) -> Image.Image:
        """The panel, made smaller where it would take more than nine tenths of the picture's width or height."""
        factor = min(1.0, 0.9 * self.size[0] / panel.width, 0.9 * self.size[1] / panel.height)
        if factor == 1.0:
            return panel
        return panel.resize((max(1, int(panel.width * factor)), max(1, int(panel.height * factor))))

    def _free_place(self, picture: Image.Image, room: tuple[int, int]) -> tuple[float, tuple[int, int]]:
        """The share of a panel that lies on the network, and where along the picture's edges that is least.

        Of places that are as free it is the one nearest to the bottom right.
        """
        margin = self._px(MARGIN)
        right, bottom = (max(0, side - margin - length) for side, length in zip(self.size, room, strict=True))
        steps = np.linspace(1, 0, PLACES)
        left, top = min(margin, right), min(margin, bottom)
        places = [
            (round(left + (right - left) * x), round(top + (bottom - top) * y))
            for x in steps
            for y in steps
            if {x, y} & {0, 1}
        ]
        places.sort(key=lambda place: math.hypot(right - place[0], bottom - place[1]))
        pixels = np.asarray(picture)
        drawn = (pixels[..., 3] > 0) & (pixels[..., :3] != self.theme.background).any(axis=2)
        pad = self._px(PADDING)
        shares = [_share(drawn, place, room, pad) for place in places]
        return min(shares), places[shares.index(min(shares))]

    def _place(self, picture: Image.Image, piece: Image.Image, at: tuple[int, int]) -> None:
        """Lay `piece` onto the picture; what does not fit is cut off."""
        if picture.getpixel((0, 0))[3] == 255:  # type: ignore[index]  # RGBA
            pad = self._px(PADDING)
            veil = rounded(piece.width + 2 * pad, piece.height + 2 * pad, pad).point(lambda a: round(a * VEIL))
            _lay(picture, solid(self.theme.background, veil), at[0] - pad, at[1] - pad)
        _lay(picture, piece, *at)


def _share(drawn: np.ndarray, place: tuple[int, int], room: tuple[int, int], pad: int) -> float:
    """Share of a rectangle and the veil around it that is drawn on, in steps of a thousandth."""
    x, y = place
    covered = drawn[max(0, y - pad) : y + room[1] + pad, max(0, x - pad) : x + room[0] + pad]
    return round(float(covered.mean()), 3)


def _lay(picture: Image.Image, piece: Image.Image, x: int, y: int) -> None:
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(piece.width, picture.width - x), min(piece.height, picture.height - y)
    if right > left and bottom > top:
        picture.alpha_composite(piece.crop((left, top, right, bottom)), (x + left, y + top))


def _scale(width: int, height: int) -> float:
    """Of all sizes, relative to `REFERENCE`; a tall picture has room below, so that its letters may be larger."""
    area = math.sqrt(width * height / (REFERENCE[0] * REFERENCE[1]))
    return min(area, 1.6 * width / REFERENCE[0], 1.6 * height / REFERENCE[1])


def number(value: float) -> str:
    """Three significant digits, with the minus sign of print.

    >>> number(-0.51234), number(1234567.0), number(0.0)
    ('−0.512', '1.23e+06', '0')
    """
    return f"{value:.3g}".replace("-", "−") if value else "0"
