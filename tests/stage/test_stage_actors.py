"""A constant handful of actors, and pixels that are the scene's colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Layer, Trace, capture
from tensorview.scene import Camera, Scene
from tensorview.scene.palette import LEVELS, lookup_table
from tensorview.stage.stage import Stage, sorted_quads

SIZE = (800, 600)


def chain(count: int) -> Trace:
    """`count` layers of two maps."""
    values = np.zeros((2, 4, 4), dtype=np.float32)
    layers = [
        Layer(f"layer{i}", "convolution", "Conv2d", f"layer{i}", 1, values.shape, "float32", parents, values)
        for i, parents in enumerate([("input",), *((f"layer{i}",) for i in range(count - 1))])
    ]
    first = Layer("input", "input", "Input", "", 1, values.shape, "float32", (), values)
    return Trace((first,), tuple(layers), (layers[-1].name,))


@pytest.fixture(scope="module")
def marked() -> Trace:
    """An image with a mark in its upper left corner, and an identity convolution's copy of it."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    nn.init.dirac_(model[0].weight)
    x = torch.zeros(1, 1, 6, 9)
    x[0, 0, 1, 2] = 1
    return capture(model, x)


@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
def test_actors_do_not_grow_with_the_network(opened):
    counts = {Stage(Scene(chain(n), open=opened)).actor_count for n in (8, 800)}
    assert len(counts) == 1
    assert counts.pop() <= 8


def test_opening_a_layer_adds_no_actor():
    trace = chain(8)
    stage = Stage(Scene(trace))
    before = stage.actor_count
    stage.show(Scene(trace, open="*"))
    assert stage.actor_count == before
    assert stage.surfaces["cells"].mesh.GetNumberOfPolys() == len(Scene(trace, open="*").cells.quads)


def test_quads_are_sorted_layer_by_layer():
    scene = Scene(chain(3), open="*")
    order = np.array([2, 0, 3, 1])
    quads = sorted_quads(scene.cells, order)
    layers = scene.cells.layer[quads[:, 0]]
    assert list(dict.fromkeys(layers.tolist())) == order.tolist()
    assert sorted(map(tuple, quads.tolist())) == sorted(map(tuple, scene.cells.quads.tolist()))


def blended(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    alpha = rgba[3] / 255
    return rgba[:3] * alpha + np.array(background) * (1 - alpha)


def pixel_at(picture: np.ndarray, camera: Camera, point: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    x, y = camera.project(point[None], width / height)[0]
    return picture[int((1 - y) / 2 * height), int((x + 1) / 2 * width), :3].astype(float)


def cell_middle(scene: Scene, layer: int, row: int, column: int) -> np.ndarray:
    """The middle of a cell on the front of a layer that is one map."""
    item = scene.placements[layer]
    x = item.centre[0] + (column + 0.5 - item.maps.width / 2) * item.cell
    y = item.centre[1] - (row + 0.5 - item.maps.height / 2) * item.cell
    return np.array([x, y, item.centre[2] + item.size[2] / 2])


@pytest.mark.gl
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("encoding", ["kind", "signed"])
def test_pixels_are_the_look_up_table_over_the_background(marked, theme, encoding):
    from tensorview.stage.picture import render

    scene = Scene(Trace(marked.inputs, ()), theme=theme, encoding=encoding, labels=False, aspect=SIZE[0] / SIZE[1])
    picture = render(scene, SIZE)
    table = lookup_table(encoding, "input", scene.theme)
    for row in range(6):
        for column in range(9):
            zero = LEVELS // 2 if encoding == "signed" else 0
            rgba = table[LEVELS - 1 if (row, column) == (1, 2) else zero].astype(float)
            seen = pixel_at(picture, scene.camera, cell_middle(scene, 0, row, column))
            np.testing.assert_allclose(seen, blended(rgba, scene.theme.background), atol=2)


@pytest.mark.gl
def test_a_mark_is_in_the_same_corner_of_the_input_and_of_an_identity_in_the_picture(marked):
    from tensorview.stage.picture import render

    scene = Scene(marked, labels=False)
    for layer in (0, 1):
        item = scene.placements[layer]
        front = item.centre[2] + item.size[2] / 2
        # From just before the layer, so that nothing stands between.
        camera = Camera((0.5, 0.5, front + 4), (0.0, 0.0, front), view_angle=110)
        picture = render(scene, SIZE, camera=camera)
        light = {
            (row, column): pixel_at(picture, camera, cell_middle(scene, layer, row, column)).sum()
            for row in range(6)
            for column in range(9)
        }
        marked_cell = max(light, key=light.__getitem__)
        assert marked_cell == (1, 2)
        assert light[1, 2] > 1.5 * light[1, 6]


@pytest.mark.gl
def test_an_update_is_seen(marked):
    from tensorview.stage.picture import render

    changed = np.zeros((1, 6, 9), dtype=np.float32)
    changed[0, 4, 7] = 1
    first = Scene(Trace(marked.inputs, ()), labels=False)
    picture = render(first, SIZE)
    first.update(Trace((marked.inputs[0].with_values(changed),), ()))
    again = render(first, SIZE)
    for cell in ((1, 2), (4, 7)):
        middle = cell_middle(first, 0, *cell)
        before, after = (pixel_at(p, first.camera, middle).sum() for p in (picture, again))
        assert (after > before) == (cell == (4, 7))
        assert abs(after - before) > 100


@pytest.mark.gl
def test_text_is_not_mirrored_from_behind():
    """A long word is drawn once from each side: from both, its first letters stand to the left."""
    from tensorview.stage.picture import render

    values = np.zeros((1, 8, 8), dtype=np.float32)
    trace = Trace((Layer("Iwwwwwww", "input", "Input", "", 1, (1, 8, 8), "float32", (), values),), ())
    scene = Scene(trace)
    quad = scene.names.points[scene.names.quads[0]]
    x0, x1, y0, y1 = quad[:, 0].min(), quad[:, 0].max(), quad[:, 1].min(), quad[:, 1].max()
    middle = quad.mean(axis=0).astype(float)

    def strokes(side: float) -> np.ndarray:
        camera = Camera((*middle[:2], middle[2] + side * 40), tuple(middle), view_angle=20)
        picture = render(scene, (1600, 900), camera=camera).astype(int)
        corners = np.array([[x0, y0, middle[2]], [x1, y1, middle[2]]])
        seen = (camera.project(corners, 1600 / 900) * [1, -1] + 1) / 2 * [1600, 900]
        (left, top), (right, bottom) = seen.min(axis=0).astype(int), seen.max(axis=0).astype(int)
        word = picture[top:bottom, left:right, :3].sum(axis=2)
        return np.abs(word - word[0, 0]).sum(axis=0)

    front, behind = strokes(1.0), strokes(-1.0)
    both = min(len(front), len(behind))
    np.testing.assert_allclose(np.corrcoef(front[:both], behind[:both])[0, 1], 1, atol=0.1)
    assert np.corrcoef(front[:both], behind[:both][::-1])[0, 1] < 0.8
