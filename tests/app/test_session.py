"""What a page shows, without trame and without a browser."""

from __future__ import annotations

import gc

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from tensorview.app import wire
from tensorview.app.session import Session
from tensorview.app.texts import layer_rows
from tensorview.errors import CaptureError, OpenError, SceneError
from tensorview.opening import open_model
from tensorview.scene import Camera, Look

SIZE = (1280.0, 720.0)


class Picky(nn.Module):
    """Raises for whatever is bright, after its first layer."""

    input_shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)
        self.last = nn.Linear(72, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.first(x)
        if float(x.max()) > 0.5:
            raise ValueError("too bright")
        return self.last(kept.flatten(1))


@pytest.fixture
def session() -> Session:
    return Session(open_model("lenet5"))


def shares(session: Session) -> np.ndarray:
    return np.array([p.share for p in sorted(session.predictions(10), key=lambda p: p.index)])


def test_it_begins_with_a_sample_and_its_truth(session: Session) -> None:
    assert (session.truth, session.sample) == (7, 7)
    assert session.preview is not None
    assert session.preview.shape == (28, 28)
    with torch.no_grad():
        logits = session.subject.module(session.subject.preprocess(session.subject.samples[7].image))
    np.testing.assert_allclose(shares(session), torch.softmax(logits[0].double(), 0), atol=1e-7)


def test_a_new_input_changes_pixels_only(session: Session) -> None:
    scene = session.scene
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:15] = 255
    shown = session.show(*session.run(session.prepare_image(image, prepare=False)))
    assert session.scene is scene
    assert shown.patches
    assert (session.truth, session.sample, shown.failure) == (None, None, "")
    np.testing.assert_array_equal(session.preview, image)
    np.testing.assert_array_equal(scene.trace["input"].values[0], np.float32(image / 255))
    for patch in shown.patches:
        page = scene.page(patch.page).pixels
        height, width = patch.pixels.shape[:2]
        np.testing.assert_array_equal(
            page[patch.row : patch.row + height, patch.column : patch.column + width], patch.pixels
        )
    assert session.predictions(1)[0].name == "1"


def test_clearing_forgets_truth_and_picture(session: Session) -> None:
    session.show(*session.run(session.empty_input()))
    assert (session.truth, session.sample, session.preview) == (None, None, None)
    assert not session.scene.trace["input"].values.any()


def test_opening_keeps_the_trace_and_tells_the_scene_that_was(session: Session) -> None:
    first, trace = session.scene, session.scene.trace
    assert session.toggle("conv1") is first
    session.toggle("output")
    assert session.scene.look.open == {"conv1", "output"}
    assert session.scene.trace is trace
    assert session.toggle("conv9") is None
    session.change(theme="light", encoding="signed")
    assert session.scene.look.open == {"conv1", "output"}, "another look leaves open what is open"
    session.toggle("output")
    assert session.scene.look.open == {"conv1"}
    session.reset_look()
    assert not session.scene.look.open
    assert session.scene.theme.name == "light"


def test_a_camera_that_was_asked_for_is_the_first_one() -> None:
    asked = Camera((1.0, 2.0, 300.0), (1.0, 2.0, 0.0))
    assert Session(open_model("lenet5"), camera=asked).first_camera(300, 200) == asked
    session = Session(open_model("lenet5"))
    for aspect in (0.6, 1.0, 2.4):
        seen = session.first_camera(aspect * 500, 500).project(session.scene.corners(), aspect)
        assert np.abs(seen).max() <= 1


def test_the_first_view_keeps_clear_of_what_lies_over_it(session: Session) -> None:
    session.open_all()
    width, height, top, bottom = 700, 500, 80, 60
    for part in ((0, 0), (top, 0), (top, bottom)):
        camera = session.first_camera(width, height, *part)
        seen = camera.project(session.scene.corners(), width / height)
        y = (1 - seen[:, 1]) / 2 * height
        assert y.min() >= part[0]
        assert y.max() <= height - part[1]
        assert np.abs(seen[:, 0]).max() <= 1
        filled = max(np.ptp(y) / (height - sum(part)), np.ptp(seen[:, 0]) / 2)
        assert filled == pytest.approx(0.95, abs=0.01)


def test_what_is_under_the_pointer_is_what_is_drawn_there(session: Session) -> None:
    camera = session.first_camera(*SIZE)
    scene = session.scene
    item = next(p for p in scene.placements if p.name == "input")
    corner = np.asarray(item.centre) + np.array([-14 + 3.5, 14 - 0.5, item.size[2] / 2])  # row 0, column 3
    x, y = camera.project(corner[None], SIZE[0] / SIZE[1])[0]
    hit = session.hit(camera, (x + 1) / 2 * SIZE[0], (1 - y) / 2 * SIZE[1], *SIZE)
    assert hit is not None
    assert (hit.layer, hit.index) == ("input", (0, 0, 3))
    assert session.hit(camera, 1, 1, *SIZE) is None


def test_a_pass_that_raises_shows_what_ran_and_recovers() -> None:
    session = Session(open_model(Picky().eval()))
    whole = [layer.name for layer in session.scene.all_layers]
    bright = session.prepare_image(np.full((8, 8), 255, np.uint8), prepare=False)
    trace, failure = session.run(bright)
    assert "too bright" in failure
    assert session.show(trace, failure).patches is None, "another scene"
    assert [layer.name for layer in session.scene.all_layers] == ["input", "first"]
    assert session.predictions(5) == []
    session.show(*session.run(session.empty_input()))
    assert [layer.name for layer in session.scene.all_layers] == whole
    assert session.failure == ""


def test_what_cannot_be_shown_is_refused_in_a_sentence() -> None:
    with pytest.raises(SceneError, match="conv1"):
        Session(open_model("lenet5"), open="conv11")
    with pytest.raises(CaptureError):
        Session(open_model("lenet5"), torch.zeros(1, 3, 28, 28))
    with pytest.raises(OpenError):
        Session(open_model("lenet5")).prepare_image(np.array(["no numbers"]), prepare=True)
    with pytest.raises(SceneError, match="theme"):
        Session(open_model("lenet5"), look=Look(theme="pink"))


def grown(predictions: int) -> int:
    """Bytes of resident memory that so many predictions leave behind, after as many as it takes to be warm."""
    session, process = Session(open_model("lenet5"), open="*"), psutil.Process()
    generator = np.random.default_rng(0)
    before = 0
    for number in range(100 + predictions):
        if number == 100:
            gc.collect()
            before = process.memory_info().rss
        image = generator.integers(0, 256, (28, 28), dtype=np.uint8)
        shown = session.show(*session.run(session.prepare_image(image, prepare=True)))
        assert shown.patches is not None
        wire.patches_message(shown.patches, 1)
        session.predictions(10)
    gc.collect()
    return process.memory_info().rss - before


def test_a_thousand_predictions_leave_nothing_behind() -> None:
    """What is left is the cache of texts that were drawn, which is bounded; an input's activations are 100 KB."""
    assert grown(1000) < 12 * 2**20


def test_only_an_input_that_a_person_could_fill_is_blank(session: Session) -> None:
    assert not session.is_blank, "a sample"
    session.show(*session.run(session.empty_input()))
    assert session.is_blank
    session.show(*session.run(session.prepare_image(np.eye(28, dtype=np.uint8) * 255, prepare=False)))
    assert not session.is_blank
    table = Session(open_model(nn.Sequential(nn.Linear(4, 3)), input_shape=(4,)), torch.rand(1, 4))
    assert not table.is_blank, "nobody can draw a row of a table"


class Sum(nn.Module):
    """The sum of two inputs, the second of which may be of another size."""

    input_shape = (2, 4, 4)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return torch.relu(left + right)


def test_an_input_is_hidden_and_shown_again():
    session = Session(open_model(Sum()), (torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4)))
    first = session.scene
    assert session.hide("left") is first
    assert [x.name for x in session.scene.layers] == [x.name for x in first.layers if x.name != "left"]
    assert [(row["name"], row["hidden"]) for row in layer_rows(session.scene)][:3] == [
        ("left", True), ("right", False), (first.layers[2].name, None),
    ]  # fmt: skip
    assert wire.shift_between(first, session.scene) is not None
    with pytest.raises(SceneError, match="every input is hidden"):
        session.hide("right")
    assert session.scene.look.hidden == {"left"}
    assert session.hide("up") is None
    session.show(*session.run((torch.ones(1, 2, 4, 4), torch.ones(1, 2, 1, 4))))
    assert session.scene.look.hidden == {"left"}, "other shapes are another scene of the same inputs"
    session.hide("left")
    assert session.scene.look.hidden == frozenset()
    session.hide("right")
    session.toggle("right")
    assert session.scene.look.open == {"right"}
    assert session.scene.look.hidden == frozenset(), "what is opened is seen"
    session.hide("right")
    session.reset_look()
    assert session.scene.look.hidden == frozenset()


def test_one_input_has_nothing_to_hide(session: Session) -> None:
    assert {row["hidden"] for row in layer_rows(session.scene)} == {None}
