"""Of a large network only what is shown is kept; what is then opened or looked at comes with one more pass."""

from __future__ import annotations

import asyncio
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import nn

from tensorview.app import passes
from tensorview.app.session import Session
from tensorview.capture import capture, tracer
from tensorview.opening import InputSpec, Subject
from tensorview.scene import Look, Scene


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks = (nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()) for _ in range(40))
        self.low, self.high = nn.Conv2d(3, 6, 1), nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.high(self.low(x)))


@pytest.fixture
def large(monkeypatch) -> Session:
    monkeypatch.setattr(passes, "WHOLE", 10_000)
    monkeypatch.setattr(tracer, "WHOLE", 10_000)
    torch.manual_seed(0)
    return Session(Subject("tower", Tower().eval(), InputSpec((3, 8, 8)), tuple("abcde")), torch.rand(1, 3, 8, 8))


def kept(session: Session) -> set[str]:
    trace = session.scene.trace
    return {layer.name for layer in (*trace.inputs, *trace) if layer.values is not None or layer.reduced}


def run_again(session: Session) -> None:
    session.show(*session.run(session.x))


def same_pixels(session: Session) -> None:
    whole = Scene(capture(session.subject.module, session.x), look=session.scene.look)
    apart = np.abs(session.scene.page("cells").pixels.astype(int) - whole.page("cells").pixels)
    assert apart.max() <= 1, "a mean that was taken in another order may round to the next of the 256 levels"
    assert (apart > 0).mean() < 0.001


def test_of_a_small_network_everything_is_kept() -> None:
    session = Session(Subject("tower", Tower().eval(), InputSpec((3, 8, 8))))
    assert all(layer.values is not None for layer in session.scene.trace)
    session.open_all()
    assert not session.lacks


def test_only_what_is_shown_is_kept(large) -> None:
    shown = {large.scene.all_layers[node.output].name for node in large.scene.nodes}
    assert kept(large) == shown
    assert len(shown) < len(large.scene.all_layers)
    assert not large.lacks
    same_pixels(large)
    assert large.predictions(5), "the classes are known"


@pytest.mark.parametrize(
    ("room", "opened", "passes_needed"), [(60_000, None, 1), (60_000, "low", 2), (10_000, None, 2)]
)
def test_the_first_pass_of_a_large_network_keeps_what_its_first_view_shows(monkeypatch, room, opened, passes_needed):
    monkeypatch.setattr(passes, "WHOLE", room)
    monkeypatch.setattr(tracer, "WHOLE", room)
    model, x = Tower().eval(), torch.rand(1, 3, 8, 8)
    calls = []
    model.head.register_forward_hook(lambda *_: calls.append(None))
    session = Session(Subject("tower", model, InputSpec((3, 8, 8)), tuple("abcde")), x, open=opened)
    assert len(calls) == passes_needed
    expected = capture(model, x)
    shown = {session.scene.all_layers[node.output].name for node in session.scene.nodes}
    assert kept(session) == shown
    for name in shown:
        layer, whole = session.scene.trace[name], expected[name].values
        if layer.reduced:
            np.testing.assert_allclose(layer.reduced["mean"], whole.mean(0), rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(layer.values, whole)
    same_pixels(session)


def test_what_is_opened_comes_with_another_pass(large) -> None:
    large.toggle("low")
    assert large.lacks
    run_again(large)
    assert not large.lacks
    assert large.scene.trace["low"].values is not None
    same_pixels(large)
    hidden = next(name for name in large.scene.modules.names if name.startswith("high."))
    large.toggle(f"{hidden}.1")
    run_again(large)
    same_pixels(large)
    large.close_all()
    assert not large.lacks, "nothing that is not there is shown"
    run_again(large)
    assert large.scene.trace["low"].values is None
    same_pixels(large)


def test_the_card_of_a_closed_box_has_exact_statistics(large) -> None:
    whole = capture(large.subject.module, large.x)
    assert large.layer("low").stats is None
    large.select("low")
    assert large.lacks
    run_again(large)
    assert large.layer("low").stats.max == whole["low"].stats.max
    np.testing.assert_array_equal(large.layer("low").stats.counts, whole["low"].stats.counts)
    large.select("")
    assert not large.lacks


def test_maps_are_sorted_when_their_values_have_come(large) -> None:
    large.change(sort="activation")
    large.toggle("low")
    run_again(large)
    order = next(p.order for p in large.scene.placements if p.name == "low")
    means = capture(large.subject.module, large.x)["low"].values.mean(axis=(1, 2))
    assert list(order) == np.argsort(-means).tolist()


def test_a_bound_of_memory_is_kept_with_everything_open(large) -> None:
    session = Session(large.subject, large.x, open="*", memory=20_000)
    trace = session.scene.trace
    held = [layer.values for layer in (*trace.inputs, *trace) if layer.values is not None]
    held += [part for layer in trace for part in (layer.reduced or {}).values()]
    assert 10_000 < sum(array.nbytes for array in held) <= 20_000
    assert not session.lacks
    assert any("exceed the budget" in warning for warning in trace.warnings)


def test_the_page_runs_the_model_again(large) -> None:
    from tensorview.app.explorer import Explorer
    from tensorview.app.server import make_server

    explorer = Explorer(make_server("tensorview-test-passes"), large)
    sent: list[str] = []
    explorer.publish = MagicMock(side_effect=lambda message: sent.append(message["kind"]))

    async def click() -> None:
        explorer.toggle_layer("low")
        explorer.select_layer("high.36-38")
        for _ in range(200):
            await asyncio.sleep(0.02)
            if not large.lacks and not explorer._completing:
                return

    asyncio.run(click())
    explorer.close()
    assert sent[0] == "scene"
    assert "patches" in sent[1:]
    same_pixels(large)
    maximum = next(row["value"] for row in explorer.state.card["rows"] if row["name"] == "maximum")
    assert maximum == f"{large.layer('high.36-38').stats.max:.7g}"


def test_a_layer_that_fails_leaves_what_ran(monkeypatch) -> None:
    class Breaks(Tower):
        def forward(self, x):
            super().forward(x)
            raise ValueError("too bright")

    monkeypatch.setattr(passes, "WHOLE", 10_000)
    monkeypatch.setattr(tracer, "WHOLE", 10_000)
    session = Session(Subject("tower", Breaks().eval(), InputSpec((3, 8, 8))))
    assert "too bright" in session.failure
    session.toggle("low")
    assert not session.lacks
    assert session.scene.trace["low"].values is not None


def test_a_look_that_asks_for_modules_is_met_by_the_first_pass(large) -> None:
    session = Session(large.subject, large.x, Look(expanded=frozenset({"high"})))
    assert not session.lacks
    same_pixels(session)
