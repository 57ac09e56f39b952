"""Which maps a shape has, and the grid that they stand in."""

from __future__ import annotations

import math

import pytest

from tensorview.scene.arrange import as_maps, grid_shape


@pytest.mark.parametrize(("count", "grid"), [(6, (2, 3)), (16, (4, 4)), (64, (8, 8)), (1, (1, 1)), (2, (1, 2))])
def test_grids_that_a_reader_expects(count, grid):
    assert grid_shape(count) == grid


def test_a_prime_number_of_maps_stays_compact():
    assert grid_shape(7) in ((2, 4), (3, 3))


@pytest.mark.parametrize("count", [3, 5, 7, 11, 13, 20, 37, 64, 100, 192, 512, 1000, 2048])
def test_every_map_has_a_place_and_few_are_empty(count):
    rows, columns = grid_shape(count)
    assert rows * columns >= count
    assert rows * columns - count <= max(2, 0.12 * count)
    assert 0.5 <= columns / rows <= 4


def test_wide_maps_stand_in_fewer_columns():
    assert grid_shape(16, height=1, width=4)[1] < grid_shape(16, height=4, width=1)[1]


def test_a_row_is_one_row():
    assert grid_shape(6, arrangement="row") == (1, 6)


@pytest.mark.parametrize(
    ("shape", "kind", "style", "maps"),
    [
        ((), "other", "vector", (1, 1, 1)),
        ((10,), "linear", "vector", (1, 10, 1)),
        ((6, 28, 27), "convolution", "maps", (6, 28, 27)),
        ((4, 9), "convolution", "rows", (4, 1, 9)),
        ((5, 8), "linear", "tokens", (1, 5, 8)),
        ((2, 3, 5, 6), "convolution", "volume", (6, 5, 6)),
        ((2, 3, 4, 5, 6), "other", "maps", (24, 5, 6)),
        ((3, 0, 5), "convolution", "vector", (1, 1, 1)),
    ],
)
def test_every_shape_has_maps(shape, kind, style, maps):
    found = as_maps(shape, kind)
    assert (found.style, found.shape) == (style, maps)
    assert found.size == math.prod(shape)


@pytest.mark.parametrize("size", [13, 84, 120, 400, 1000, 25088])
def test_a_long_vector_is_wrapped_into_a_tall_strip_with_at_most_one_short_row(size):
    maps = as_maps((size,), "linear")
    assert (maps.height - 1) * maps.width < size <= maps.height * maps.width
    assert maps.height > 3 * maps.width
