"""Colours: the two themes, the hue of every kind of layer, and the look-up tables from a value to a colour.

A look-up table is a `(LEVELS + 3, 4)` uint8 RGBA array: `LEVELS` steps from the lowest to the highest value, then the
colours of NaN, +Inf and -Inf. Alpha is straight (not premultiplied).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from ..errors import SceneError

LEVELS = 256
NAN, POS_INF, NEG_INF = LEVELS, LEVELS + 1, LEVELS + 2
RGB = tuple[int, int, int]
Encoding = Literal["kind", "sequential", "signed"]
ENCODINGS: tuple[Encoding, ...] = ("kind", "sequential", "signed")

# Okabe and Ito's colour-blind-safe set (2008), moved in lightness so that each is legible on both themes. Those of
# the other kinds were searched for, to be far from these and from each other, to colour-blind eyes as well.
KIND_HUES: dict[str, RGB] = {
    "input": (198, 208, 222),
    "convolution": (240, 190, 40),
    "pooling": (58, 190, 236),
    "linear": (46, 196, 140),
    "activation": (232, 120, 52),
    "normalization": (174, 96, 178),
    "dropout": (112, 112, 118),
    "reshape": (95, 65, 255),
    "merge": (206, 60, 70),
    "padding": (60, 60, 114),
    "upsampling": (173, 255, 221),
    "embedding": (235, 213, 136),
    "attention": (255, 179, 167),
    "recurrent": (209, 239, 105),
    "other": (158, 160, 166),
    "module": (60, 138, 255),
}

# Of the maps of a picture.
CHANNEL_HUES: dict[str, RGB] = {"red": (236, 84, 84), "green": (84, 200, 96), "blue": (92, 140, 255)}

# Nine samples each: cividis (Nuñez, Anderton and Renslow, 2018) and a blue to orange map that is neutral in the middle.
_SEQUENTIAL: tuple[RGB, ...] = (
    (0, 34, 78), (26, 56, 111), (65, 77, 107), (97, 98, 111), (124, 123, 120),
    (155, 149, 119), (188, 175, 111), (222, 203, 93), (254, 232, 56),
)  # fmt: skip
_SIGNED_ENDS: tuple[RGB, ...] = ((36, 106, 214), (110, 172, 240))
_SIGNED_WARM: tuple[RGB, ...] = ((246, 168, 84), (226, 92, 20))


@dataclass(frozen=True)
class Theme:
    """The colours that do not depend on a value. Every colour is sRGB, 0..255 a channel."""

    name: str
    background: RGB
    text: RGB
    muted: RGB
    link: RGB
    highlight: RGB
    dark: bool
    hues: MappingProxyType[str, RGB] = field(default_factory=lambda: MappingProxyType(dict(KIND_HUES)))

    def hue(self, kind: str) -> RGB:
        """The colour of a kind of layer, or of a map of a picture; an unknown kind has the colour of "other"."""
        base = self.hues.get(kind) or CHANNEL_HUES.get(kind) or self.hues["other"]
        return base if self.dark else mix(base, (0, 0, 0), 0.28)


DARK = Theme("dark", (11, 15, 24), (232, 238, 246), (150, 162, 180), (92, 108, 134), (255, 255, 255), True)
LIGHT = Theme("light", (255, 255, 255), (22, 28, 38), (84, 94, 110), (150, 160, 176), (0, 0, 0), False)
THEMES: dict[str, Theme] = {"dark": DARK, "light": LIGHT}


def theme_named(theme: str | Theme) -> Theme:
    """The theme of that name.

    Raises:
        SceneError: no theme has that name.
    """
    if isinstance(theme, Theme):
        return theme
    if theme not in THEMES:
        raise SceneError(f"there is no theme {theme!r}; the themes are {', '.join(map(repr, THEMES))}")
    return THEMES[theme]


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`a` moved towards `b` by `share` (0 is `a`, 1 is `b`)."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def contrast(a: RGB, b: RGB) -> float:
    """Contrast ratio of two colours, 1..21, as WCAG 2.1 defines it from relative luminance."""

    def luminance(rgb: RGB) -> float:
        c = np.asarray(rgb, dtype=float) / 255
        linear = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _ramp(colours: list[tuple[float, RGB, float]]) -> np.ndarray:
    """`(LEVELS, 4)` uint8 from stops `(position 0..1, colour, alpha 0..1)`."""
    at = np.linspace(0, 1, LEVELS)
    position = [p for p, _, _ in colours]
    channels = [np.interp(at, position, [c[i] for _, c, _ in colours]) for i in range(3)]
    alpha = np.interp(at, position, [a * 255 for _, _, a in colours])
    return np.rint(np.stack([*channels, alpha], axis=1)).astype(np.uint8)


def lookup_table(encoding: Encoding, kind: str, theme: Theme) -> np.ndarray:
    """`(LEVELS + 3, 4)` uint8 RGBA: the colour of every level for that kind of layer.

    "kind" keeps the hue of the kind, and lets brightness and opacity rise with the value. "sequential" and "signed" are
    the same for every kind; level `LEVELS // 2` of "signed" is the theme's neutral.

    Raises:
        SceneError: no encoding has that name.
    """
    if encoding == "kind":
        ramp = _kind_ramp(theme.hue(kind), theme)
    elif encoding == "sequential":
        stops = np.linspace(0, 1, len(_SEQUENTIAL))
        ramp = _ramp([(float(p), c, 0.94) for p, c in zip(stops, _SEQUENTIAL, strict=True)])
    elif encoding == "signed":
        neutral = mix(theme.background, theme.text, 0.13 if theme.dark else 0.04)
        middle = (LEVELS // 2) / (LEVELS - 1)
        ramp = _ramp([
            (0.0, _SIGNED_ENDS[0] if not theme.dark else _SIGNED_ENDS[1], 0.97),
            (0.25, _SIGNED_ENDS[1] if not theme.dark else _SIGNED_ENDS[0], 0.95),
            (middle, neutral, 0.9),
            (0.75, _SIGNED_WARM[0] if not theme.dark else _SIGNED_WARM[1], 0.95),
            (1.0, _SIGNED_WARM[1] if not theme.dark else _SIGNED_WARM[0], 0.97),
        ])  # fmt: skip
    else:
        raise SceneError(f"there is no encoding {encoding!r}; the encodings are {', '.join(ENCODINGS)}")
    special = np.array([[255, 0, 220, 255], [255, 60, 60, 255], [70, 90, 255, 255]], dtype=np.uint8)
    return np.concatenate([ramp, special])


def _kind_ramp(hue: RGB, theme: Theme) -> np.ndarray:
    if theme.dark:
        return _ramp([
            (0.0, mix(hue, theme.background, 0.74), 0.62),
            (0.35, mix(hue, theme.background, 0.42), 0.78),
            (0.75, hue, 0.93),
            (1.0, mix(hue, (255, 255, 255), 0.62), 1.0),
        ])  # fmt: skip
    return _ramp([
        (0.0, mix(hue, (255, 255, 255), 0.84), 0.72),
        (0.35, mix(hue, (255, 255, 255), 0.5), 0.84),
        (0.75, hue, 0.95),
        (1.0, mix(hue, (0, 0, 0), 0.62), 1.0),
    ])  # fmt: skip
