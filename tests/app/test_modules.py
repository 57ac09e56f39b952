"""Going down into modules and back up again, and the list of layers beside the stage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.app.session import Session
from tensorview.app.texts import layer_rows
from tensorview.opening import InputSpec, Subject
from tensorview.scene_file import SceneFile


class Tower(nn.Module):
    """Three stages of ten blocks, so that the first view closes some."""

    def __init__(self) -> None:
        super().__init__()
        stages = (nn.Sequential(*(self.block() for _ in range(10))) for _ in range(3))
        self.low, self.middle, self.high = stages
        self.head = nn.Conv2d(1, 2, 1)

    def block(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.high(self.middle(self.low(x))))


@pytest.fixture
def session() -> Session:
    torch.manual_seed(0)
    return Session(Subject("tower", Tower().eval(), InputSpec((1, 5, 5))))


def shown(session: Session) -> list[str]:
    return [layer.name for layer in session.scene.layers]


def test_the_first_view_has_about_twenty_boxes(session):
    assert shown(session) == [
        "input", *(f"low.{i}" for i in range(10)), *(f"middle.{i}" for i in range(10)), "high", "head",
    ]  # fmt: skip


def test_a_box_opens_into_its_parts_and_closes_again(session):
    first = shown(session)
    assert session.toggle("high") is not None
    assert shown(session)[-11:] == [*(f"high.{i}" for i in range(10)), "head"]
    session.toggle("high.3")
    assert shown(session)[-9:-6] == ["high.3.0", "high.3.1", "high.4"]
    session.toggle("high")
    assert shown(session) == first
    session.toggle("high")
    assert "high.3.1" in shown(session), "what was open inside is open again"


def test_a_hidden_layer_is_opened_with_all_around_it(session):
    session.toggle("high.2.1")
    assert "high.2.1" in shown(session)
    assert "high.2.1" in session.scene.look.open
    session.toggle("low")
    session.toggle("low.0")
    assert {"low.0.0", "low.0.1"} <= set(shown(session)), "and so is a hidden module"


def test_what_does_not_exist_changes_nothing(session):
    scene = session.scene
    for name in ("nowhere", "high.99", ""):
        assert session.toggle(name) is None
        assert session.reveal(name) is None
    assert session.scene is scene


def test_selecting_shows_what_is_hidden_and_nothing_else(session):
    assert session.reveal("low.3") is None, "it stands there"
    assert session.reveal("high.5.0") is not None
    assert session.scene.look.expanded >= {"high", "high.5"}
    assert session.scene.look.open == frozenset()
    assert session.reveal("high.5") is None


def test_open_all_and_close_all(session):
    first = shown(session)
    session.open_all()
    assert shown(session) == [layer.name for layer in session.scene.all_layers]
    assert session.scene.look.open == set(shown(session))
    session.close_all()
    assert shown(session) == first
    assert session.scene.look.open == frozenset()


def test_a_new_input_leaves_open_what_is_open(session):
    session.toggle("high")
    names = shown(session)
    trace, failure = session.run(torch.ones(1, 1, 5, 5))
    assert failure == ""
    assert session.show(trace).patches is not None
    assert shown(session) == names
    closed = next(layer for layer in session.scene.layers if layer.name == "high.0")
    np.testing.assert_array_equal(closed.values, trace["high.0.1"].values)


def test_the_list_has_every_layer_and_every_module_before_its_parts(session):
    rows = {row["name"]: row for row in layer_rows(session.scene)}
    listed = list(rows)
    assert {layer.name for layer in session.scene.all_layers} | set(session.scene.modules.names) == set(listed)
    assert listed[:5] == ["input", "low", "low.0", "low.0.0", "low.0.1"]
    assert [rows[name]["depth"] for name in listed[:5]] == [0, 0, 1, 2, 2]
    assert [name for name in listed if rows[name]["shown"]] == [
        "input", "low", *(f"low.{i}" for i in range(10)), "middle", *(f"middle.{i}" for i in range(10)), "high", "head",
    ]  # fmt: skip
    assert [name for name in listed if rows[name]["open"]] == ["low", "middle"]
    assert rows["low"]["kind"] == "module"
    assert rows["low"]["shape"] == "20 layers"
    session.toggle("high")
    rows = {row["name"]: row for row in layer_rows(session.scene)}
    assert rows["high"]["open"]
    assert rows["high.0"]["shown"]
    assert not rows["high.0.0"]["shown"]


def test_a_scene_file_says_which_modules_are_expanded(session, tmp_path):
    saved = SceneFile.of(session.subject, session.scene)
    assert saved.expanded is None, "the first view needs no words"
    session.toggle("high")
    session.toggle("low")
    saved = SceneFile.of(session.subject, session.scene)
    saved.save(tmp_path / "view.toml")
    read = SceneFile.load(tmp_path / "view.toml")
    assert set(read.expanded) == {"middle", "high"}
    scene = read.scene(session.scene.trace, session.subject)
    assert [layer.name for layer in scene.layers] == shown(session)
    session.change(expanded=frozenset())
    assert SceneFile.of(session.subject, session.scene).expanded == ()
