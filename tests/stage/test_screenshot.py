"""`tensorview.screenshot`: pictures as files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tensorview.errors import StageError
from tensorview.scene import Scene, fit_camera
from tensorview.stage import picture, png_bytes, screenshot

pytestmark = pytest.mark.gl
SIZE = (320, 180)


def test_writes_the_picture_that_it_returns(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    shown = screenshot(scene, path, size=SIZE)
    with Image.open(path) as written:
        assert written.format == "PNG"
        assert written.mode == shown.mode == "RGB"
        assert written.size == SIZE
        np.testing.assert_array_equal(np.asarray(written), np.asarray(shown))
    assert list(tmp_path.iterdir()) == [path]


def test_is_the_same_bytes_twice(scene: Scene, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        screenshot(scene, tmp_path / name, size=SIZE, title="Twice", legend=True, colour_bar=True, transparent=True)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_png_bytes_are_a_png_of_the_picture(scene: Scene) -> None:
    shown = screenshot(scene, size=SIZE, transparent=True)
    assert shown.mode == "RGBA"
    with Image.open(io.BytesIO(png_bytes(shown))) as read:
        np.testing.assert_array_equal(np.asarray(read), np.asarray(shown))


def test_the_first_view_fits_the_picture(trace: object) -> None:
    scene = Scene(trace)
    tall = screenshot(scene, size=(180, 320))
    fitted = screenshot(scene, size=(180, 320), camera=fit_camera(scene.corners(), 180 / 320))
    assert tall.tobytes() == fitted.tobytes()
    shown = (np.abs(np.asarray(tall).astype(int) - scene.theme.background).sum(axis=2) > 30).any(axis=0)
    assert not shown[0]
    assert not shown[-1]
    assert shown.mean() > 0.85


def test_a_camera_of_ones_own_stays(trace: object) -> None:
    camera = fit_camera(Scene(trace).corners(), 2.0, yaw=10, pitch=5)
    own = screenshot(Scene(trace, camera=camera), size=(180, 320))
    assert own.tobytes() == screenshot(Scene(trace), size=(180, 320), camera=camera).tobytes()


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.jpg", r"a\.jpg does not end in \.png"), ("a", "does not end"), ("no/a.png", "no folder"), ("d.png", "folder")],
)
def test_says_what_is_wrong_with_a_path_before_it_draws(
    scene: Scene, tmp_path: Path, name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d.png").mkdir()
    monkeypatch.setattr(picture, "render", lambda *_: pytest.fail("it draws"))
    with pytest.raises(StageError, match=says):
        screenshot(scene, tmp_path / name, size=SIZE)


def test_a_file_that_is_there_outlives_a_failure(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StageError, match="cannot be written: No space left on device"):
        screenshot(scene, path, size=SIZE)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
