"""The picture of what feeds a cell: lines end at it and begin in the middle of its sources."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.scene import Hit, Scene
from tensorview.scene.picking import Window, outline


def hit_of(scene: Scene, name: str, channel: int | None, row: int, column: int) -> Hit:
    k = [p.name for p in scene.placements].index(name)
    item, shape = scene.placements[k], scene.layers[k].shape
    flat = None if channel is None else (channel * item.maps.height + row) * item.maps.width + column
    index = None if flat is None else tuple(int(i) for i in np.unravel_index(flat, shape))
    return Hit(name, k, channel, row, column, index, 1.0)


def placement(scene: Scene, name: str):
    return next(p for p in scene.placements if p.name == name)


def test_a_convolution_marks_its_window_in_every_map(lenet):
    scene = Scene(lenet, open="*")
    hit = hit_of(scene, "conv2", 3, 2, 4)
    found = scene.feeding(hit)
    assert found.marks.shape == (6, 4, 3)
    pool = placement(scene, "pool1")
    for channel, mark in enumerate(found.marks):
        np.testing.assert_allclose(mark, outline(pool, Window(channel, 2, 7, 4, 9)))
        np.testing.assert_allclose(np.ptp(mark, axis=0), [5, 5, 0], atol=1e-6)
    np.testing.assert_allclose(found.lines[:, 0], found.marks.mean(axis=1))
    np.testing.assert_allclose(found.lines[:, 1], [scene.outline(hit).mean(axis=0)] * 6)


def test_a_window_at_the_border_is_cut_off(lenet):
    scene = Scene(lenet, open="*")
    mark = scene.feeding(hit_of(scene, "conv1", 0, 0, 27)).marks
    np.testing.assert_allclose(mark, [outline(placement(scene, "input"), Window(0, 0, 3, 25, 28))])


def test_pooling_marks_its_window_of_the_same_map(lenet):
    scene = Scene(lenet, open="*")
    mark = scene.feeding(hit_of(scene, "pool1", 4, 3, 5)).marks
    np.testing.assert_allclose(mark, [outline(placement(scene, "relu1"), Window(4, 6, 8, 10, 12))])


def test_flatten_marks_the_cell_that_it_moved(lenet):
    scene = Scene(lenet, open="*")
    item = placement(scene, "flatten")
    unit = 7 * 25 + 3 * 5 + 2
    mark = scene.feeding(hit_of(scene, "flatten", 0, *divmod(unit, item.maps.width))).marks
    np.testing.assert_allclose(mark, [outline(placement(scene, "pool2"), Window(7, 3, 4, 2, 3))])


def test_a_linear_unit_is_fed_by_the_whole_strip(lenet):
    scene = Scene(lenet)
    mark = scene.feeding(hit_of(scene, "fc1", 0, 3, 1)).marks
    flatten = placement(scene, "flatten")
    assert len(mark) == 1
    np.testing.assert_allclose(mark[0].min(axis=0)[:2], flatten.bounds[0, :2])
    np.testing.assert_allclose(mark[0].max(axis=0)[:2], flatten.bounds[1, :2])


@pytest.mark.parametrize(
    ("layer", "parent", "window"),
    [("conv2", "pool1", (2, 7, 4, 9)), ("relu2", "conv2", (2, 3, 4, 5)), ("pool2", "relu2", (4, 6, 8, 10))],
)
def test_a_closed_box_marks_the_window_of_its_cell(lenet, layer, parent, window):
    scene = Scene(lenet)
    found = scene.feeding(hit_of(scene, layer, None, 2, 4))
    np.testing.assert_allclose(found.marks, [outline(placement(scene, parent), Window(None, *window))])


def test_an_addition_marks_both_parents(resnet18):
    scene = Scene(resnet18, open="*")
    name = next(layer.name for layer in resnet18 if layer.kind == "merge")
    assert len(resnet18[name].parents) == 2
    found = scene.feeding(hit_of(scene, name, 5, 1, 2))
    assert [source.layer for source in found.sources] == list(resnet18[name].parents)
    expected = [outline(placement(scene, p), Window(5, 1, 2, 2, 3)) for p in resnet18[name].parents]
    np.testing.assert_allclose(found.marks, expected)


def test_an_input_is_fed_by_nothing(lenet):
    scene = Scene(lenet)
    found = scene.feeding(hit_of(scene, "input", 0, 3, 3))
    assert found.sources == ()
    assert found.lines.shape == (0, 2, 3)
    assert found.marks.shape == (0, 4, 3)


def test_lines_are_bounded(resnet18):
    scene = Scene(resnet18, open="*")
    found = scene.feeding(hit_of(scene, "layer4.1.conv2", 511, 0, 0))
    assert len(found.sources) == 1
    assert len(found.lines) == len(found.marks) == 160
