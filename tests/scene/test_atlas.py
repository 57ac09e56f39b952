"""Rectangles in a page: all inside, none on another."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.errors import SceneError
from tensorview.scene.atlas import pack


def painted(sizes, places, height, width):
    page = np.zeros((height, width), dtype=int)
    for (h, w), (row, column) in zip(sizes, places, strict=True):
        assert row + h <= height
        assert column + w <= width
        page[row : row + h, column : column + w] += 1
    return page


def test_rectangles_never_overlap_and_fill_most_of_the_page():
    generator = np.random.default_rng(0)
    sizes = [tuple(map(int, generator.integers(1, 60, 2))) for _ in range(200)]
    page = painted(sizes, *pack(sizes))
    assert page.max() == 1
    assert page.sum() == sum(h * w for h, w in sizes)
    assert page.mean() > 0.75


def test_a_tall_rectangle_among_many_small_ones_makes_the_page_wider_not_higher_than_it_may_be():
    sizes = [(50, 2), *[(20, 20)] * 10]
    places, height, width = pack(sizes, max_edge=100)
    assert height <= 100
    assert width <= 100
    assert painted(sizes, places, height, width).max() == 1


def test_no_rectangle_is_a_page_of_one_texel():
    assert pack([]) == ([], 1, 1)


def test_what_cannot_fit_is_said_with_its_size():
    with pytest.raises(SceneError, match=r"120 x 30.*at most 100 x 100"):
        pack([(120, 30)], max_edge=100)
