"""Choices about a scene, and what is said about those that do not exist."""

from __future__ import annotations

import numpy as np
import pytest

from tensorview.errors import SceneError
from tensorview.scene import THEMES, Look, Scene


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"encoding": "jet"}, r"no encoding 'jet'.*kind, sequential, signed"),
        ({"scaling": "global"}, r"no scaling 'global'.*layer, map, fixed"),
        ({"aggregate": "sum"}, r"no aggregate 'sum'.*mean, max"),
        ({"arrangement": "ring"}, r"no arrangement 'ring'.*grid, row"),
        ({"theme": "sepia"}, r"no theme 'sepia'.*'dark', 'light'"),
        ({"value_range": (1.0, 0.0)}, r"value_range is 1\.0 to 0\.0"),
        ({"value_range": (0.0, float("inf"))}, "value_range"),
        ({"budget": 0}, "budget is 0"),
        ({"colour": "red"}, r"no choice 'colour'; it has open, expanded, theme"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_choice_that_does_not_exist_is_one_sentence(lenet, choices, says):
    with pytest.raises(SceneError, match=says) as raised:
        Scene(lenet, **choices)
    assert "\n" not in str(raised.value)


def test_near_names_of_a_layer_are_offered(lenet):
    with pytest.raises(SceneError, match=r"no layer 'conv3' to open.*conv[12]"):
        Scene(lenet, open=["conv3"])
    with pytest.raises(SceneError, match=r"no layer 'zzz' to open.*input"):
        Scene(lenet, open="zzz")


@pytest.mark.parametrize(
    ("opened", "expected"), [([], 0), ((), 0), ("conv1", 1), (["conv1", "fc1"], 2), ("*", 13), (["*", "conv1"], 13)]
)
def test_what_is_open(lenet, opened, expected):
    assert len(Scene(lenet, open=opened).look.open) == expected


def test_a_look_is_changed_field_by_field(lenet):
    look = Look(theme="light", encoding="signed", open=frozenset({"conv1"}))
    scene = Scene(lenet, look=look, encoding="kind")
    assert scene.theme is THEMES["light"]
    assert scene.look == look.changed(encoding="kind", expanded=frozenset())
    assert scene.look.open == {"conv1"}
    assert Scene(lenet, [], look=look).look.open == frozenset()


def test_nothing_to_draw_is_said(chain):
    from tensorview.capture import Trace

    with pytest.raises(SceneError, match="nothing to draw"):
        Scene(Trace((), ()))


def test_complex_values_are_named(chain):
    with pytest.raises(SceneError, match=r"layer 'layer1' holds complex64 values"):
        Scene(chain(np.zeros((1, 4, 4)), np.zeros((1, 4, 4), dtype=np.complex64)))
