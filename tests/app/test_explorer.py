"""A page from its start to its end, without a browser."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trame.app import core
from trame_vtk.modules.vtk.serializers import cache

from tensorview.app import explore
from tensorview.app.explore import lab
from tensorview.app.explorer import Explorer
from tensorview.app.server import make_server
from tensorview.app.session import Session
from tensorview.app.words import Words
from tensorview.errors import OpenError, TensorviewError
from tensorview.opening import InputSpec, Subject, open_model
from tensorview.scene.picking import Hit
from tensorview.training import Trainer


def test_vtk_calls_no_python_when_it_is_deleted() -> None:
    """In a garbage collection such a call may find an emptied function, and end the process."""
    with explore("lenet5", browser=False, port=0) as viewer:
        stage = viewer._explorer._stage
        drawn = [part.actor for part in (*stage.surfaces.values(), *stage.lines.values())]
        everything = [stage.window, stage.renderer, *drawn, *(actor.GetMapper() for actor in drawn)]
        assert cache.PROP_CACHE, "the stage has been described for browsers that may come"
        assert [each.GetClassName() for each in everything if each.HasObserver("DeleteEvent")] == []
    assert not cache.PROP_CACHE, "trame-vtk knows objects by their address, which the next page may use again"


def test_pages_that_have_ended_are_collected() -> None:
    alive = []
    for _ in range(4):
        with explore("lenet5", browser=False, port=0) as viewer:
            alive.append(weakref.ref(viewer.session))
        del viewer
    gc.collect()
    assert sum(each() is not None for each in alive) <= 1, "trame keeps the newest"


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that is in use."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


class Costly(nn.Module):
    """Counts its passes."""

    passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return x


def test_a_port_in_use_is_said_before_the_model_runs(busy: int) -> None:
    model = Costly()
    with pytest.raises(TensorviewError, match=f"Port {busy}"):
        explore(model, torch.zeros(1, 4), port=busy, browser=False)
    assert model.passes == 0


def test_a_model_is_opened_by_name_with_weights_of_its_own_or_none(tmp_path: Path) -> None:
    shape = {"x": torch.rand(1, 1, 28, 28), "port": 0, "browser": False}
    drawn = open_model("lenet5", random_weights=True).module.state_dict()
    with explore("lenet5", random_weights=True, **shape) as viewer:
        assert torch.equal(viewer.session.subject.module.state_dict()["conv1.weight"], drawn["conv1.weight"])
    torch.save({name: tensor + 1 for name, tensor in drawn.items()}, tmp_path / "weights.pt")
    with explore("lenet5", weights=tmp_path / "weights.pt", **shape) as viewer:
        assert torch.equal(viewer.session.subject.module.state_dict()["conv1.weight"], drawn["conv1.weight"] + 1)
        with pytest.raises(OpenError, match="lenet5 is open already"):
            explore(viewer.session.subject, random_weights=True, **shape)


def test_the_first_input_may_be_one_number_a_sample() -> None:
    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time, self.conv = nn.Embedding(10, 4), nn.Conv2d(4, 4, 1)

        def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) + self.time(t)[:, :, None, None]

    for given in (torch.tensor([3]), torch.rand(1, 4, 8, 8)), {"t": torch.tensor([3]), "x": torch.rand(1, 4, 8, 8)}:
        with explore(Timed(), given, port=0, browser=False) as viewer:
            assert [layer.name for layer in viewer.session.scene.layers] == ["t", "x", "conv", "time", "add"]
    with explore(nn.Embedding(5, 3), torch.tensor([1]), port=0, browser=False) as viewer:
        assert viewer.session.scene.layers[1].shape == (3,)


@pytest.mark.parametrize(
    "wrong", [{"port": None}, {"model": "no-such-model"}, {"open": "no-such-layer"}, {"token": "short"}, {"memory": 0}]
)
def test_a_page_that_could_not_be_opened_is_not_kept(wrong: dict[str, Any], busy: int) -> None:
    before = set(core.AVAILABLE_SERVERS)
    arguments = {"model": "lenet5", "port": 0, **wrong}
    arguments["port"] = busy if arguments["port"] is None else arguments["port"]
    with pytest.raises(TensorviewError):
        explore(arguments.pop("model"), browser=False, **arguments)
    assert set(core.AVAILABLE_SERVERS) == before


def test_a_page_that_fails_at_its_start_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no loop")

    monkeypatch.setattr("tensorview.app.server.start_core", fail)
    before = set(core.AVAILABLE_SERVERS)
    with pytest.raises(RuntimeError, match="no loop"):
        explore("lenet5", port=0, browser=False)
    assert set(core.AVAILABLE_SERVERS) == before


def test_a_lab_that_could_not_be_opened_closes_its_trainer(tmp_path: Path, busy: int) -> None:
    trainer = Trainer(tmp_path / "run")
    process: Any = trainer._process
    with pytest.raises(TensorviewError, match=f"Port {busy}"):
        lab(trainer, port=busy, browser=False)
    process.wait(60)
    assert trainer._process is None


def test_words_wait_for_one_another_and_are_said_in_the_end() -> None:
    now, said, sent = "", [], []
    words = Words(lambda: said.append(now), lambda: sent.append(len(said)))

    async def speak() -> None:
        nonlocal now
        words.describe(60.0, 60.0)
        assert (said, sent) == ([""], []), "the first at once"
        now = "later"
        words.describe(60.0, 0.05)
        words.describe(60.0, 0.05)
        assert said == [""], "so soon after that"
        while len(said) < 2:
            await asyncio.sleep(0.01)
        assert sent == [2], "what has waited is sent by itself"
        words.describe(60.0, 0.05)
        now = "now"
        words.tell()
        await asyncio.sleep(0.2)
        assert said == ["", "later", "now"], "what waited is said with what does not"

    asyncio.run(asyncio.wait_for(speak(), 60))


def test_what_is_pointed_at_is_forgotten_with_the_scene_that_it_was_in() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.left(x) if x.sum() > 0 else self.right(x)

    x = torch.ones(1, 4)
    explorer = Explorer(
        make_server("tensorview-test-fork"), Session(Subject("fork", Fork().eval(), InputSpec((4,))), x)
    )
    explorer.publish = lambda message: None
    explorer.hovered = Hit("left", 1, 0, 0, 0, 0, 1.0)
    assert asyncio.run(explorer.show(lambda: -x))
    assert [layer.name for layer in explorer.session.scene.trace.layers] == ["right"]
    assert explorer.hovered is None
    assert explorer.state.readout is None
    explorer.close()


def test_the_card_of_a_layer_that_goes_into_a_closed_module_is_closed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    explorer = Explorer(
        make_server("tensorview-test-card"), Session(Subject("two", model.eval(), InputSpec((4,))), torch.ones(1, 4))
    )
    explorer.publish = lambda message: None

    async def visit() -> None:
        explorer.select_layer("1.0")
        assert explorer.state.card["name"] == "1.0"
        explorer.toggle_layer("0")
        assert explorer.state.card["name"] == "1.0", "another layer opens"
        explorer.toggle_layer("1")
        assert (explorer.state.card, explorer.state.selected, explorer.session.selected) == (None, "", "")
        explorer.select_layer("1")
        explorer.toggle_layer("1")
        assert explorer.state.card["name"] == "1", "what has been opened is still looked at"

    asyncio.run(visit())
    explorer.close()
