"""A picture as input: its true colours closed, red, green and blue maps open."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.scene import Scene
from tensorview.scene.palette import LEVELS, NAN, lookup_table


def texels(scene: Scene, layer: str) -> np.ndarray:
    """`(maps, H, W, 4)`: the front of every slab of a layer."""
    page = scene.page("cells").pixels
    index = [p.name for p in scene.placements].index(layer)
    corners = scene.slabs[scene.slabs["layer"] == index]["uv"] * ([page.shape[1], page.shape[0]] * 2)
    return np.stack([page[round(v0) : round(v1), round(u0) : round(u1)] for u0, v0, u1, v1 in corners])


RED, GREEN, BLUE = np.eye(3, dtype=np.float32)


@pytest.fixture
def picture() -> np.ndarray:
    """`(3, 4, 5)`: black, with a red, a green, a blue, a yellow and a white cell, normalised around 0."""
    shown = np.zeros((3, 4, 5), dtype=np.float32)
    for k, colour in enumerate([RED, GREEN, BLUE, RED + GREEN, RED + GREEN + BLUE]):
        shown[:, 1, k] = colour
    shown[:, 2, 2] = 0.5
    return shown * 4 - 2


def test_a_closed_picture_has_its_colours(chain, picture):
    scene = Scene(chain(picture, np.zeros((2, 4, 5))))
    [front] = texels(scene, "input")
    expected = np.floor((picture + 2) / 4 * 255 + 0.5).transpose(1, 2, 0)
    np.testing.assert_array_equal(front[..., :3], expected)
    assert (front[..., 3] == 255).all()
    assert front[1, 3].tolist() == [255, 255, 0, 255]


def test_an_open_picture_separates_into_red_green_and_blue(chain, picture):
    scene = Scene(chain(picture), open="*")
    maps = texels(scene, "input")
    for channel, name in enumerate(("red", "green", "blue")):
        table = lookup_table("kind", name, scene.theme)
        level = np.floor((picture[channel] + 2) / 4 * 255 + 0.5).astype(int)
        np.testing.assert_array_equal(maps[channel], table[level])
        brightest = maps[channel][1, channel, :3].astype(int)
        assert brightest.argmax() == channel


@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
def test_an_update_is_a_fresh_scene(chain, picture, opened):
    scene = Scene(chain(np.zeros_like(picture), np.ones((2, 4, 5))), open=opened)
    second = chain(picture, np.ones((2, 4, 5)))
    scene.update(second)
    np.testing.assert_array_equal(scene.page("cells").pixels, Scene(second, open=opened).page("cells").pixels)


def test_pointing_at_a_closed_picture_reads_the_mean_of_its_maps(chain, picture):
    scene = Scene(chain(picture, np.zeros((2, 4, 5))))
    plain = Scene(chain(picture, np.zeros((2, 4, 5))), encoding="sequential")
    ray = scene.camera.ray(*_middle(scene), 1600, 900)
    hit = scene.pick(ray)
    assert (hit.layer, hit.index) == ("input", None)
    assert scene.value(hit) == plain.value(hit) == pytest.approx(picture[:, hit.row, hit.column].mean())


def _middle(scene: Scene) -> tuple[float, float]:
    item = scene.placements[0]
    at = scene.camera.project(np.add([item.centre], (0, 0, item.size[2] / 2)), 1600 / 900)[0]
    return float((at[0] + 1) / 2 * 1600), float((1 - at[1]) / 2 * 900)


def test_other_encodings_show_values_and_not_colours(chain, picture):
    scene = Scene(chain(picture), encoding="sequential")
    table = lookup_table("sequential", "input", scene.theme)
    [front] = texels(scene, "input")
    assert {tuple(c) for c in front.reshape(-1, 4)} <= {tuple(c) for c in table}
    assert not scene.placements[0].true_colours


def test_only_inputs_of_three_maps_are_pictures(chain):
    scene = Scene(chain(np.zeros((4, 4, 4)), np.zeros((3, 4, 4)), np.zeros((3, 7))))
    assert not any(p.true_colours for p in scene.placements)


def test_each_colour_has_its_own_scale_where_maps_do(chain, picture):
    tinted = picture * np.array([1, 0.5, 0.25], dtype=np.float32)[:, None, None]
    [front] = texels(Scene(chain(tinted), scaling="map"), "input")
    assert front[1, 4].tolist() == [255, 255, 255, 255]
    [front] = texels(Scene(chain(tinted)), "input")
    assert front[1, 4, 0] > front[1, 4, 1] > front[1, 4, 2]


def test_what_is_no_number_is_marked(chain, picture):
    picture[1, 0, 0] = np.nan
    scene = Scene(chain(picture))
    [front] = texels(scene, "input")
    np.testing.assert_array_equal(front[0, 0], lookup_table("kind", "input", scene.theme)[NAN])
    assert front[1, 4].tolist() == [255, 255, 255, 255]
    assert LEVELS == 256


def test_large_pictures_are_averaged_colour_by_colour(chain):
    rng = np.random.default_rng(0)
    large = rng.random((3, 40, 40), dtype=np.float32)
    scene = Scene(chain(large), budget=500)
    factor = scene.placements[0].factor
    assert factor > 1
    [front] = texels(scene, "input")
    mean = large[:, :factor, :factor].mean(axis=(1, 2))
    assert np.argsort(front[0, 0, :3]).tolist() == np.argsort(mean).tolist()
