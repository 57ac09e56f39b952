"""The camera: projection and rays agree, and the first view holds the network."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.scene import Camera, Scene, fit_camera

ASPECTS = [16 / 9, 4 / 3, 1.0, 9 / 16]


def test_projection_by_hand():
    camera = Camera((0, 0, 10), (0, 0, 0), view_angle=90)
    seen = camera.project(np.array([[0, 0, 0], [10, 0, 0], [0, -5, 0], [4, 0, 8]]), aspect=2)
    np.testing.assert_allclose(seen, [[0, 0], [0.5, 0], [0, -0.5], [1, 0]], atol=1e-12)


def test_the_ray_through_a_projected_point_meets_it():
    camera = Camera((30, 12, 40), (1, 2, -3), view_angle=20)
    for point in ([0, 0, 0], [3, 1, -9], [-2, -4, 5]):
        x, y = camera.project(np.array([point]), 1.6)[0]
        ray = camera.ray((x + 1) / 2 * 1600, (1 - y) / 2 * 1000, 1600, 1000)
        along = (np.array(point) - ray.origin) @ ray.direction
        np.testing.assert_allclose(ray.origin + along * ray.direction, point, atol=1e-9)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
def test_the_first_view_has_all_corners_in_frame_and_fills_it(lenet, opened, aspect):
    scene = Scene(lenet, open=opened, aspect=aspect)
    seen = scene.camera.project(scene.corners(), aspect)
    assert np.abs(seen).max() <= 1
    assert np.ptp(seen, axis=0).max() >= 2 * 0.8
    for low, high in zip(seen.min(axis=0), seen.max(axis=0), strict=True):
        assert low + high == pytest.approx(0, abs=0.05)


def test_the_first_view_of_a_deep_network_has_it_in_frame(resnet18):
    scene = Scene(resnet18)
    assert np.abs(scene.camera.project(scene.corners(), 16 / 9)).max() <= 1


def test_the_first_view_faces_the_maps(lenet):
    camera = Scene(lenet).camera
    direction = np.subtract(camera.position, camera.focal_point)
    cosine = direction[2] / np.linalg.norm(direction)
    assert np.degrees(np.arccos(cosine)) < 60
    for item in Scene(lenet, open="*").placements:  # and not only along the axis of the view
        towards = np.subtract(camera.position, item.centre)
        assert towards[2] / np.linalg.norm(towards) > 0.5


def test_a_network_of_one_cell_has_a_view(chain):
    scene = Scene(chain(np.ones((1, 1, 1))))
    assert np.isfinite(scene.camera.position).all()
    assert np.abs(scene.camera.project(scene.corners(), 16 / 9)).max() <= 1


def test_a_camera_is_found_where_everything_is_one_point():
    camera = fit_camera(np.zeros((4, 3)))
    assert np.isfinite(camera.position).all()
    assert np.isfinite(camera.project(np.zeros((1, 3)), 1.0)).all()
