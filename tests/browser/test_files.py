"""What a person takes away: a picture of the view, and the view itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tensorview as tv
from tensorview.app import Viewer
from tensorview.app.handover import File
from tensorview.scene_file import SceneFile

from .visit import Visit

pytestmark = pytest.mark.browser


def turned(visit: Visit) -> Any:
    """A view of one's own: one layer open, the camera turned."""
    visit.press("tab-layers")
    visit.press("toggle-conv1")
    visit.find("stage").focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        visit.page.keyboard.press(key)
    visit.settle()
    return visit.camera()


def saved(visit: Visit, button: str, folder: Path) -> Path:
    """Press a button that saves a file, and return that file."""
    with visit.page.expect_download() as download:
        visit.find(button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    visit.settle()
    return path


@pytest.mark.gl
def test_the_picture_is_the_view(digits: Visit, tmp_path: Path) -> None:
    camera = turned(digits)
    left, top, width, height = (round(v) for v in digits.area())
    digits.find("save-picture").click()
    for side, pixels in (("width", width), ("height", height)):
        digits.find(f"picture-{side}").locator("input").fill(str(pixels))
    for part in ("title", "legend", "bar"):
        digits.find(f"picture-{part}").locator("input").uncheck()
    path = saved(digits, "picture-save", tmp_path)
    assert path.name == "lenet5.png"
    taken = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert taken.shape == (height, width, 3)
    same = tv.screenshot(digits.scene, size=(width, height), camera=camera)
    np.testing.assert_array_equal(taken, np.asarray(same.convert("RGB")))
    style = digits.page.add_style_tag(content=".tv-stage-area > :not(:first-child) { opacity: 0 }")
    digits.find("picture-dialog").wait_for(state="hidden")
    digits.page.mouse.move(1275, 715)
    digits.settle()
    seen = digits.picture()[top : top + height, left : left + width].astype(int)
    style.evaluate("(element) => element.remove()")
    drawn = np.abs(seen - digits.scene.theme.background).max(axis=2) > 30
    assert 0.05 < drawn.mean() < 0.9
    off = np.abs(taken - seen).max(axis=2)
    assert np.median(off[drawn]) < 12, "the same colours in the same places as on the page"
    assert np.median(np.abs(taken[:, ::-1] - seen).max(axis=2)[drawn]) > 40, "which a mirrored one has not"


@pytest.mark.gl
def test_a_large_transparent_picture(digits: Visit, tmp_path: Path) -> None:
    digits.find("save-picture").click()
    digits.find("picture-width").locator("input").fill("2000")
    digits.find("picture-height").locator("input").fill("500")
    digits.find("picture-transparent").locator("input").check()
    picture = Image.open(saved(digits, "picture-save", tmp_path))
    assert picture.size == (2000, 500)
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert alpha[2, 2] == 0
    assert alpha.max() == 255
    assert digits.find("busy").count() == 0


def test_only_sizes_that_can_be_are_taken(digits: Visit) -> None:
    digits.find("save-picture").click()
    save, width = digits.find("picture-save"), digits.find("picture-width")
    for given, fits in (("9000", False), ("15", False), ("20.5", False), ("", False), ("8192", True), ("16", True)):
        width.locator("input").fill(given)
        digits.settle()
        assert width.locator("input").input_value() == given, "what is typed stays"
        assert save.is_enabled() == fits
        assert ("16 to 8192" in width.inner_text()) != fits
    digits.page.keyboard.press("Escape")
    digits.find("picture-dialog").wait_for(state="hidden")


def test_a_saved_view_opens_as_it_was(digits: Visit, visit: Callable[..., Visit], tmp_path: Path) -> None:
    digits.choose(theme="light", encoding="signed", scaling="map")
    digits.press("sample-3")
    camera = turned(digits)
    path = saved(digits, "save-scene", tmp_path)
    assert path.suffix == ".toml"
    written = SceneFile.load(path)
    subject = written.subject()
    look = written.look(subject.class_names)
    x, opened = written.tensor(subject), written.open
    with tv.explore(subject, x, open=opened, look=look, camera=written.camera, browser=False, port=0) as viewer:
        again = visit(viewer)
        assert again.camera().position == pytest.approx(camera.position, rel=1e-6)
        assert again.camera().focal_point == pytest.approx(camera.focal_point, rel=1e-6)
        assert again.scene.look.open == {"conv1"}
        assert (again.scene.look.encoding, again.scene.look.scaling) == ("signed", "map")
        assert again.scene.theme.name == "light"
        np.testing.assert_array_equal(again.scene.trace["input"].values, digits.scene.trace["input"].values)
        np.testing.assert_array_equal(again.points(), digits.points())
        again.close()


def test_a_saved_view_holds_the_drawing(digits: Visit, tmp_path: Path) -> None:
    digits.press("pad-clear")
    box = digits.find("digit-pad").bounding_box()
    digits.page.mouse.move(box["x"] + 50, box["y"] + 40)
    digits.page.mouse.down()
    digits.page.mouse.move(box["x"] + 120, box["y"] + 120, steps=6)
    digits.page.mouse.up()
    digits.settle()
    written = SceneFile.load(saved(digits, "save-scene", tmp_path))
    drawn = digits.scene.trace["input"].values
    assert drawn.max() > 0.5
    again = written.tensor(written.subject())[0].numpy()
    np.testing.assert_allclose(again, drawn, atol=0.51 / 255)


def test_a_file_larger_than_what_may_wait_for_a_browser_is_saved(lenet: Viewer, digits: Visit, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(70 * 2**20)
    offered = lenet._serving.call_soon(lenet._explorer.handover.offer, File("large.bin", "x/y", content)).result(5)
    with digits.page.expect_download() as download:
        digits.page.evaluate("({ name, url }) => stage.download(name, url)", offered)
    assert download.value.suggested_filename == "large.bin"
    assert Path(download.value.path()).read_bytes() == content
    digits.press("sample-3")
    assert digits.find("truth").inner_text().endswith("3"), "the connection has lasted"
