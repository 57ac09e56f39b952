"""Themes and look-up tables."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.errors import SceneError
from tensorview.scene import THEMES, Theme
from tensorview.scene.palette import KIND_HUES, LEVELS, NAN, NEG_INF, POS_INF, contrast, lookup_table, mix


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of `(N, 3)` sRGB, 0..100."""
    c = np.asarray(rgb, dtype=float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


def over(rgba: np.ndarray, background) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + np.asarray(background) * (1 - alpha)


def test_contrast_of_known_pairs():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)  # WCAG's own border case
    assert contrast((1, 2, 3), (1, 2, 3)) == 1


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda t: t.name)
def test_text_is_legible_on_both_themes(theme: Theme):
    assert contrast(theme.text, theme.background) >= 4.5
    assert contrast(theme.muted, theme.background) >= 4.5


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda t: t.name)
def test_every_hue_is_seen_against_the_background(theme: Theme):
    for kind in KIND_HUES:
        assert contrast(theme.hue(kind), theme.background) >= 1.4, kind


# Linear RGB as it is seen without green cones, and without red ones (Machado, Oliveira and Fernandes, 2009).
EYES = {
    "typical": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


def lab(rgb: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of `(N, 3)` sRGB."""
    c = np.asarray(rgb, dtype=float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ np.transpose(eyes)
    xyz = np.clip(linear, 0, 1) @ np.transpose(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    t = xyz / [0.95047, 1.0, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda t: t.name)
@pytest.mark.parametrize(("eyes", "least"), [("typical", 13), ("deuteranopia", 9), ("protanopia", 8.5)])
def test_any_two_kinds_have_hues_that_can_be_told_apart(theme: Theme, eyes: str, least: float):
    """By CIE76, in which about 2.3 is a just noticeable difference."""
    seen = lab([theme.hue(kind) for kind in KIND_HUES], EYES[eyes])
    apart = np.linalg.norm(seen[:, None] - seen, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > least, [list(KIND_HUES)[i] for i in np.unravel_index(apart.argmin(), apart.shape)]


def test_an_unknown_kind_has_the_hue_of_other():
    assert THEMES["dark"].hue("mystery") == THEMES["dark"].hue("other")


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda t: t.name)
@pytest.mark.parametrize("kind", KIND_HUES)
def test_kind_rises_in_opacity_and_in_distance_from_the_background(theme: Theme, kind: str):
    table = lookup_table("kind", kind, theme)[:LEVELS]
    assert (np.diff(table[:, 3].astype(int)) >= 0).all()
    shown = lightness(over(table, theme.background))
    rising = np.diff(shown) if theme.dark else -np.diff(shown)
    assert rising.min() > -0.3  # rounding to 8 bits
    assert abs(shown[-1] - shown[0]) > 35


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda t: t.name)
def test_sequential_rises_in_lightness(theme: Theme):
    shown = lightness(lookup_table("sequential", "linear", theme)[:LEVELS, :3])
    assert np.diff(shown).min() > -0.3
    assert shown[-1] - shown[0] > 70


@pytest.mark.parametrize("theme", THEMES.values(), ids=lambda t: t.name)
def test_signed_is_neutral_at_zero_and_blue_and_orange_at_its_ends(theme: Theme):
    table = lookup_table("signed", "linear", theme)[:LEVELS].astype(int)
    grey = np.ptp(table[LEVELS // 2, :3])
    assert grey <= np.ptp(mix(theme.background, theme.text, 0.13)) + 2
    assert grey < np.ptp(table[[32, -32], :3], axis=1).min() / 3
    assert table[0, 2] > table[0, 0]
    assert table[-1, 0] > table[-1, 2]


@pytest.mark.parametrize("encoding", ["kind", "sequential", "signed"])
def test_what_is_no_number_has_a_colour_that_no_value_has(encoding):
    table = lookup_table(encoding, "convolution", THEMES["dark"]).astype(int)
    for special in (NAN, POS_INF, NEG_INF):
        others = np.delete(table, special, axis=0)
        assert np.abs(others[:, :3] - table[special, :3]).sum(axis=1).min() > 40
        assert table[special, 3] == 255


def test_an_unknown_encoding_is_named():
    with pytest.raises(SceneError, match=r"'viridis'.*kind, sequential, signed"):
        lookup_table("viridis", "linear", THEMES["dark"])
