"""Names and shapes in the scene: all there, legible, none on another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tensorview.scene import Scene
from tensorview.scene.labels import Label, shape_text, text_page
from tensorview.scene.text import LINE, shorten, text_mask

WIDTH, HEIGHT = 1600, 900


def in_picture(scene: Scene) -> np.ndarray:
    """`(labels, 4, 2)`: the corners of every label's front in a picture of 1600 x 900 pixels."""
    corners = scene.names.points[scene.names.quads[::2]]
    seen = scene.camera.project(corners.reshape(-1, 3), WIDTH / HEIGHT).reshape(-1, 4, 2)
    return (seen * [1, -1] + 1) / 2 * [WIDTH, HEIGHT]


def inside(points: np.ndarray, quad: np.ndarray) -> np.ndarray:
    edges = np.roll(quad, -1, axis=0) - quad
    towards = points[:, None] - quad
    side = edges[:, 0] * towards[..., 1] - edges[:, 1] * towards[..., 0]
    return (side > 0).all(axis=1) | (side < 0).all(axis=1)


def shared(a: np.ndarray, b: np.ndarray) -> float:
    """Area that two quads share, over that of the smaller, counted on a grid."""
    low, high = np.maximum(a.min(axis=0), b.min(axis=0)), np.minimum(a.max(axis=0), b.max(axis=0))
    if (low >= high).any():
        return 0.0
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 80).T), axis=-1).reshape(-1, 2)
    area = (inside(grid, a) & inside(grid, b)).mean() * np.prod(high - low)
    x, y = np.moveaxis(np.stack([a, b]), 2, 0)
    areas = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
    return area / areas.min()


def test_shared_area_by_hand():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], dtype=float)
    assert shared(square, np.add(square, [1, 1])) == pytest.approx(0.25, abs=0.02)
    assert shared(square, np.add(square, [3, 0])) == 0


@pytest.mark.parametrize("opened", [(), "*", ["conv1"], ["conv1", "conv2"]], ids=str)
def test_labels_of_lenet_are_legible_and_none_lies_on_another(lenet, opened):
    scene = Scene(lenet, open=opened, class_names=tuple("0123456789"))
    quads = in_picture(scene)
    assert [
        (scene.labels[i].text, scene.labels[j].text)
        for i, j in itertools.combinations(range(len(quads)), 2)
        if shared(quads[i], quads[j]) > 0.05
    ] == []
    assert np.linalg.norm(quads[:, 0] - quads[:, 3], axis=1).min() > 9
    assert quads.min() > 0
    assert (quads.max(axis=(0, 1)) < [WIDTH, HEIGHT]).all()


@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
def test_every_layer_has_its_name_above_it_and_its_shape_where_there_is_room(lenet, opened):
    scene = Scene(lenet, open=opened)
    assert len(scene.names.quads) == 2 * len(scene.labels)
    for i, layer in enumerate(scene.layers):
        name, *shapes = (label for label in scene.labels if label.layer == i)
        assert name.text == layer.name
        assert name.corner[1] - name.height >= scene.placements[i].bounds[1, 1]
        for shape in shapes:
            assert shape.text.split(" × ") == [str(n) for n in layer.shape]
            assert shape.corner[1] - shape.height >= scene.placements[i].bounds[1, 1]
            assert name.corner[1] - name.height >= shape.corner[1] - 1e-6
    if not opened:
        assert len(scene.labels) == 2 * len(scene.layers)


def fronts_in_picture(scene: Scene) -> np.ndarray:
    """`(layers, 4, 2)`: the corners of every box's front in the picture."""
    low, high = (np.array([p.bounds[k] for p in scene.placements]) for k in (0, 1))
    sides = [(low, low), (high, low), (high, high), (low, high)]
    corners = np.stack([np.stack([x[:, 0], y[:, 1], high[:, 2]], axis=1) for x, y in sides], axis=1)
    seen = scene.camera.project(corners.reshape(-1, 3), WIDTH / HEIGHT).reshape(-1, 4, 2)
    return (seen * [1, -1] + 1) / 2 * [WIDTH, HEIGHT]


@pytest.mark.parametrize(
    ("network", "opened"),
    [("lenet", ()), ("lenet", ["conv1", "conv2"]), ("resnet18", ()), ("resnet18", ["layer1"]), ("googlenet", ())],
    ids=str,
)
def test_no_label_is_printed_over_a_box_or_another_label_in_the_first_view(network, opened, request):
    trace = request.getfixturevalue(network)
    scene = Scene(trace, open=opened, class_names=[f"class {i}" for i in range(trace.layers[-1].shape[0])])
    quads, fronts = in_picture(scene)[: len(scene.labels)], fronts_in_picture(scene)
    texts = scene.shares.points[scene.shares.quads[::2]]
    beside = (scene.camera.project(texts.reshape(-1, 3), WIDTH / HEIGHT) * [1, -1] + 1) / 2 * [WIDTH, HEIGHT]
    others = [*fronts, *beside.reshape(-1, 4, 2)]
    assert [
        (a.text, k)
        for a, quad in zip(scene.labels, quads, strict=True)
        for k, x in enumerate(others)
        if shared(quad, x) > 0.02
    ] == []
    pairs = itertools.combinations(range(len(quads)), 2)
    assert [(i, j) for i, j in pairs if shared(quads[i], quads[j]) > 0.02] == []
    names = [i for i, label in enumerate(scene.labels) if label.bold]
    lines = np.linalg.norm(quads[names, 0] - quads[names, 3], axis=1) * 720 / HEIGHT
    assert lines.min() / LINE > 10  # pixels of a picture of 1280 x 720, of the letters' full height
    assert len({scene.labels[i].height for i in names}) == 1


def test_labels_show_their_texts(lenet):
    """What stands at a label's texture coordinates is its text, the right way up."""
    scene = Scene(lenet)
    page = scene.page("names").pixels
    for label, quad in zip(scene.labels, scene.names.quads[::2], strict=True):
        points, uv = scene.names.points[quad], scene.names.tcoords[quad] * [page.shape[1], page.shape[0]]
        (u0, v0), (u1, v1) = np.rint(uv.min(axis=0)).astype(int), np.rint(uv.max(axis=0)).astype(int)
        np.testing.assert_array_equal(page[v0:v1, u0:u1], text_mask(label.text, 40, label.bold))
        assert uv[points[:, 1].argmax(), 1] < uv[points[:, 1].argmin(), 1]
        assert uv[points[:, 0].argmin(), 0] < uv[points[:, 0].argmax(), 0]
        np.testing.assert_allclose(np.ptp(points[:, 0]) / np.ptp(points[:, 1]), (u1 - u0) / (v1 - v0), rtol=1e-4)


def test_labels_can_be_left_out(lenet):
    scene = Scene(lenet, labels=False)
    assert scene.labels == []
    assert len(scene.names.quads) == 0


def test_texts_of_a_page_are_apart_and_small_enough():
    labels = [Label(f"a layer with a long name {i}", (0, 0, 0), 1.0, i) for i in range(900)]
    page = text_page(labels)
    assert page.coverage.size <= 1_300_000
    assert page.pixels < 40
    occupied = np.zeros(page.coverage.shape, dtype=int)
    for label, (row, column) in zip(labels, page.places, strict=False):
        height, width = text_mask(label.text, page.pixels).shape
        occupied[row : row + height, column : column + width] += 1
    assert occupied.max() == 1


def test_too_many_texts_for_a_page_are_thinned_out_evenly():
    page = text_page([Label(f"layer {i}", (0, 0, 0), 1.0, i) for i in range(6_000)])
    assert page.coverage.size <= 1_300_000
    drawn = page.surface.layer[::8]
    assert 300 < len(drawn) < 6_000
    assert len(set(np.diff(drawn))) == 1


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("conv1", 5, "conv1"), ("layer4.1.conv2.weight", 9, "laye…ight"), ("abcdef", 4, "a…ef")],
)
def test_long_names_keep_their_ends(text, most, expected):
    assert shorten(text, most) == expected
    assert len(shorten(text, most)) <= most


def test_shapes_are_written_with_times():
    assert [shape_text(s) for s in ((6, 28, 28), (10,), ())] == ["6 × 28 × 28", "10", "1"]


def test_signs_of_other_languages_are_drawn():
    unknown = text_mask("\U0010ffff")
    for text in ("×", "σ", "Ж", "ü", "…"):
        assert not np.array_equal(text_mask(text), unknown)
        assert text_mask(text).any()
