"""A session that shows a recording: what it does with files that are broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import tensorview as tv
from tensorview.app.recorded import RecordedSession
from tensorview.runs import Run

BOTH = ("activations", "weights")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with tv.watch(nn.Linear(3, 2), torch.ones(1, 3), tmp_path, every=1) as run:
        run.step(loss=1.0)
        run.step(loss=0.5)
    return tmp_path


def test_a_newest_step_that_is_broken_is_passed_over_with_a_sentence(path: Path) -> None:
    last = path / "step-00000002.safetensors"
    last.write_bytes(last.read_bytes()[:-5])
    session = RecordedSession(Run.open(path))
    assert session.step == 1
    assert "step-00000002.safetensors" in session.failure
    assert session.failure.endswith("Step 1 is shown, which is whole.")
    _, said = session.run(0)
    assert said == "", "it is said once"


def test_a_run_whose_steps_are_all_broken(path: Path) -> None:
    for file in path.glob("step-*"):
        file.write_bytes(b"")
    with pytest.raises(tv.OpenError, match="step-00000002"):
        RecordedSession(Run.open(path))


class Sum(nn.Module):
    """The sum of two inputs, and its linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.head(left + right)


def test_a_hidden_input_is_still_hidden_after_a_look_at_the_weights(tmp_path: Path) -> None:
    with tv.watch(Sum(), (torch.ones(1, 3), torch.ones(1, 3)), tmp_path, every=1, content=BOTH) as run:
        run.step(loss=1.0)
    session = RecordedSession(Run.open(tmp_path))
    session.hide("left")
    shown = [item.name for item in session.scene.placements]
    assert "left" not in shown
    assert "right" in shown
    session.content = "weights"
    session.show(*session.run(session.step))
    assert [item.name for item in session.scene.placements] == ["right", "head.weight", "head.bias"]
    session.content = "activations"
    session.show(*session.run(session.step))
    assert [item.name for item in session.scene.placements] == shown
