"""Every displayed cell is found again by the ray through its middle, with its exact value."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.scene import Camera, Ray, Scene
from tensorview.scene.picking import Window, cell_of, meet_boxes, outline


def numbers(*shape: int) -> np.ndarray:
    """Values that are all different."""
    return np.random.default_rng(len(shape)).permutation(int(np.prod(shape, dtype=int))).reshape(shape).astype("f4")


def facing(point: np.ndarray) -> Ray:
    """The ray through the middle pixel of a camera that looks straight at a point, from just before it."""
    camera = Camera((point[0] + 0.001, point[1] + 0.002, point[2] + 0.2), tuple(point))
    return camera.ray(320, 240, 640, 480)


def indices(shape: tuple[int, ...], most: int = 60) -> list[tuple[int, ...]]:
    every = list(np.ndindex(shape))
    chosen = np.random.default_rng(0).permutation(len(every))[:most]
    return sorted({every[0], every[-1]} | {every[i] for i in chosen})


def round_trip(scene: Scene, name: str, most: int = 60) -> None:
    """From an index to its cell's outline, from there by a ray back to the index."""
    k = [p.name for p in scene.placements].index(name)
    item, layer = scene.placements[k], scene.layers[k]
    for index in indices(layer.shape, most):
        channel, row, column = cell_of(item, layer.shape, index)
        shown = None if item.look == "box" else channel
        corners = outline(item, Window(shown, row, row + 1, column, column + 1), scene._shares.units.get(k))
        assert corners is not None
        hit = scene.pick(facing(corners.mean(axis=0)))
        assert hit is not None
        assert (hit.layer, hit.placement, hit.row, hit.column) == (name, k, row, column)
        np.testing.assert_allclose(scene.outline(hit), corners)
        if item.look == "box":
            assert hit.index is None
            assert hit.channel is None
            maps = layer.values.reshape(item.maps.shape)
            assert scene.value(hit) == pytest.approx(maps[:, row, column].mean(), rel=1e-5)
        else:
            assert hit.index == index
            assert scene.value(hit) == layer.values[index]


SHAPES = [
    (),
    (1,),
    (10,),
    (40,),
    (300,),
    (1000,),
    (1, 6, 7),
    (6, 5, 7),
    (70, 3, 4),
    (4, 9),
    (2, 3, 4, 5),
    (2, 3, 2, 3, 4),
]


@pytest.mark.parametrize("kind", ["convolution", "other"])
@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_has_a_picture_whose_cells_are_found_again(chain, shape, opened, kind):
    scene = Scene(chain(numbers(1, 8, 8), (kind, numbers(*shape)), numbers(3)), open=opened)
    round_trip(scene, "layer1")


@pytest.mark.parametrize(
    ("shape", "look"),
    [
        ((6, 5, 7), "slabs"),
        ((70, 3, 4), "sheet"),
        ((1, 6, 7), "slab"),
        ((40,), "cells"),
        ((300,), "strip"),
        ((4, 9), "slabs"),
    ],
    ids=str,
)
def test_what_an_open_layer_looks_like(chain, shape, look):
    scene = Scene(chain(numbers(1, 8, 8), numbers(*shape), numbers(3)), open="*")
    assert scene.placements[1].look == look


@pytest.mark.parametrize("shape", [(1, 50, 47), (6, 29, 31), (70, 13, 10), (1999,), (4, 90), (30, 40)], ids=str)
@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
def test_cells_of_an_averaged_layer_are_found_again_one_by_one(chain, shape, opened):
    scene = Scene(chain(numbers(1, 8, 8), numbers(*shape), numbers(3)), open=opened, budget=120)
    round_trip(scene, "layer1")
    if opened:
        assert scene.placements[1].factor > 1


@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
@pytest.mark.parametrize("kind", ["convolution", "other"])
def test_cells_of_what_is_not_true_to_scale_are_found_again(chain, kind, opened):
    scene = Scene(chain(numbers(1, 8, 8), ("other", numbers(6, 9)), (kind, numbers(3, 2000)), numbers(3)), open=opened)
    sides = scene.placements[2].size
    assert 4 * 8 < sides[0] < 100, "shorter than 2,000 cells"
    round_trip(scene, "layer2")


def test_output_cubes_are_found_again(lenet):
    scene = Scene(lenet, class_names=tuple("0123456789"))
    assert scene.placements[-1].look == "cubes"
    round_trip(scene, "output")


def test_the_five_cubes_of_a_thousand_classes_are_the_likeliest_units(chain):
    logits = numbers(1000)
    scene = Scene(chain(numbers(3, 8, 8), ("linear", logits)), class_names=[f"class {i}" for i in range(1000)])
    item, likeliest = scene.placements[-1], np.argsort(-logits)[:5]
    assert item.grid == (5, 1)
    left, top = item.centre[0], item.centre[1] + item.size[1] / 2
    for place, unit in enumerate(likeliest):
        middle = np.array([left, top - place * item.cell * 1.25 - item.cell / 2, item.centre[2] + item.size[2] / 2])
        hit = scene.pick(facing(middle))
        assert hit.index == (unit,)
        assert scene.value(hit) == logits[unit]
        np.testing.assert_allclose(scene.outline(hit).mean(axis=0)[:2], middle[:2], atol=1e-5)


def test_gaps_between_maps_let_a_ray_through_to_what_is_behind(chain):
    far = numbers(1, 80, 80)
    scene = Scene(chain(numbers(4, 5, 5), far), open="*")
    first = scene.slabs[scene.slabs["layer"] == 0]
    between = first["centre"][:2].mean(axis=0)
    hit = scene.pick(Ray(np.array([*between[:2], 50.0]), np.array([0.0, 0.0, -1.0])))
    assert hit.layer == "layer1"
    sheet = Scene(chain(numbers(65, 5, 5), far), open="*")
    width, (rows, columns) = sheet.placements[0].size[0], sheet.placements[0].texture
    gap = np.array([-width / 2 + 5.5 * width / columns, sheet.placements[0].size[1] / 2 - 2.5, 50.0])
    assert sheet.pick(Ray(gap, np.array([0.0, 0.0, -1.0]))).layer == "layer1"
    assert rows > 5


def test_a_ray_that_misses_picks_nothing(lenet):
    scene = Scene(lenet)
    assert scene.pick(Ray(np.array([0.0, 500.0, 0.0]), np.array([0.0, 0.0, -1.0]))) is None
    assert scene.pick(Ray(np.array([0.0, 0.0, 500.0]), np.array([0.0, 0.0, 1.0]))) is None


def test_the_nearer_of_two_layers_is_picked(lenet):
    scene = Scene(lenet)
    assert scene.pick(Ray(np.array([0.5, 0.5, 99.0]), np.array([0.0, 0.0, -1.0]))).layer == "input"


def test_distances_to_boxes_by_hand():
    ray = Ray(np.array([0.0, 0.0, 10.0]), np.array([0.0, 0.0, -1.0]))
    centre = np.array([[0, 0, 0], [3, 0, 0], [0, 0, 20], [0, 0, 10]], dtype=float)
    np.testing.assert_allclose(meet_boxes(ray, centre, np.full((4, 3), 2.0)), [9, np.inf, np.inf, 0])


def test_a_layer_without_values_is_picked_and_has_no_value(chain):
    scene = Scene(chain(numbers(1, 8, 8), (6, 5, 7)), open="*")
    hit = scene.pick(facing(np.add(scene.slabs["centre"][scene.slabs["layer"] == 1][0], [0, 0, 0.5])))
    assert hit.layer == "layer1"
    assert scene.value(hit) is None


def test_a_closed_box_tells_the_maximum_where_it_shows_it(chain):
    values = numbers(6, 5, 7)
    scene = Scene(chain(numbers(1, 8, 8), values), aggregate="max")
    front = np.add(scene.placements[1].centre, [0, 0, scene.placements[1].size[2] / 2])
    hit = scene.pick(facing(front))
    assert (hit.row, hit.column) == (2, 3)
    assert scene.value(hit) == values[:, 2, 3].max()
