"""Geometry: faces outwards, texture coordinates inside the page, order by distance."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.scene import Scene
from tensorview.scene.mesh import SLAB, back_to_front, boxes, polylines, rectangles, wireframes


def normals(surface) -> np.ndarray:
    a, b, c, d = (surface.points[surface.quads[:, i]] for i in range(4))
    return np.cross(c - a, d - b)


def one_slab(**fields) -> np.ndarray:
    slab = np.zeros(1, dtype=SLAB)
    slab["centre"], slab["size"], slab["uv"], slab["side"] = (1, 2, 3), (4, 6, 8), (0.25, 0.5, 0.75, 1.0), (0.1, 0.2)
    for name, value in fields.items():
        slab[name] = value
    return slab


def test_a_box_has_six_faces_counter_clockwise_from_outside():
    surface = boxes(one_slab())
    assert len(surface.quads) == 6
    middles = surface.points[surface.quads].mean(axis=1)
    outwards = middles - [1, 2, 3]
    np.testing.assert_allclose(np.abs(outwards).sum(axis=1), [4, 4, 2, 2, 3, 3])
    assert ((normals(surface) * outwards).sum(axis=1) > 0).all()
    areas = np.linalg.norm(normals(surface), axis=1) / 2
    np.testing.assert_allclose(areas, [24, 24, 48, 48, 32, 32])


def test_the_picture_stands_upright_on_the_front():
    surface = boxes(one_slab())
    front = {tuple(p[:2]): tuple(uv) for p, uv in zip(surface.points[:4], surface.tcoords[:4], strict=True)}
    assert front == {(-1, 5): (0.25, 0.5), (3, 5): (0.75, 0.5), (-1, -1): (0.25, 1.0), (3, -1): (0.75, 1.0)}
    np.testing.assert_allclose(surface.points[:4, 2], 7)


def test_a_cell_seen_from_behind_is_the_same_cell():
    surface = boxes(one_slab())
    front = {tuple(p[:2]): tuple(uv) for p, uv in zip(surface.points[:4], surface.tcoords[:4], strict=True)}
    back = {tuple(p[:2]): tuple(uv) for p, uv in zip(surface.points[4:8], surface.tcoords[4:8], strict=True)}
    assert front == back


def test_text_reads_from_left_to_right_from_both_sides():
    surface = rectangles(np.array([[0, 0, 5]]), np.array([[4, 1]]), np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([7]))
    assert len(surface.quads) == 2
    facing = normals(surface)[:, 2]
    assert facing[0] > 0 > facing[1]
    for quad, sign in zip(surface.quads, (1, -1), strict=True):
        points, uv = surface.points[quad], surface.tcoords[quad]
        left = sign * points[:, 0] == (sign * points[:, 0]).min()  # as seen from that side
        top = points[:, 1] == 0
        np.testing.assert_allclose(uv[left, 0], 0.1)
        np.testing.assert_allclose(uv[~left, 0], 0.3)
        np.testing.assert_allclose(uv[top, 1], 0.2)
        np.testing.assert_allclose(uv[~top, 1], 0.4)


@pytest.mark.parametrize("opened", [(), "*"], ids=str)
def test_texture_coordinates_and_indices_are_inside(lenet, opened):
    scene = Scene(lenet, open=opened, class_names=tuple("0123456789"))
    for surface in (scene.cells, scene.names, scene.shares):
        assert surface.tcoords.min() >= 0
        assert surface.tcoords.max() <= 1
        assert surface.quads.max() == len(surface.points) - 1
        assert (np.diff(surface.layer) >= 0).all()
        assert len(surface.layer) == len(surface.points) == len(surface.tcoords)


@pytest.mark.parametrize("opened", [(), "*"], ids=str)
def test_no_two_layers_share_a_texel(lenet, opened):
    scene = Scene(lenet, open=opened)
    height, width = scene.page("cells").shape
    owner = np.full((height, width), -1)
    for slab in scene.slabs:
        u0, v0, u1, v1 = slab["uv"] * [width, height, width, height]
        rows = slice(int(v0 + 1e-3), max(int(np.ceil(v1 - 1e-3)), int(v0 + 1e-3) + 1))
        columns = slice(int(u0 + 1e-3), max(int(np.ceil(u1 - 1e-3)), int(u0 + 1e-3) + 1))
        assert (owner[rows, columns] == -1).all()
        owner[rows, columns] = slab["layer"]


def test_a_wireframe_has_the_twelve_edges():
    lines = wireframes(np.array([[0, 0, 0]]), np.array([[2, 4, 6]]), np.array([[1, 2, 3]]), np.array([5]))
    ends = lines.points[lines.segments]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    assert sorted(lengths.tolist()) == [2] * 4 + [4] * 4 + [6] * 4
    assert len({frozenset(map(tuple, pair.tolist())) for pair in ends}) == 12
    assert (lines.colours == [1, 2, 3]).all()


def test_polylines_do_not_join_each_other():
    paths = [np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[5, 5, 5], [6, 6, 6]])]
    lines = polylines(paths, [(1, 1, 1), (2, 2, 2)], [np.array([0, 0, 1]), np.array([1, 2])])
    assert lines.segments.tolist() == [[0, 1], [1, 2], [3, 4]]
    assert lines.colours[:, 0].tolist() == [1, 1, 1, 2, 2]
    assert len(polylines([], [], []).points) == 0


def test_back_to_front_is_the_furthest_first_on_both_sides_of_the_camera():
    depth = np.array([0.0, -10.0, -20.0, -30.0])
    assert back_to_front(depth, 50).tolist() == [3, 2, 1, 0]
    assert back_to_front(depth, -80).tolist() == [0, 1, 2, 3]
    assert back_to_front(depth, -12).tolist() == [3, 0, 2, 1]
