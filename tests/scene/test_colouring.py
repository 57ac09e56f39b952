"""From values to levels: scaling, encodings, and numbers at the edge of what a float can say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tensorview.scene import Scene
from tensorview.scene.colouring import area_mean, levels, store
from tensorview.scene.palette import LEVELS, NAN, NEG_INF, POS_INF, lookup_table

MIDDLE = LEVELS // 2
LARGEST = float(np.finfo(np.float32).max)


def one_group(values, encoding="kind", fixed=None):
    return levels(np.asarray(values, dtype=np.float32), np.array([0]), encoding, fixed)


def texels(scene: Scene, layer: str) -> np.ndarray:
    """`(maps, H, W, 4)`: the front of every slab of a layer, read through its texture coordinates."""
    page = scene.page("cells").pixels
    index = [p.name for p in scene.placements].index(layer)
    fronts = []
    for slab in scene.slabs[scene.slabs["layer"] == index]:
        u0, v0, u1, v1 = slab["uv"] * [page.shape[1], page.shape[0], page.shape[1], page.shape[0]]
        rows = slice(int(np.floor(v0 + 1e-3)), int(np.ceil(v1 - 1e-3)))
        columns = slice(int(np.floor(u0 + 1e-3)), int(np.ceil(u1 - 1e-3)))
        fronts.append(page[rows, columns])
    return np.stack(fronts)


def test_levels_run_from_the_least_to_the_greatest_value():
    np.testing.assert_array_equal(one_group([-1, 0, 1, 3]), [0, 64, 128, 255])


def test_signed_levels_put_zero_in_the_middle():
    np.testing.assert_array_equal(one_group([-2, -1, 0, 1], "signed"), [0, 64, 128, 191])


def test_a_fixed_range_clips():
    np.testing.assert_array_equal(one_group([-9, 0, 0.5, 1, 7], fixed=(0, 1)), [0, 0, 128, 255, 255])


def test_groups_are_scaled_on_their_own():
    found = levels(np.array([0, 1, 0, 10], dtype=np.float32), np.array([0, 2]), "kind", None)
    np.testing.assert_array_equal(found, [0, 255, 0, 255])


@pytest.mark.parametrize(("value", "level"), [(0, 0), (5, MIDDLE), (-5, MIDDLE)])
def test_a_constant_group_has_a_level_of_its_own(value, level):
    assert set(one_group([value] * 4)) == {level}


def test_a_constant_group_on_the_signed_map_keeps_its_sign():
    assert [one_group([v, v], "signed")[0] for v in (-3, 0, 3)] == [0, MIDDLE, 255]


@pytest.mark.parametrize("encoding", ["kind", "signed", "sequential"])
def test_what_is_no_number_stands_apart_and_does_not_enter_the_scale(encoding):
    found = one_group([0, np.nan, 1, np.inf, -np.inf], encoding)
    np.testing.assert_array_equal(found[[1, 3, 4]], [NAN, POS_INF, NEG_INF])
    np.testing.assert_array_equal(found[[0, 2]], one_group([0, 1], encoding))


@pytest.mark.parametrize("encoding", ["kind", "signed", "sequential"])
def test_a_group_of_nothing_finite_and_one_beside_it(encoding):
    buffer = np.array([np.nan, np.inf, 0, 1], dtype=np.float32)
    found = levels(buffer, np.array([0, 2]), encoding, None)
    np.testing.assert_array_equal(found[:2], [NAN, POS_INF])
    np.testing.assert_array_equal(found[2:], one_group([0, 1], encoding))


@pytest.mark.parametrize("encoding", ["kind", "signed", "sequential"])
@pytest.mark.parametrize(
    "values",
    [(-LARGEST, 0, LARGEST), (-LARGEST / 500, 0, LARGEST), (0, LARGEST / 2, LARGEST), (1e-38, 2e-38, 3e-38)],
    ids=repr,
)
def test_the_whole_range_of_float32_without_overflow(values, encoding):
    found = one_group(values, encoding)
    low, high = min(values), max(values)
    low, high = (-max(abs(low), high), max(abs(low), high)) if encoding == "signed" else (low, high)
    expected = [(float(np.float32(v)) - low) / (float(high) - low) * 255 for v in values]
    np.testing.assert_allclose(found, expected, atol=1)


def test_denormal_numbers_are_a_constant():
    assert set(one_group([1e-45, 3e-45, 1e-40])) == {MIDDLE}


@pytest.mark.parametrize("fixed", [(0.0, 1.0), (-1e300, 1e300), (0.0, 1e-300)])
def test_a_fixed_range_takes_every_value(fixed):
    found = one_group([-LARGEST, 0, LARGEST, np.nan, np.inf], fixed=fixed)
    assert ((found >= 0) & (found < LEVELS + 3)).all()
    np.testing.assert_array_equal(found[3:], [NAN, POS_INF])


def test_double_precision_beyond_float32_is_its_largest_number_and_not_infinite():
    out = np.zeros(5, dtype=np.float32)
    with np.errstate(over="ignore"):
        store(np.array([1e300, -1e300, 2.5, np.inf, np.nan]), out)
    np.testing.assert_array_equal(out, [LARGEST, -LARGEST, 2.5, np.inf, np.nan])


@pytest.mark.parametrize(("height", "width", "factor"), [(8, 8, 2), (7, 10, 3), (5, 5, 7), (9, 4, 4)])
def test_area_mean_is_average_pooling_that_counts_what_is_there(height, width, factor):
    maps = np.random.default_rng(0).normal(size=(3, height, width)).astype(np.float32)
    pooled = F.avg_pool2d(torch.from_numpy(maps)[None], factor, ceil_mode=True, count_include_pad=False)[0]
    np.testing.assert_allclose(area_mean(maps, factor), pooled.numpy(), rtol=1e-5, atol=1e-6)


def test_area_mean_of_integers_and_truth_values():
    np.testing.assert_allclose(area_mean(np.array([[[250, 251], [252, 253]]], dtype=np.uint8), 2), [[[251.5]]])
    np.testing.assert_allclose(area_mean(np.array([[[True, True], [True, False]]]), 2), [[[0.75]]])


def maps_of(*values, size=4):
    return np.stack([np.full((size, size), v, dtype=np.float32) for v in values])


@pytest.mark.parametrize(("aggregate", "value"), [("mean", 5.0), ("max", 9.0)])
def test_a_closed_box_shows_the_mean_or_the_maximum_of_its_maps(chain, aggregate, value):
    scene = Scene(chain(maps_of(0), maps_of(1, 5, 9)), aggregate=aggregate, scaling="fixed", value_range=(0, 10))
    table = lookup_table("kind", "convolution", scene.theme)
    front = texels(scene, "layer1")
    assert front.shape == (1, 4, 4, 4)
    assert (front == table[int(value / 10 * 255 + 0.5)]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_closed_box_of_the_largest_numbers_shows_their_mean(chain, dtype):
    values = maps_of(LARGEST, LARGEST, -LARGEST).astype(dtype)
    values[:, 0, 0] = 0
    scene = Scene(chain(maps_of(0), values))
    low, high = scene.value_range("layer1")
    assert (low, high) == (0, pytest.approx(LARGEST / 3, rel=1e-6))


def test_doubles_beyond_float32_are_drawn_without_a_warning(chain):
    scene = Scene(chain(maps_of(0), np.array([[[0.0, 1e300], [-1e300, 1.0]]])), encoding="signed")
    assert scene.value_range("layer1") == (-LARGEST, LARGEST)


def test_a_closed_box_of_opposite_infinities_says_that_it_is_no_number(chain):
    values = maps_of(np.inf, -np.inf)
    values[:, 0, 0] = [1, 3]
    scene = Scene(chain(maps_of(0), values))
    table = lookup_table("kind", "convolution", scene.theme)
    assert (texels(scene, "layer1")[0, 1, 1] == table[NAN]).all()
    assert (texels(scene, "layer1")[0, 0, 0] == table[MIDDLE]).all()


def test_scaling_by_map_or_by_layer(chain):
    weak = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    trace = chain(maps_of(0), np.stack([weak, 10 * weak]))
    by_map = texels(Scene(trace, open="*", scaling="map"), "layer1")
    np.testing.assert_array_equal(by_map[0], by_map[1])
    by_layer = texels(Scene(trace, open="*", scaling="layer"), "layer1")
    np.testing.assert_array_equal(by_layer[1], by_map[1])
    table = lookup_table("kind", "convolution", Scene(trace).theme)
    np.testing.assert_array_equal(by_layer[0, 3, 3], table[int(255 / 10 + 0.5)])


def test_value_range_is_what_the_ends_of_the_scale_stand_for(chain):
    trace = chain(maps_of(0), np.stack([maps_of(-2)[0], maps_of(6)[0]]))
    assert Scene(trace, open="*").value_range("layer1") == (-2, 6)
    assert Scene(trace, open="*", encoding="signed").value_range("layer1") == (-6, 6)
    assert Scene(trace).value_range("layer1") == (2, 2)
    assert Scene(trace, scaling="fixed", value_range=(0, 3)).value_range("layer1") == (0, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float64])
def test_other_types_of_number_are_drawn_as_their_values(chain, dtype):
    values = np.array([[[0, 1], [1, 0]]], dtype=dtype)
    found = texels(Scene(chain(values, values)), "layer1")
    expected = texels(Scene(chain(values.astype(np.float32), values.astype(np.float32))), "layer1")
    np.testing.assert_array_equal(found, expected)
