"""Where layers stand, how large they are, and how many texels they take."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tensorview.scene import Scene
from tensorview.scene.moving import shift_between


def item(scene: Scene, name: str):
    return next(p for p in scene.placements if p.name == name)


def overlapping(scene: Scene) -> list[tuple[str, str]]:
    """Pairs of layers whose boxes share space; of every layer the box of all its vertices and of its frame."""
    points = np.concatenate([scene.cells.points, scene.frames.points])
    layer = np.concatenate([scene.cells.layer, scene.frames.layer])
    boxes = [(points[layer == i].min(axis=0), points[layer == i].max(axis=0)) for i in range(len(scene.placements))]
    names = [p.name for p in scene.placements]
    return [
        (names[i], names[j])
        for (i, a), (j, b) in itertools.combinations(enumerate(boxes), 2)
        if (a[0] < b[1]).all() and (b[0] < a[1]).all()
    ]


@pytest.mark.parametrize("opened", [(), "*", ["conv1", "fc1"]], ids=str)
def test_no_two_layers_of_lenet_overlap(lenet, opened):
    assert overlapping(Scene(lenet, open=opened)) == []


@pytest.mark.parametrize("opened", [(), "*"], ids=str)
def test_no_two_layers_of_resnet_overlap(resnet18, opened):
    assert overlapping(Scene(resnet18, open=opened)) == []


def test_googlenet_has_a_scene():
    import torch

    from tensorview.capture import capture
    from tensorview.opening.torchvision_shim import import_torchvision

    import_torchvision()
    import torchvision.models

    model = torchvision.models.googlenet(init_weights=False, aux_logits=False).eval()
    scene = Scene(capture(model, torch.rand(1, 3, 64, 64)))
    assert len(Scene(scene.trace, "*").placements) == len(scene.trace.layers) + 1
    assert 15 <= len(scene.placements) <= 30
    assert overlapping(scene) == []
    joined = [p for p in Scene(scene.trace, "*").placements if p.kind == "merge"]
    assert len(joined) >= 9


def test_a_pooled_map_is_half_as_large_as_what_it_was_pooled_from(lenet):
    closed, opened = Scene(lenet), Scene(lenet, open="*")
    assert item(closed, "conv1").size[:2] == (28, 28)
    assert item(closed, "pool1").size[:2] == (14, 14)
    width = {p.name: opened.slabs[opened.slabs["layer"] == i]["size"] for i, p in enumerate(opened.placements)}
    np.testing.assert_allclose(width["conv1"][:, :2], 28, rtol=1e-6)
    np.testing.assert_allclose(width["pool1"][:, :2], 14, rtol=1e-6)
    np.testing.assert_allclose(width["conv2"][:, :2], 10, rtol=1e-6)


def test_maps_that_are_not_square_keep_their_proportion(chain):
    scene = Scene(chain(np.zeros((3, 8, 20)), np.zeros((4, 4, 10))))
    assert item(scene, "input").size[:2] == (20, 8)
    assert item(scene, "layer1").size[:2] == (10, 4)


def test_open_maps_stand_in_a_grid_that_reads_like_text(chain):
    scene = Scene(chain(np.zeros((1, 4, 4)), np.zeros((6, 4, 4))), open=["layer1"])
    slabs = scene.slabs[scene.slabs["layer"] == 1]
    np.testing.assert_array_equal(slabs["channel"], range(6))
    x, y = slabs["centre"][:, 0].reshape(2, 3), slabs["centre"][:, 1].reshape(2, 3)
    assert (np.diff(x, axis=1) > 4).all()
    assert (np.diff(y, axis=0) < -4).all()
    np.testing.assert_allclose(np.ptp(x, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.ptp(y, axis=1), 0, atol=1e-6)


def test_a_row_arrangement_is_one_row(chain):
    scene = Scene(chain(np.zeros((1, 4, 4)), np.zeros((6, 4, 4))), open=["layer1"], arrangement="row")
    slabs = scene.slabs[scene.slabs["layer"] == 1]
    np.testing.assert_allclose(np.ptp(slabs["centre"][:, 1]), 0, atol=1e-6)
    assert (np.diff(slabs["centre"][:, 0]) > 4).all()


def test_a_volume_stands_with_a_channel_a_row(chain):
    scene = Scene(chain(np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 4, 4))), open=["input"])
    assert item(scene, "input").grid == (2, 3)
    assert (scene.slabs["layer"] == 0).sum() == 6


def test_a_closed_box_is_thicker_the_more_channels_it_has(chain):
    counts = [2, 3, 6, 16, 64, 256, 2048]
    scene = Scene(chain(*(np.zeros((c, 2, 2)) for c in counts)))
    depth = [p.size[2] for p in scene.placements]
    assert (np.diff(depth) > 0).all()


def test_closed_boxes_and_strips_are_framed_in_the_hue_of_their_kind(lenet):
    scene = Scene(lenet)
    for i, placed in enumerate(scene.placements):
        of_layer = scene.frames.layer == i
        if placed.look == "cubes":
            continue
        assert of_layer.sum() == 8, placed.name
        assert (scene.frames.colours[of_layer] == scene.theme.hue(placed.kind)).all()


def test_layers_stand_in_order_from_the_person_away(lenet):
    depth = [p.centre[2] for p in Scene(lenet, open="*").placements]
    assert (np.diff(depth) < 0).all()


def test_many_maps_are_one_sheet(chain):
    scene = Scene(chain(np.zeros((1, 4, 4)), np.zeros((65, 4, 4)), np.zeros((64, 4, 4))), open="*")
    assert [p.look for p in scene.placements] == ["slab", "sheet", "slabs"]
    assert [(scene.slabs["layer"] == i).sum() for i in range(3)] == [1, 1, 64]


def page_area(scene: Scene) -> int:
    return math.prod(scene.page("cells").shape)


@pytest.mark.parametrize("budget", [4_000, 20_000, 200_000])
def test_what_would_burst_the_budget_is_averaged(chain, budget):
    trace = chain(np.zeros((3, 200, 200)), np.zeros((32, 100, 100)), np.zeros((512, 20, 20)), np.zeros(3000))
    scene = Scene(trace, open="*", budget=budget)
    assert budget / 3 < page_area(scene) <= budget
    assert any(p.factor > 1 for p in scene.placements)


def test_averaging_changes_neither_sizes_nor_places(chain):
    trace = chain(np.zeros((3, 50, 50)), np.zeros((9, 30, 30)), np.zeros(500))
    fine, coarse = Scene(trace, open="*"), Scene(trace, open="*", budget=900)
    for a, b in zip(fine.placements, coarse.placements, strict=True):
        assert a.size == b.size
        assert a.centre == b.centre


@pytest.mark.parametrize(
    "shape",
    [(3_000_000,), (9000, 20), (1, 3, 9000), (1, 9000, 3), (100_000, 1, 1), (2, 30, 40, 5000)],
    ids=str,
)
def test_no_shape_is_too_long_for_a_page(chain, shape):
    scene = Scene(chain(shape, shape), open="*")
    assert max(scene.page("cells").shape) <= 4096
    assert page_area(scene) <= 1_000_000
    assert max(Scene(chain(shape, shape)).page("cells").shape) <= 4096


def test_the_pages_do_not_grow_with_the_network(chain):
    scene = Scene(chain(*(np.zeros((8, 28, 28)) for _ in range(400))), open="*")
    assert page_area(scene) <= 1_000_000
    assert math.prod(scene.page("names").shape) <= 1_300_000


def test_where_an_animation_begins(chain):
    trace = chain(np.zeros((1, 4, 4)), np.zeros((6, 4, 4)))
    closed, opened = Scene(trace), Scene(trace, open="*")
    scale, offset = shift_between(closed, opened)
    for was, now, s, o in zip(closed.placements, opened.placements, scale, offset, strict=True):
        np.testing.assert_allclose(now.bounds * s + o, was.bounds, atol=1e-6)


def test_a_layer_that_was_not_there_grows_from_its_middle(chain):
    before = Scene(chain(np.zeros((1, 4, 4))))
    after = Scene(chain(np.zeros((1, 4, 4)), np.zeros((6, 4, 4))))
    scale, offset = shift_between(before, after)
    new = after.placements[1]
    np.testing.assert_allclose(new.bounds * scale[1] + offset[1], [new.centre] * 2)
    np.testing.assert_allclose(after.placements[0].bounds * scale[0] + offset[0], before.placements[0].bounds)


@pytest.mark.parametrize(
    "expanded", [("layer2", "layer2.0"), ("layer4", "layer4.0", "layer4.0.downsample"), "*"], ids=str
)
def test_no_two_layers_of_expanded_modules_overlap(resnet18, expanded):
    names = Scene(resnet18).modules.names if expanded == "*" else expanded
    for opened in ((), [layer.name for layer in resnet18 if layer.name.startswith("layer2.0")]):
        assert overlapping(Scene(resnet18, opened, expanded=frozenset(names))) == []


def test_what_follows_a_convolution_of_a_sequence_is_drawn_as_it_is(chain):
    sequence = np.zeros((4, 9))
    scene = Scene(
        chain(np.zeros((2, 9)), sequence, ("normalization", sequence), ("activation", sequence), ("linear", sequence))
    )
    assert [p.maps.style for p in scene.placements] == ["tokens", "rows", "rows", "rows", "tokens"]
    tokens = Scene(chain(np.zeros((2, 9)), ("linear", sequence), ("activation", sequence)))
    assert [p.maps.style for p in tokens.placements] == ["tokens"] * 3


def test_a_long_vector_is_hardly_taller_than_the_largest_map(chain):
    tall = Scene(chain((3, 224, 224), (64, 112, 112), (25088,))).placements[2]
    assert tall.size[1] == pytest.approx(1.25 * 224)
    short = Scene(chain((1, 28, 28), (784,))).placements[1]
    assert short.cell == 1


def test_a_matrix_far_longer_than_the_rest_leaves_the_rest_to_be_seen(chain):
    detector = Scene(chain((3, 160, 160), (16, 80, 80), ("other", (25200, 4)), ("other", (76800, 4))))
    image, features, boxes, more = (p.size for p in detector.placements)
    assert image[:2] == (160, 160)
    assert features[:2] == (80, 80)
    assert 4 * 160 < boxes[1] < more[1] < 10 * 160
    words = Scene(chain(("other", (16, 128)), ("other", (16, 128)), ("linear", (16, 50257))))
    token, _, logits = (p.size for p in words.placements)
    assert token[0] == 128
    assert 4 * 128 < logits[0] < 10 * 128
    assert overlapping(detector) == overlapping(words) == []


def test_the_hidden_layer_of_a_transformer_is_true_to_scale(chain):
    block = Scene(
        chain(("other", (128, 768)), ("linear", (128, 3072)), ("activation", (128, 3072)), ("linear", (128, 768)))
    )
    assert [p.size[0] for p in block.placements] == [768, 3072, 3072, 768]


def test_something_narrow_is_not_hidden_behind_something_wide(chain):
    scene = Scene(chain(np.zeros((1, 64, 64)), ("linear", np.zeros(64)), ("linear", np.zeros(9))))
    wide, narrow = scene.placements[:2]
    right = np.array([[p.size[0] / 2, 0, p.bounds[1, 2]] for p in (wide, narrow)])
    seen = scene.camera.project(right, 16 / 9)[:, 0]
    left = scene.camera.project(np.array([[-narrow.size[0] / 2, 0, narrow.bounds[1, 2]]]), 16 / 9)[0, 0]
    assert seen[1] - seen[0] > 0.8 * (seen[1] - left)
