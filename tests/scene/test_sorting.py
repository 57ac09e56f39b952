"""Open maps sorted by their mean activation, and the rest hidden; numbers of maps stay true."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.errors import SceneError
from tensorview.scene import Camera, Scene

MEANS = [0.5, 3.0, -1.0, 2.0, 0.0, 1.0]
GREATEST_FIRST = [1, 3, 5, 0, 4, 2]


@pytest.fixture
def maps() -> np.ndarray:
    """`(6, 4, 5)` with those means."""
    noise = np.random.default_rng(0).normal(size=(6, 4, 5))
    return (noise - noise.mean(axis=(1, 2), keepdims=True) + np.reshape(MEANS, (6, 1, 1))).astype(np.float32)


def shown(scene: Scene) -> list[int]:
    """The maps of the second layer from left to right and from top to bottom, as a person reads them off."""
    item = scene.placements[1]
    found = []
    for row in range(item.grid[0]):
        for column in range(item.grid[1]):
            left, top = item.centre[0] - item.size[0] / 2, item.centre[1] + item.size[1] / 2
            rows, columns = item.texture
            unit_x, unit_y = item.size[0] / columns, item.size[1] / rows
            x = left + (column * (item.drawn[1] + item.gap) + 0.5) * unit_x
            y = top - (row * (item.drawn[0] + item.gap) + 0.5) * unit_y
            front = (x, y, item.bounds[1, 2] + 0.01)
            hit = scene.pick(Camera(tuple(np.add(front, (0, 0, 0.01))), front).ray(1, 1, 2, 2))
            if hit is not None and hit.layer == "layer1":
                np.testing.assert_equal(scene.value(hit), scene.layers[1].values[hit.index].item())
                assert hit.index == (hit.channel, 0, 0)
                found.append(hit.channel)
    return found


@pytest.mark.parametrize(
    ("choices", "order"),
    [
        ({}, list(range(6))),
        ({"sort": "activation"}, GREATEST_FIRST),
        ({"most_maps": 3}, [1, 3, 5]),
        ({"most_maps": 4}, [0, 1, 3, 5]),
        ({"sort": "activation", "most_maps": 4}, [1, 3, 5, 0]),
        ({"most_maps": 1}, [1]),
        ({"most_maps": 50}, list(range(6))),
    ],
    ids=str,
)
def test_which_maps_stand_where(chain, maps, choices, order):
    assert shown(Scene(chain(np.zeros((1, 4, 5)), maps), open="*", **choices)) == order


def test_sheets_are_sorted_too(chain):
    values = np.random.default_rng(1).random((90, 3, 3)).astype(np.float32)
    scene = Scene(chain(np.zeros((1, 3, 3)), values), open="*", sort="activation", most_maps=80)
    assert scene.placements[1].look == "sheet"
    order = np.argsort(-values.mean(axis=(1, 2)), kind="stable")[:80].tolist()
    assert shown(scene) == order


def test_texels_are_those_of_the_map_that_stands_there(chain, maps):
    plain = Scene(chain(np.zeros((1, 4, 5)), maps), open="*", scaling="map")
    ordered = Scene(chain(np.zeros((1, 4, 5)), maps), open="*", scaling="map", sort="activation")

    def front(scene: Scene, channel: int) -> np.ndarray:
        page = scene.page("cells").pixels
        slab = next(s for s in scene.slabs if s["layer"] == 1 and s["channel"] == channel)
        u0, v0, u1, v1 = slab["uv"] * ([page.shape[1], page.shape[0]] * 2)
        return page[round(v0) : round(v1), round(u0) : round(u1)]

    for channel in range(6):
        np.testing.assert_array_equal(front(plain, channel), front(ordered, channel))


def test_maps_keep_their_places_while_inputs_change(chain, maps):
    scene = Scene(chain(np.zeros((1, 4, 5)), maps), open="*", sort="activation")
    scene.update(chain(np.zeros((1, 4, 5)), maps[::-1].copy()))
    assert shown(scene) == GREATEST_FIRST


def test_closed_layers_and_what_feeds_a_cell_are_as_before(chain, maps):
    trace = chain(np.zeros((1, 4, 5)), maps, np.zeros((2, 4, 5)))
    np.testing.assert_array_equal(Scene(trace, most_maps=2).page("cells").pixels, Scene(trace).page("cells").pixels)
    scene = Scene(trace, open=["layer1"], most_maps=2)
    item = scene.placements[2]
    front = np.add(item.centre, (0, 0, item.size[2] / 2))
    hit = scene.pick(Camera(tuple(np.add(front, (0, 0, 0.1))), tuple(front)).ray(1, 1, 2, 2))
    assert hit.layer == "layer2"
    feeding = scene.feeding(hit)
    assert np.isfinite(feeding.marks).all()
    assert np.isfinite(scene.field_marks(hit)).all()


def test_maps_without_values_stand_in_their_order(chain):
    scene = Scene(chain((1, 4, 5), (6, 4, 5)), open="*", sort="activation", most_maps=2)
    assert scene.placements[1].shown_maps == 6


def test_nan_comes_last(chain, maps):
    maps[1] = np.nan
    assert shown(Scene(chain(np.zeros((1, 4, 5)), maps), open="*", sort="activation"))[-1] == 1


def test_choices_that_do_not_exist_are_refused(chain, maps):
    with pytest.raises(SceneError, match=r"no sort 'name'.*index, activation"):
        Scene(chain(maps), sort="name")
    with pytest.raises(SceneError, match="most_maps is -1"):
        Scene(chain(maps), most_maps=-1)
