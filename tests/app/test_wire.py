"""Messages to the browser, unpacked as the browser unpacks them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.app import rules, wire
from tensorview.capture import Trace, capture
from tensorview.scene import Camera, Scene
from tensorview.scene.picking import Hit


def trace_of(seed: int) -> Trace:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)).eval()
    torch.manual_seed(seed)
    return capture(module, torch.rand(1, 1, 8, 8))


def floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<f4").reshape(-1, 3)


def pixels_of(page: dict[str, Any]) -> np.ndarray:
    flat = np.frombuffer(page["pixels"], np.uint8)
    return flat.reshape(page["height"], page["width"], -1)


def test_a_scene_message_holds_the_whole_scene() -> None:
    scene = Scene(trace_of(0), ["0"])
    message = wire.scene_message(scene, 7, scene.camera)
    assert (message["kind"], message["serial"]) == ("scene", 7)
    cells = message["surfaces"]["cells"]
    np.testing.assert_array_equal(floats(cells["points"]), scene.cells.points)
    quads = np.frombuffer(cells["quads"], "<i4").reshape(-1, 4)
    np.testing.assert_array_equal(quads, scene.cells.quads)
    assert quads.max() < len(scene.cells.points)
    assert len(np.frombuffer(cells["layers"], "<i4")) == len(scene.cells.points)
    for page in scene.pages:
        sent = message["pages"][page.name]
        np.testing.assert_array_equal(pixels_of(sent).squeeze(), page.pixels.squeeze())
        assert (sent["colour"] is None) == (page.pixels.ndim == 3)
    depth = np.frombuffer(message["depth"], "<f4")
    np.testing.assert_allclose(depth, [p.centre[2] for p in scene.placements], rtol=1e-6)


def test_patches_turn_the_old_pages_into_the_new_ones() -> None:
    scene = Scene(trace_of(0), ["0"])
    old = {page.name: page.pixels.copy() for page in scene.pages}
    message = wire.patches_message(scene.update(trace_of(1)), 3, t=12.5)
    assert (message["kind"], message["serial"], message["t"]) == ("patches", 3, 12.5)
    for patch in message["patches"]:
        rows = slice(patch["row"], patch["row"] + patch["height"])
        columns = slice(patch["column"], patch["column"] + patch["width"])
        old[patch["page"]][rows, columns] = pixels_of(patch).reshape(old[patch["page"]][rows, columns].shape)
    for page in scene.pages:
        np.testing.assert_array_equal(old[page.name], page.pixels)
    sent = sum(len(patch["pixels"]) for patch in message["patches"])
    assert sent <= 1.2 * sum(page.pixels.nbytes for page in scene.pages)


def test_an_animation_begins_where_the_layers_were() -> None:
    trace = trace_of(0)
    old, new = Scene(trace), Scene(trace, ["0"])
    plain = wire.scene_message(new, 2)
    assert wire.with_animation(plain, old, new, 0) is plain, "at once"
    moved = wire.with_animation(plain, old, new, 300)["animation"]
    assert moved["milliseconds"] == 300
    scale, offset = floats(moved["scale"]), floats(moved["offset"])
    for i, (was, now) in enumerate(zip(old.placements, new.placements, strict=True)):
        np.testing.assert_allclose(now.bounds * scale[i] + offset[i], was.bounds, atol=1e-3)


def test_a_camera_goes_there_and_back() -> None:
    camera = Camera((1.0, 2.0, 30.0), (0.5, 0.0, -4.0), (0.0, 1.0, 0.0), 20.0)
    assert wire.camera_from(wire.camera_values(camera)) == camera
    assert rules.camera(wire.camera_values(camera)) == camera


@pytest.mark.parametrize(
    "changed",
    [
        {"position": [0, 0, 0], "focalPoint": [0, 0, 0]},
        {"viewUp": [0.0, 0.0, 1.0], "position": [0, 0, 5], "focalPoint": [0, 0, 0]},
        {"viewAngle": 0},
        {"viewAngle": 179},
        {"position": [1, 2]},
        {"position": [1, 2, float("nan")]},
        {"position": "abc"},
        {"extra": 1},
    ],
)
def test_a_camera_that_sees_nothing_is_refused(changed: dict[str, Any]) -> None:
    good = {"position": [1, 2, 30], "focalPoint": [0, 0, 0], "viewUp": [0, 1, 0], "viewAngle": 20}
    rules.camera(good)
    with pytest.raises(ValueError, match=r"."):
        rules.camera({**good, **changed})


def test_hover_lines_outline_the_cell_and_what_feeds_it() -> None:
    scene = Scene(trace_of(0), ["0", "1"])
    placement = next(i for i, p in enumerate(scene.placements) if p.name == "1")
    hit = Hit("1", placement, 2, 4, 4, (2, 4, 4), 1.0)
    sent = wire.hover_arrays(scene.outline(hit), scene.feeding(hit), scene)
    segments = np.frombuffer(sent["segments"], "<i4").reshape(-1, 2)
    assert len(segments) == 4 + 4 + 1, "the cell, the one cell that feeds it, and the line between them"
    points = floats(sent["points"])
    assert segments.max() < len(points)
    assert len(np.frombuffer(sent["colours"], "u1").reshape(-1, 3)) == len(points)
    cell = points[-5:]
    np.testing.assert_allclose(cell[:4], scene.outline(hit), rtol=1e-5)
    np.testing.assert_array_equal(cell[4], cell[0])


def test_the_selected_layer_is_framed() -> None:
    scene = Scene(trace_of(0), ["0"])
    assert wire.scene_message(scene, 1)["selected"] is None
    message = wire.scene_message(scene, 1, selected="1")
    assert message["selected"] == wire.selected_message(scene, 1, "1")["selected"]
    item = next(item for item in scene.placements if item.name == "1")
    points = floats(message["selected"]["points"])
    assert (points.min(axis=0) < item.bounds[0]).all()
    assert (points.max(axis=0) > item.bounds[1]).all()
    assert set(np.frombuffer(message["selected"]["layers"], "<i4")) == {item.layer}
    assert {tuple(c) for c in np.frombuffer(message["selected"]["colours"], np.uint8).reshape(-1, 3)} == {
        scene.theme.highlight
    }


def test_a_layer_that_is_not_shown_is_not_framed() -> None:
    assert wire.selected_message(Scene(trace_of(0)), 1, "no such layer")["selected"] is None
