"""The scene as a whole: marks stay in their corner, kinds have hues, a new input changes texels only."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Trace, capture
from tensorview.errors import SceneError
from tensorview.scene import THEMES, Scene
from tensorview.scene.palette import LEVELS, Theme, lookup_table

NAMES = tuple("0123456789")


def cell_colour(scene: Scene, layer: str, row: float, column: float, height: int, width: int) -> np.ndarray:
    """RGBA under the middle of a cell, through the texture coordinates of the front face's corners in space."""
    index = [p.name for p in scene.placements].index(layer)
    vertices = np.flatnonzero(scene.cells.layer == index)[:4]
    points, uv = scene.cells.points[vertices], scene.cells.tcoords[vertices]
    left, top = points[:, 0].min(), points[:, 1].max()
    x = left + (column + 0.5) / width * np.ptp(points[:, 0])
    y = top - (row + 0.5) / height * np.ptp(points[:, 1])
    # An affine map from (x, y, 1) to (u, v).
    to_uv = np.linalg.lstsq(np.c_[points[:, :2], np.ones(4)], uv, rcond=None)[0]
    u, v = np.array([x, y, 1]) @ to_uv
    page = scene.page("cells").pixels
    return page[int(v * page.shape[0]), int(u * page.shape[1])]


@pytest.fixture(scope="module")
def marked() -> Trace:
    """An image with a mark in its upper left corner, and an identity convolution's copy of it."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    nn.init.dirac_(model[0].weight)
    x = torch.zeros(1, 1, 6, 9)
    x[0, 0, 1, 2] = 1
    return capture(model, x)


@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
def test_a_mark_is_at_the_same_place_in_the_input_and_after_an_identity(marked, opened):
    scene = Scene(marked, open=opened)
    for layer in ("input", "0"):
        kind = marked[layer].kind
        table = lookup_table("kind", kind, scene.theme)
        for row in range(6):
            for column in range(9):
                expected = table[LEVELS - 1 if (row, column) == (1, 2) else 0]
                np.testing.assert_array_equal(cell_colour(scene, layer, row, column, 6, 9), expected)


def layer_texels(scene: Scene, kind: str) -> np.ndarray:
    """A mask of the page's texels that layers of a kind show on their fronts."""
    page = scene.page("cells").pixels
    mask = np.zeros(page.shape[:2], dtype=bool)
    size = np.array([page.shape[1], page.shape[0]] * 2)
    for slab in scene.slabs:
        if scene.placements[slab["layer"]].kind == kind:
            (u0, v0), (u1, v1) = np.floor((slab["uv"] * size)[:2] + 1e-3), np.ceil((slab["uv"] * size)[2:] - 1e-3)
            mask[int(v0) : max(int(v1), int(v0) + 1), int(u0) : max(int(u1), int(u0) + 1)] = True
            u, v = slab["side"] * size[:2]
            mask[int(v), int(u)] = True
    return mask


def test_changing_one_palette_entry_changes_its_kind_only(lenet):
    dark = THEMES["dark"]
    changed = Theme("x", dark.background, dark.text, dark.muted, dark.link, dark.highlight, True,
                    {**dark.hues, "pooling": (10, 250, 10)})  # fmt: skip
    before, after = Scene(lenet), Scene(lenet, theme=changed)
    differ = (before.page("cells").pixels != after.page("cells").pixels).any(axis=2)
    pooling = layer_texels(before, "pooling")
    assert differ.any()
    assert not (differ & ~pooling).any()
    assert (differ & pooling).sum() > 0.9 * pooling.sum()
    coloured = (before.frames.colours != after.frames.colours).any(axis=1)
    kinds = np.array([p.kind for p in before.placements])
    assert set(kinds[before.frames.layer[coloured]]) == {"pooling"}


def test_the_legend_lists_the_kinds_that_are_there(lenet):
    legend = Scene(lenet).legend()
    assert [kind for kind, _ in legend] == ["input", "convolution", "activation", "pooling", "reshape", "linear"]
    assert all(hue == THEMES["dark"].hue(kind) for kind, hue in legend)


def test_closed_vectors_and_outputs_show_their_values(chain):
    values = np.linspace(0, 1, 40, dtype=np.float32)
    scene = Scene(chain(np.zeros((1, 8, 8)), ("linear", values), ("linear", values[:10])))
    page = scene.page("cells").pixels
    table = lookup_table("kind", "linear", scene.theme)
    item = scene.placements[1]
    shown = [cell_colour(scene, "layer1", *divmod(k, item.maps.width), item.maps.height, item.maps.width)
             for k in range(40)]  # fmt: skip
    np.testing.assert_array_equal(shown, table[(values * 255 + 0.5).astype(int)])
    cubes = scene.slabs[scene.slabs["layer"] == 2]
    u, v = (cubes["uv"][:, :2] * [page.shape[1], page.shape[0]]).astype(int).T
    np.testing.assert_array_equal(page[v, u], table[(np.arange(10) / 9 * 255 + 0.5).astype(int)])


def other_input(trace_of: nn.Module) -> Trace:
    torch.manual_seed(11)
    return capture(trace_of, torch.rand(1, 1, 28, 28))


@pytest.mark.parametrize("opened", [(), "*", ["conv1"]], ids=str)
@pytest.mark.parametrize("choices", [{}, {"encoding": "signed"}, {"scaling": "map"}, {"theme": "light"}], ids=str)
def test_an_update_is_a_fresh_scene_and_its_patches_are_what_changed(lenet, opened, choices):
    from tensorview.models.lenet5 import LeNet5

    second = other_input(LeNet5().eval())
    scene = Scene(lenet, open=opened, class_names=NAMES, **choices)
    before = {page.name: page.pixels.copy() for page in scene.pages}
    slabs = copy.deepcopy(scene.slabs)
    patches = scene.update(second)
    fresh = Scene(second, open=opened, class_names=NAMES, **choices)
    for patch in patches:
        height, width = patch.pixels.shape[:2]
        before[patch.page][patch.row : patch.row + height, patch.column : patch.column + width] = patch.pixels
        assert patch.nbytes == patch.pixels.nbytes
    for page in scene.pages:
        np.testing.assert_array_equal(page.pixels, fresh.page(page.name).pixels)
        np.testing.assert_array_equal(page.pixels, before[page.name])
    np.testing.assert_array_equal(scene.slabs, slabs)
    assert scene.trace is second
    assert sum(p.nbytes for p in patches if p.page == "cells") == scene.page("cells").pixels.nbytes


def test_an_update_with_the_same_values_changes_no_text(lenet):
    scene = Scene(lenet, class_names=NAMES)
    assert [patch.page for patch in scene.update(lenet)] == ["cells"]


def test_an_update_changes_the_texts_that_read_otherwise(chain):
    def trace(*shares):
        return chain(np.zeros((1, 8, 8)), ("linear", np.array(shares)))

    scene = Scene(trace(0.5, 0.3, 0.2), class_names=("a", "b", "c"))
    patches = [patch for patch in scene.update(trace(0.5, 0.25, 0.25)) if patch.page == "shares"]
    assert len(patches) == 2
    fresh = Scene(trace(0.5, 0.25, 0.25), class_names=("a", "b", "c"))
    np.testing.assert_array_equal(scene.page("shares").pixels, fresh.page("shares").pixels)


def test_a_trace_of_another_network_is_refused(lenet, chain):
    scene = Scene(chain(np.zeros((1, 4, 4)), np.zeros((2, 4, 4))))
    with pytest.raises(SceneError, match=r"13 layers, not 2"):
        scene.update(lenet)
    with pytest.raises(SceneError, match=r"'layer1' of shape \(3, 4, 4\), not 'layer1' of \(2, 4, 4\)"):
        scene.update(chain(np.zeros((1, 4, 4)), np.zeros((3, 4, 4))))


def test_complex_values_leave_the_scene_as_it_was(chain):
    first = chain(np.zeros((1, 4, 4)), np.ones((2, 4, 4)))
    scene = Scene(first)
    with pytest.raises(SceneError, match="complex128"):
        scene.update(chain(np.zeros((1, 4, 4)), np.ones((2, 4, 4), dtype=complex)))
    assert scene.trace is first


def test_layers_without_values_are_drawn(chain):
    trace = chain((1, 8, 8), (6, 4, 4), ("linear", (40,)), ("linear", (3,)))
    for opened in ((), "*"):
        scene = Scene(trace, open=opened, class_names=("a", "b", "c"))
        assert [p.name for p in scene.placements] == ["input", "layer1", "layer2", "layer3"]
        assert not scene.page("shares").pixels.any()


def test_texts_go_when_values_are_no_longer_known(chain):
    scene = Scene(chain(np.zeros((1, 8, 8)), ("linear", np.arange(3.0))), class_names=("a", "b", "c"))
    assert scene.page("shares").pixels.any()
    scene.update(chain(np.zeros((1, 8, 8)), ("linear", (3,))))
    assert not scene.page("shares").pixels.any()


@pytest.mark.parametrize("shape", [(0,), (3, 0, 5), (0, 4), (2, 0)], ids=str)
@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
@pytest.mark.parametrize("scaling", ["layer", "map"])
def test_layers_without_cells_are_drawn(chain, shape, opened, scaling):
    scene = Scene(chain(np.zeros((1, 8, 8)), np.zeros(shape), np.ones((2, 4, 4)), np.zeros(shape)), open=opened,
                  scaling=scaling)  # fmt: skip
    assert len(scene.placements) == 4
    assert (scene.slabs["size"] > 0).all()
    scene.update(scene.trace)


def test_inputs_alone_are_a_scene():
    trace = capture(nn.Conv2d(1, 1, 3), torch.rand(1, 1, 8, 8))
    scene = Scene(Trace(trace.inputs, ()))
    assert [p.name for p in scene.placements] == ["input"]
    assert np.abs(scene.camera.project(scene.corners(), 16 / 9)).max() <= 1


@pytest.mark.parametrize("opened", [(), "*"], ids=["closed", "open"])
def test_a_single_map_is_a_slab_open_or_closed(chain, opened):
    scene = Scene(chain(np.zeros((1, 8, 8)), np.zeros((1, 8, 8))), open=opened)
    assert [p.look for p in scene.placements] == ["slab", "slab"]


def test_values_in_any_memory_order_are_drawn_the_same(chain):
    values = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    turned = np.asfortranarray(values)
    assert not turned.flags.c_contiguous
    plain, other = Scene(chain(values, values)), Scene(chain(turned, turned))
    np.testing.assert_array_equal(plain.page("cells").pixels, other.page("cells").pixels)


def test_links_join_parent_and_child_and_skips_leave_the_axis(resnet18):
    scene = Scene(resnet18, expanded=frozenset(Scene(resnet18).modules.names))
    index = {p.name: i for i, p in enumerate(scene.placements)}
    edges = {(index[a], index[b]) for a, b in (*resnet18.graph.edges, *resnet18.graph.input_edges)}
    pairs = set()
    for a, b in scene.links.segments:
        pairs.add((scene.links.layer[a], scene.links.layer[b]))
    assert {(a, b) for a, b in pairs if a != b} == edges
    add = next(layer for layer in resnet18 if layer.kind == "merge")
    trunk, skip = sorted((index[name] for name in add.parents), reverse=True)
    assert trunk == index[add.name] - 1
    of_skip = scene.links.points[np.isin(scene.links.layer, [skip, index[add.name]])]
    between = scene.placements[skip : index[add.name] + 1]
    assert of_skip[:, 1].max() > max(p.centre[1] + p.size[1] / 2 for p in between)
