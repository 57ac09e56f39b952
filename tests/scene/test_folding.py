"""Networks without modules open as about twenty boxes all the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tensorview.capture import Layer, structure
from tensorview.scene.folding import numbered_part
from tensorview.scene.groups import Grouping

torch.set_num_threads(1)


def layers(*parts: tuple[str, str, tuple[int, ...]]) -> list[Layer]:
    """A chain of `(name, kind, shape)` behind an input; merges are functions, all others modules."""
    made = [Layer("input", "input", "Input", "", 1, (3, 64, 64), "float32")]
    for name, kind, shape in parts:
        module = "" if kind == "merge" else name
        made.append(Layer(name, kind, kind, module, 1, shape, "float32", (made[-1].name,)))
    return made


def first_view(made: list[Layer]) -> list[str]:
    grouping = Grouping(made, [made[-1].name])
    return [node.name for node in grouping.nodes(grouping.first_view())]


def test_the_features_of_vgg_are_folded_at_their_poolings():
    rows = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M"]
    parts: list[nn.Module] = []
    width = 3
    for row in rows:
        parts += [nn.MaxPool2d(2)] if row == "M" else [nn.Conv2d(width, row, 3, padding=1), nn.ReLU()]
        width = width if row == "M" else row
    head = nn.Sequential(nn.Flatten(), *(nn.Linear(8192, 10) for _ in range(1)), nn.ReLU(), nn.Dropout())
    model = nn.Sequential()
    model.features, model.classifier = nn.Sequential(*parts), head
    with torch.device("meta"):
        trace = structure(model.to("meta"), (3, 64, 64))
    made = [*trace.inputs, *trace.layers]
    assert len(made) < 30
    made += layers(*((f"tail{i}", "activation", (10,)) for i in range(9)))[1:]  # beyond thirty, boxes are needed
    names = first_view(made)
    assert names[1:5] == ["features.0-4", "features.5-9", "features.10-16", "features.17-23"]
    for name, (start, stop, _) in Grouping(made, [])._runs.items():
        if name.startswith("features."):
            assert made[stop - 1].kind == "pooling"
            assert len({layer.shape[1:] for layer in made[start : stop - 1]}) == 1


def keras_resnet() -> list[Layer]:
    """Names as keras.applications.ResNet50 has them."""
    parts = [(f"conv1_{name}", "convolution", (64, 32, 32)) for name in ("pad", "conv", "bn", "relu")]
    parts += [("pool1_pad", "padding", (64, 34, 34)), ("pool1_pool", "pooling", (64, 16, 16))]
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(1, blocks + 1):
            for name in ("1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "2_relu", "3_conv", "3_bn", "add", "out"):
                parts.append(
                    (f"conv{stage}_block{block}_{name}", "convolution", (64 * stage, 64 // stage, 64 // stage))
                )
    return layers(*parts, ("avg_pool", "pooling", (320,)), ("predictions", "linear", (1000,)))


def test_numbered_names_are_folded_by_their_beginnings():
    made = keras_resnet()
    names = first_view(made)
    assert 20 <= len(names) <= 30
    assert names[0] == "input"
    assert names[-2:] == ["avg_pool", "predictions"]
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        assert [n for n in names if n.startswith(f"conv{stage}_")] == [
            f"conv{stage}_block{b + 1}" for b in range(blocks)
        ]
    grouping = Grouping(made, ["predictions"])
    assert {"conv2", "conv2_block1"} == grouping.around("conv2_block1_2_relu")


@pytest.mark.parametrize("count", [31, 100, 1000, 3000])
def test_a_row_without_names_or_sizes_is_folded_evenly(count):
    made = layers(*((str(i), "convolution", (4, 28, 28)) for i in range(count)))
    names = first_view(made)
    assert 4 <= len(names) <= 30
    grouping = Grouping(made, [made[-1].name])
    everything = grouping.nodes(frozenset(grouping.names))
    assert [node.name for node in everything] == [layer.name for layer in made]
    for layer in made[1:]:
        assert layer.name in {n.name for n in grouping.nodes(grouping.around(layer.name))}


@pytest.mark.parametrize("functions", [1, 6, 17])
def test_the_functions_behind_each_call_of_a_module_are_one_box_with_it(functions):
    parts: list[tuple[str, str, tuple[int, ...]]] = []
    for step in range(20):
        call = f"#{step + 1}" if step else ""
        parts += [(f"update.{name}{call}", "convolution", (8, 16, 16)) for name in ("a", "b")]
        parts += [(f"add{k}{call}", "merge", (8, 4 * (1 + k % 3), 8)) for k in range(functions)]
    names = first_view(layers(*parts))
    assert names[:2] == ["input", f"update-add{functions - 1}"]
    assert names[-1] == f"update-add{functions - 1}#20"
    assert len(names) == 1 + 20


@pytest.mark.parametrize(("blocks", "boxes"), [(20, 20), (25, 25), (26, 13), (38, 19), (39, 13), (95, 19)])
def test_a_long_row_of_blocks_opens_as_about_twenty_boxes(blocks, boxes):
    parts = [(f"body.{i}.{name}", "convolution", (8, 16, 16)) for i in range(blocks) for name in ("a", "b")]
    names = first_view(layers(*parts))
    assert len(names) == 1 + boxes
    together = -(-blocks // boxes)
    assert names[1] == ("body.0" if together == 1 else f"body.0-{together - 1}")
    grouping = Grouping(layers(*parts), ["body.0.a"])
    every = frozenset(grouping.names)
    assert len(grouping.nodes(every)) == 1 + 2 * blocks


@pytest.mark.parametrize(("blocks", "boxes"), [(16, 16), (30, 15), (60, 15)])
def test_a_stem_and_a_head_stand_for_themselves(blocks, boxes):
    parts: list[tuple[str, str, tuple[int, ...]]] = [
        ("stem", "convolution", (8, 16, 16)),
        ("act", "merge", (8, 16, 16)),
    ]
    for k in range(blocks):
        parts += [(f"body.{k}.{name}", "convolution", (8, 16, 16)) for name in ("a", "b")]
        parts.append((f"add{k}", "merge", (8, 16, 16)))
    names = first_view(layers(*parts, ("head", "linear", (10,))))
    assert names[:3] == ["input", "stem", "act"]
    assert names[3] == f"body.0-add{blocks // boxes - 1}"
    assert names[-1] == "head"
    assert len(names) == 3 + boxes + 1


def test_the_parts_of_a_list_are_called_as_they_are():
    parts: list[tuple[str, str, tuple[int, ...]]] = []
    for k in range(3):
        parts += [(f"down.{k}.{name}", "convolution", (8, 16, 16)) for name in ("a", "b.c", "b.d")]
        parts.append((f"pool{k}", "pooling", (8, 8, 8)))
    parts += [(f"net.{name}{call}", "linear", (8,)) for call in ("", "#2") for name in ("a", "b")]
    parts.insert(-2, ("between", "linear", (8,)))
    made = layers(*parts)
    grouping = Grouping(made, [made[-1].name])
    assert {"down.0", "down.0.b", "down.1", "down.2", "net", "net#2"} == set(grouping.names) - {"down.1.b", "down.2.b"}
    assert [node.name for node in grouping.nodes(frozenset())][1:] == [
        *("down.0", "pool0", "down.1", "pool1", "down.2", "pool2", "net", "between", "net#2")
    ]
    assert grouping.around("down.1.b.c") == {"down.1", "down.1.b"}


def test_blocks_that_are_not_nearly_all_are_left_in_their_module():
    parts = [(f"stem.{i}", "convolution", (8, 16, 16)) for i in range(15)]
    parts += [(f"body.{i}.{name}", "convolution", (8, 16, 16)) for i in range(28) for name in ("a", "b")]
    assert "body.0" in Grouping(layers(*parts), ["body.0.a"]).names
    assert "body.0-1" not in Grouping(layers(*parts), ["body.0.a"]).names


def test_few_functions_between_modules_stand_for_themselves():
    parts = [(f"{i}.{name}", "convolution", (8, 16, 16)) for i in range(12) for name in ("a", "b")]
    parts.insert(4, ("add", "merge", (8, 16, 16)))
    parts[8:8] = [(f"mul{k}", "merge", (8, 16, 16)) for k in range(5)]
    names = first_view(layers(*parts))
    assert [name for name in names if name[0] in "am"] == ["add", "mul0", "mul1", "mul2", "mul3", "mul4"]


def test_a_small_network_stands_as_it_is():
    made = layers(*((str(i), "convolution", (4, 28, 28)) for i in range(29)))
    assert Grouping(made, []).names == []


def test_a_box_is_never_called_as_a_layer_is():
    made = layers(*((f"b{i}{end}", "convolution", (4, 8, 8)) for i in range(12) for end in ("", "_a", "_b")))
    names = {layer.name for layer in made}
    assert not names & set(Grouping(made, []).names)


@pytest.mark.parametrize(
    ("name", "level", "part"),
    [
        ("block1_conv1", 1, "block1"),
        ("block_1_expand", 1, "block_1"),
        ("conv2_block1_1_relu", 1, "conv2"),
        ("conv2_block1_1_relu", 2, "conv2_block1"),
        ("conv2_block1_1_relu", 3, "conv2_block1_1"),
        ("conv2_block1_1_relu", 4, ""),
        ("conv_1", 1, ""),
        ("Relu", 1, ""),
        ("backbone.block1_conv1", 1, "backbone.block1"),
    ],
)
def test_the_numbered_part_of_a_name(name, level, part):
    assert numbered_part(name, level) == part
