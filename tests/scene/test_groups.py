"""Modules as boxes: what the first view shows, what a closed module stands for, and the way down to every layer."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.capture import Trace, capture
from tensorview.errors import SceneError
from tensorview.scene import Camera, Scene
from tensorview.scene.groups import Grouping
from tensorview.scene.moving import shift_between


class Block(nn.Module):
    """Two layers whose first is used again further down, so that the run hands on two values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(self.first(x)))


class Nested(nn.Module):
    """`stem`, a `body` of two blocks, the first of which runs twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1)
        self.body = nn.ModuleDict({"a": Block(3), "b": Block(3)})
        self.head = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.body["a"](x)
        x = self.body["a"](x)
        x = self.body["b"](x)
        return self.head(x.mean((2, 3)))


def nested_trace(seed: int = 0) -> Trace:
    torch.manual_seed(5)
    model = Nested().eval()
    torch.manual_seed(seed)
    return capture(model, torch.rand(1, 1, 9, 7))


@pytest.fixture(scope="module")
def nested() -> Trace:
    return nested_trace()


@functools.lru_cache(maxsize=1)
def structure(name: str) -> Trace:
    """A torchvision model's layers and edges, without what they hold."""
    from tensorview.opening.torchvision_shim import import_torchvision

    import_torchvision()
    import torchvision.models

    options = {"googlenet": {"init_weights": False, "aux_logits": False}}.get(name, {})
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(**options).eval()
    model = model.to_empty(device="cpu")
    size = 224 if name.startswith("vit") else 32
    trace = capture(model, torch.zeros(1, 3, size, size), layers=lambda *_: False)
    return trace


def names(scene: Scene) -> list[str]:
    return [p.name for p in scene.placements]


DEEP = {"resnet18": 15, "resnet152": 15, "googlenet": 15, "densenet121": 15, "vit_b_16": 15, "vgg16": 10}


@pytest.mark.parametrize("name", DEEP)
def test_deep_networks_open_as_about_twenty_boxes(name):
    trace = structure(name)
    scene = Scene(trace)
    assert DEEP[name] <= len(scene.placements) <= 30
    order = [layer.name for layer in (*trace.inputs, *trace.layers)]
    covered = [order[i] for node in scene.nodes for i in range(node.start, node.stop)]
    assert covered == order, "every layer is in one box, in order"
    assert all(stop - start > 1 for start, stop, _ in scene.modules._runs.values())
    closed = [layer.name for layer in scene.layers if layer.kind == "module"]
    assert closed
    assert set(closed) <= set(scene.modules.names)


@pytest.mark.parametrize("name", ["resnet152", "densenet121"])
def test_every_layer_is_reached_by_opening_boxes(name):
    """As a person does: whatever stands as a closed box is opened, until none is left."""
    trace = structure(name)
    modules = Scene(trace).modules
    expanded, most = modules.first_view(), 0
    while closed := [node.name for node in modules.nodes(expanded) if node.path]:
        expanded |= frozenset(closed)
        most += 1
    assert most <= 5, "a few clicks deep"
    assert [node.name for node in modules.nodes(expanded)] == [x.name for x in (*trace.inputs, *trace.layers)]


def test_a_small_network_has_no_boxes(lenet):
    scene = Scene(lenet)
    assert names(scene) == ["input", *(layer.name for layer in lenet)]
    assert scene.modules.names == []
    assert scene.rails == []


def test_a_module_that_runs_twice_has_two_boxes(nested):
    scene = Scene(nested, expanded=frozenset({"body", "body#2"}))
    assert names(scene) == ["input", "stem", "body.a", "add", "body.a#2", "body.b", "mean", "head"]
    assert [layer.module_name for layer in scene.layers if layer.kind == "module"] == ["body.a", "body.a", "body.b"]
    assert scene.layers[4].parents == ("add",)
    both = Scene(nested, "body.a#2", expanded=frozenset())
    assert names(both)[1:8] == ["stem", "body", "add", "body.a.first#2", "body.a.second#2", "body.a.relu#2", "body.b"]


def test_a_closed_module_is_what_it_hands_on(nested):
    scene = Scene(nested, expanded=frozenset())
    body = next(layer for layer in scene.layers if layer.name == "body#2")
    last = nested["body.b.relu"]
    np.testing.assert_array_equal(body.values, last.values)
    assert (body.shape, body.dtype, body.kind) == (last.shape, last.dtype, "module")
    assert body.parents == ("add",)
    assert nested["mean"].parents == ("body.b.relu",)
    assert next(layer for layer in scene.layers if layer.name == "mean").parents == ("body#2",)
    shared = sum(p.numel() for p in Block(3).parameters())
    assert body.info.parameter_count == 2 * shared
    assert "6 layers" in body.info.text


def test_a_closed_module_has_the_parameters_of_its_functions_each_once():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(2):
                x = nn.functional.linear(x, self.first.weight, self.first.bias)
                x = nn.functional.linear(x, self.second.weight).softmax(-1)
            return x

    trace = capture(nn.Sequential(Twice(), nn.Linear(4, 2)), torch.rand(1, 4))
    closed = next(layer for layer in Scene(trace, expanded=frozenset()).layers if layer.kind == "module")
    assert closed.info.parameter_count == 4 * 5 + 5 + 5 * 4


def test_a_module_that_hands_on_something_else_than_its_last_layer():
    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept, self.unused = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept = self.kept(x)
            self.unused(kept)
            return kept

    torch.manual_seed(0)
    trace = capture(nn.ModuleDict({"early": Early()})["early"], torch.rand(1, 3))
    assert trace.outputs == ("kept",)
    trace = capture(nn.Sequential(Early(), nn.ReLU()).eval(), torch.rand(1, 3))
    closed = Scene(trace, expanded=frozenset()).layers[1]
    np.testing.assert_array_equal(closed.values, trace["0.kept"].values)


@pytest.mark.parametrize("expanded", [(), ("body",), ("body", "body.a"), ("body", "body.a", "body.a#2", "body.b")])
def test_links_follow_the_graph_through_closed_modules(nested, expanded):
    scene = Scene(nested, expanded=frozenset(expanded))
    home = {nested_name: node.name for node in scene.nodes for nested_name in _inside(scene, node)}
    edges = {(home[a], home[b]) for a, b in (*nested.graph.edges, *nested.graph.input_edges)}
    edges = {(a, b) for a, b in edges if a != b}
    assert {(parent, layer.name) for layer in scene.layers for parent in layer.parents} == edges
    index = {p.name: i for i, p in enumerate(scene.placements)}
    drawn = {(scene.links.layer[a], scene.links.layer[b]) for a, b in scene.links.segments}
    assert {(a, b) for a, b in drawn if a != b} == {(index[a], index[b]) for a, b in edges}


def _inside(scene: Scene, node) -> list[str]:
    return [scene.all_layers[i].name for i in range(node.start, node.stop)]


@pytest.mark.parametrize("expanded", [(), ("body",), ("body", "body#2", "body.a", "body.b")], ids=str)
def test_an_update_is_a_fresh_scene(nested, expanded):
    second = nested_trace(seed=9)
    scene = Scene(nested, expanded=frozenset(expanded))
    scene.update(second)
    fresh = Scene(second, expanded=frozenset(expanded))
    for page in scene.pages:
        np.testing.assert_array_equal(page.pixels, fresh.page(page.name).pixels)
    for old, new in zip(scene.layers, fresh.layers, strict=True):
        np.testing.assert_array_equal(old.values, new.values)
        assert (old.name, old.kind, old.parents) == (new.name, new.kind, new.parents)


def facing(scene: Scene, name: str) -> Camera:
    """A camera close before a box's front, looking along the axis."""
    item = next(p for p in scene.placements if p.name == name)
    front = np.add(item.centre, (0, 0, item.size[2] / 2))
    return Camera(tuple(np.add(front, (0, 0, 0.1))), tuple(front))


def test_pointing_at_a_closed_module_reads_the_mean_of_what_it_hands_on(nested):
    scene = Scene(nested, expanded=frozenset())
    hit = scene.pick(facing(scene, "body#2").ray(50, 50, 100, 100))
    assert (hit.layer, hit.channel, hit.index) == ("body#2", None, None)
    last = nested["body.b.relu"].values
    assert scene.value(hit) == pytest.approx(last[:, hit.row, hit.column].astype(float).mean())
    feeding = scene.feeding(hit)
    assert [source.layer for source in feeding.sources] == ["add"]
    assert np.isfinite(feeding.marks).all()
    assert np.isfinite(scene.outline(hit)).all()


def test_names_that_are_no_module_are_refused_and_near_ones_offered(nested):
    with pytest.raises(SceneError, match=r"'body.c' to open; near names are .*body\.a"):
        Scene(nested, "body.c")


def test_opening_a_layer_opens_what_is_around_it(nested):
    scene = Scene(nested, "body.b.second", expanded=frozenset())
    assert scene.look.expanded == {"body#2", "body.b"}
    assert "body.b.second" in names(scene)
    assert "body" in names(scene), "the first run of the same module stays closed"


# Brackets ----------------------------------------------------------------------------------------------------------


def rail_of(scene: Scene, name: str):
    return next(rail for rail in scene.rails if rail.name == name)


def test_an_expanded_module_has_a_bracket_as_long_as_it_is(nested):
    scene = Scene(nested, "*")
    assert {rail.name for rail in scene.rails} == set(scene.modules.names)
    for rail in scene.rails:
        inside = scene.placements[rail.first : rail.last + 1]
        assert rail.start[2] == pytest.approx(max(p.bounds[1, 2] for p in inside))
        assert rail.end[2] == pytest.approx(min(p.bounds[0, 2] for p in inside))
        assert all(p.name.startswith(rail.name.partition("#")[0]) for p in inside)


def bracket_boxes(scene: Scene) -> list[tuple[str, np.ndarray, np.ndarray]]:
    tick = scene.edge * 0.01
    return [
        (
            r.name,
            np.subtract(np.minimum(r.start, r.end), (0, tick, 0)),
            np.add(np.maximum(r.start, r.end), (0, tick, 0)),
        )
        for r in scene.rails
    ]


def crossing_brackets(scene: Scene) -> list[tuple[str, str]]:
    """Pairs of brackets, and of a bracket and a layer, that share a place in the plane in which brackets stand."""
    every = bracket_boxes(scene)
    solid = every + [(p.name, *p.bounds) for p in scene.placements]
    found = []
    for i, (name, low, high) in enumerate(every):
        for other, low2, high2 in solid[i + 1 :]:
            if (low[1:] < high2[1:]).all() and (low2[1:] < high[1:]).all():
                found.append((name, other))
    return found


def test_brackets_overlap_neither_layers_nor_each_other(nested, resnet18):
    for trace in (nested, resnet18):
        assert crossing_brackets(Scene(trace, expanded=frozenset(Scene(trace).modules.names))) == []
        assert crossing_brackets(Scene(trace)) == []


def test_pointing_at_a_bracket_names_its_module(nested):
    scene = Scene(nested, "*")
    for name in ("body.b", "body#2"):
        rail = rail_of(scene, name)
        middle = (np.array(rail.start) + rail.end) / 2
        camera = Camera(tuple(np.add(middle, (scene.edge, 0, 0))), tuple(middle))
        assert scene.pick_module(camera.ray(50, 50, 100, 100)) == name
    item = scene.placements[0]
    assert scene.pick_module(facing(scene, item.name).ray(50, 50, 100, 100)) is None


# Animations --------------------------------------------------------------------------------------------------------


def begins(old: Scene, new: Scene) -> dict[str, np.ndarray]:
    """Where every layer of the new scene begins: `(2, 3)` corners."""
    scale, offset = shift_between(old, new)
    return {p.name: p.bounds * s + o for p, s, o in zip(new.placements, scale, offset, strict=True)}


def bounds(scene: Scene, name: str) -> np.ndarray:
    return next(p for p in scene.placements if p.name == name).bounds


def test_layers_come_out_of_the_box_that_opens(nested):
    closed, opened = Scene(nested, expanded=frozenset()), Scene(nested, "body.b.first")
    start = begins(closed, opened)
    for name in ("body.b.first", "body.b.second", "body.b.relu"):
        box = bounds(closed, "body#2" if name in names(opened) else name)
        np.testing.assert_allclose(start[name], box, atol=1e-5)
    np.testing.assert_allclose(start["head"], bounds(closed, "head"), atol=1e-5)


def test_layers_go_back_into_the_box_that_closes(nested):
    opened, closed = Scene(nested, "body.b.first", expanded=frozenset()), Scene(nested, expanded=frozenset())
    start = begins(opened, closed)
    inside = [bounds(opened, name) for name in names(opened) if name.startswith(("body.a#2", "body.b"))]
    around = np.stack([np.min([b[0] for b in inside], axis=0), np.max([b[1] for b in inside], axis=0)])
    np.testing.assert_allclose(start["body#2"], around, atol=1e-5)


# Grouping ----------------------------------------------------------------------------------------------------------


def test_modules_of_one_layer_are_no_boxes(chain):
    trace = chain(np.zeros((1, 4, 4)), np.zeros((2, 4, 4)))
    renamed = dataclasses.replace(trace.layers[0], name="deep.down.conv")
    grouping = Grouping((*trace.inputs, renamed), (renamed.name,))
    assert grouping.names == []
    assert [node.name for node in grouping.nodes(frozenset())] == ["input", "deep.down.conv"]


def test_a_module_that_is_interrupted_is_two_runs(chain):
    trace = chain(*(np.zeros((1, 4, 4)) for _ in range(6)))
    paths = ["input", "m.a", "m.b", "between", "m.a#2", "m.b#2"]
    layers = [
        dataclasses.replace(layer, name=name, parents=())
        for layer, name in zip((*trace.inputs, *trace.layers), paths, strict=True)
    ]
    grouping = Grouping(layers, ("m.b#2",))
    assert [node.name for node in grouping.nodes(frozenset())] == ["input", "m", "between", "m#2"]
    assert grouping.around("m.a#2") == {"m#2"}
    assert grouping.around("between") == frozenset()


def test_an_input_may_be_called_as_the_module_that_takes_it():
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.text = (nn.Sequential(nn.Linear(n, 9), nn.ReLU(), nn.Linear(9, 9)) for n in (6, 9))

        def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            return self.image(image) * self.text(text)

    trace = capture(Towers(), (torch.rand(1, 6), torch.rand(1, 9)))
    closed = Scene(trace, expanded=frozenset())
    assert {layer.name: layer.parents for layer in closed.layers} == {
        "image": (),
        "text": (),
        "image_": ("image",),
        "text_": ("text",),
        "mul": ("image_", "text_"),
    }
    assert [p.maps.size for p in closed.placements] == [6, 9, 9, 9, 9]
    opened = Scene(trace, "image_", expanded=frozenset())
    assert [layer.name for layer in opened.layers][2:] == ["image.0", "image.1", "image.2", "text_", "mul"]


def test_of_a_module_that_returns_a_number_as_well_the_vector_is_shown():
    class Coupling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift, self.scale = nn.Linear(4, 16), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.shift(x), self.scale(x).sum(1)

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.coupling, self.out = Coupling(), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y, determinant = self.coupling(x)
            return self.out(y), determinant

    model, x = Flow(), torch.rand(1, 4)
    closed = Scene(capture(model, x), expanded=frozenset())
    assert [(layer.name, layer.shape) for layer in closed.layers] == [
        ("input", (4,)),
        ("coupling", (16,)),
        ("out", (3,)),
    ]
    with torch.no_grad():
        np.testing.assert_array_equal(closed.layers[1].values, model.coupling(x)[0][0].numpy())
