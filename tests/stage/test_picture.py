"""Pictures of scenes, drawn off screen."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.errors import StageError
from tensorview.scene import Camera, Scene
from tensorview.stage import picture
from tensorview.stage.picture import render

pytestmark = pytest.mark.gl


@pytest.mark.parametrize("size", [(320, 180), (16, 16), (97, 211)])
def test_has_the_size_asked_for_and_is_not_blank(scene: Scene, size: tuple[int, int]) -> None:
    pixels = render(scene, size, scene.first_camera(size[0] / size[1]))
    assert pixels.shape == (size[1], size[0], 4)
    assert (pixels[..., 3] == 255).all()
    assert (pixels[0, -1, :3] == scene.theme.background).all()
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 20


@pytest.mark.parametrize("size", [(15, 100), (100, 8193), (0, 0), (-5, 100), (100.5, 100), ("a", 100), (100,), 100])
def test_refuses_a_size_out_of_range(scene: Scene, size: tuple[int, int]) -> None:
    with pytest.raises(StageError, match="16 to 8192"):
        render(scene, size)


def test_is_the_same_twice(scene: Scene) -> None:
    np.testing.assert_array_equal(render(scene, (320, 180)), render(scene, (320, 180)))


def test_laid_over_the_background_the_transparent_picture_is_the_opaque_one(trace: object) -> None:
    scene = Scene(trace, open="*", theme="light")
    opaque = render(scene, (480, 270))[..., :3].astype(float)
    clear = render(scene, (480, 270), transparent=True).astype(float)
    alpha = clear[..., 3:] / 255
    assert alpha.min() == 0
    assert alpha.max() == 1
    assert ((alpha > 0.1) & (alpha < 0.9)).any()
    laid = clear[..., :3] * alpha + np.array(scene.theme.background) * (1 - alpha)
    assert np.abs(laid - opaque).max() <= 3  # eight bits a channel, rounded three times


def test_a_picture_in_tiles_is_the_picture_in_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render(scene, (640, 360)).astype(int)
    monkeypatch.setattr(picture, "TILE", 240)
    assert len(picture._spans(640)) == 4
    tiled = render(scene, (640, 360))
    assert (np.abs(tiled - whole).max(axis=2) > 16).mean() < 1e-3


def test_tiles_cover_a_side_once_and_are_drawn_equally_wide() -> None:
    for length in (4096, 4097, 5000, 8191, 8192):
        spans = picture._spans(length)
        assert [start for start, *_ in spans] == [0, *(stop for _, stop, *_ in spans[:-1])]
        assert spans[-1][1] == length
        assert len({to - start for *_, start, to in spans}) == 1
        assert all(to - start <= picture.TILE and start <= a and b <= to for a, b, start, to in spans)


@pytest.mark.parametrize("layer", [0, 1])
def test_an_image_is_never_mirrored(marked: Scene, layer: int) -> None:
    """The bright cell of a map is where the camera's own arithmetic sees the map's top left cell."""
    item = marked.placements[layer]
    front = item.centre[2] + item.size[2] / 2
    cell = item.size[0] / 8
    across, up = (3.5 * cell * np.array(signs) for signs in ((-1, 1, -1, 1), (1, 1, -1, -1)))
    corners = np.stack([item.centre[0] + across, item.centre[1] + up, np.full(4, front)], axis=1)
    eye = (0.4, 0.3, front + 3.0)
    assert layer == 0 or eye[2] < marked.placements[0].centre[2] - 1, "the first layer is in the way"
    camera = Camera(eye, (0.0, 0.0, front), view_angle=115.0)
    pixels = render(marked, (400, 400), camera).astype(float)
    device = camera.project(corners, 1.0)
    assert np.abs(device).max() < 1
    columns, rows = np.rint((device * [1, -1] + 1) / 2 * 400 - 0.5).astype(int).T
    top_left, *others = pixels[rows, columns, :3].mean(axis=1)
    assert top_left > max(others) + 60


def test_lines_are_as_wide_as_the_picture_is_large(scene: Scene) -> None:
    small, large = (
        (np.abs(render(scene, size)[..., :3].astype(int) - scene.theme.background).sum(axis=2) > 30).mean()
        for size in ((800, 450), (1600, 900))
    )
    assert large == pytest.approx(small, rel=0.05)
