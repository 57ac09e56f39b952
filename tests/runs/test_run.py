"""Reading runs: whole ones, growing ones, broken ones, and folders of checkpoints."""

from __future__ import annotations

import builtins
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tensorview as tv
from tensorview.opening.weights import load_weights
from tensorview.runs import CheckpointRun, Run, watch

from .conftest import Net


def about(path: Path, **changed: Any) -> None:
    said = {"format": 1, "id": "a", "tensorview": "0.1", "model": "Net", "content": ["activations"], **changed}
    (path / "run.json").write_text(json.dumps(said))


def test_ten_thousand_steps_open_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about(tmp_path)
    for step in range(0, 500_000, 50):
        (tmp_path / f"step-{step:08d}.safetensors").touch()
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {s}, "metrics": {{"loss": {s / 7}}}}}\n' for s in range(0, 500_000, 50))
    )
    opened: list[str] = []
    real = {"open": io.open, "os": os.open}

    def counted(file: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(os.fspath(file))
        return real["open"](file, *args, **kwargs)

    monkeypatch.setattr(io, "open", counted)
    monkeypatch.setattr(builtins, "open", counted)
    monkeypatch.setattr(os, "open", lambda file, *a, **k: (opened.append(str(file)), real["os"](file, *a, **k))[1])
    run = Run.open(tmp_path)
    assert len(run.steps) == 10_000
    assert run.steps[-1] == 499_950
    assert run.metrics.at(100)["loss"] == 100 / 7
    assert not run.refresh()
    assert {Path(file).name for file in opened} == {"run.json", "metrics.jsonl"}
    assert len(opened) < 6


def test_a_growing_run_is_followed(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=2) as writer:
        run = Run.open(tmp_path)
        assert run.growing
        assert run.steps == (0,)
        assert run.metrics.names == ()
        for _ in range(5):
            writer.step(loss=1)
        assert run.refresh()
        assert run.steps == (0, 2, 4)
        assert run.metrics.series("loss")[0].tolist() == [1, 2, 3, 4, 5]
        assert not run.refresh()
    assert run.refresh()
    assert run.steps == (0, 2, 4, 5)
    assert not run.growing


def test_a_run_that_begins_anew_is_read_from_the_start(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path / "run", every=1) as writer:
        for _ in range(5):
            writer.step(loss=1)
    run = Run.open(tmp_path / "run")
    assert len(run.metrics.series("loss")[0]) == 5
    with watch(net, probe, tmp_path / "run", every=1) as writer:
        writer.step(gain=2)
        assert run.refresh()
        assert run.steps == (0, 1)
        assert run.metrics.names == ("gain",)


def test_a_line_that_is_being_written_waits_for_its_end(tmp_path: Path) -> None:
    about(tmp_path)
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "metrics": {"loss": 2}}\n{"step": 2, "met')
    run = Run.open(tmp_path)
    assert run.metrics.series("loss")[0].tolist() == [1]
    with file.open("a") as more:
        more.write('rics": {"loss": 3}}\nnonsense\n{"step": 3}\n{"step": 4, "metrics": {"loss": "nan"}}\n')
    assert run.refresh()
    assert run.metrics.series("loss")[0].tolist() == [1, 2, 4]


def test_steps_that_come_again_replace_what_was_said_of_them(tmp_path: Path) -> None:
    about(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {s}, "metrics": {{"loss": {v}}}}}\n' for s, v in ((1, 1), (2, 1), (3, 1), (2, 5)))
    )
    steps, values = Run.open(tmp_path).metrics.series("loss")
    assert steps.tolist() == [1, 2]
    assert values.tolist() == [1, 5]


def test_a_truncated_file_is_said_and_the_others_are_read(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=1) as writer:
        writer.step()
        writer.step()
    last = tmp_path / "step-00000002.safetensors"
    whole = last.read_bytes()
    run = Run.open(tmp_path)
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        last.write_bytes(whole[:size])
        with pytest.raises(tv.OpenError, match=r"step-00000002|Step 2"):
            run.trace(2)
    assert run.trace(1)["head"].shape == (3,)
    last.unlink()
    with pytest.raises(tv.OpenError, match="Step 2 is not, or no longer, in"):
        run.trace(2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            '{"format": 2, "tensorview": "9.0"}',
            "run of format 2, written by tensorview 9.0; this version reads format 1",
        ),
        ("[]", "run of format None"),
        ("{", "cannot be read"),
        (None, "has no run in it"),
    ],
)
def test_what_is_no_run_of_this_format(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(tv.OpenError, match=said):
        Run.open(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(tv.OpenError, match="is not a folder that exists"):
        Run.open(tmp_path / "none")


# Checkpoints -------------------------------------------------------------------------------------------------------


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU())


def test_a_folder_of_checkpoints_is_a_run(tmp_path: Path) -> None:
    x, expected = torch.rand(1, 4), {}
    for step in (100, 20, 3):
        torch.manual_seed(step)
        model = network()
        with torch.no_grad():
            expected[step] = (model(x)[0].numpy(), model[0].weight.numpy().copy())
        if step == 20:
            save_file(model.state_dict(), tmp_path / f"epoch=1-step={step}.safetensors")
        else:
            torch.save({"state_dict": model.state_dict()}, tmp_path / f"epoch=9-step={step}.ckpt")
    (tmp_path / "optimizer.pt").write_bytes(b"")
    run = CheckpointRun(tmp_path, network(), x, load_weights, ("a", "b", "c"))
    assert run.steps == (3, 20, 100)
    for step, (output, weight) in expected.items():
        np.testing.assert_array_equal(run.trace(step)["1"].values, output)
        np.testing.assert_array_equal(run.trace(step, "weights")["0.weight"].values, weight)
    assert run.class_names == ("a", "b", "c")
    assert not run.growing
    assert run.nbytes(20) == (tmp_path / "epoch=1-step=20.safetensors").stat().st_size
    torch.save(network().state_dict(), tmp_path / "step=200.pt")
    assert run.refresh()
    assert run.steps[-1] == 200
    with pytest.raises(tv.OpenError, match="no checkpoint of step 7"):
        run.trace(7)


def saved_as(path: Path, fill: float) -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.fill_(fill)
    torch.save(model.state_dict(), path)


def test_a_checkpoint_that_is_written_again_or_has_another_place_is_read_anew(tmp_path: Path) -> None:
    for k, name in enumerate(("bee.pt", "cow.pt")):
        saved_as(tmp_path / name, k + 1.0)
    run = CheckpointRun(tmp_path, network(), torch.rand(1, 4), load_weights)

    def weight(step: int) -> float:
        return run.trace(step, "weights")["0.weight"].values[0, 0]

    assert (weight(0), weight(1), run.revision) == (1.0, 2.0, 0)
    assert not run.refresh()
    saved_as(tmp_path / "cow.pt", 3.0)
    os.utime(tmp_path / "cow.pt", ns=(1, 1))  # whatever the clock of the disk tells apart
    assert run.refresh()
    assert (weight(1), run.revision) == (3.0, 1)
    saved_as(tmp_path / "dog.pt", 4.0)
    assert run.refresh()
    assert (run.steps, weight(2), run.revision) == ((0, 1, 2), 4.0, 1)  # what was there is as it was
    assert weight(0) == 1.0
    saved_as(tmp_path / "ant.pt", 0.5)
    assert run.refresh()
    assert ([weight(step) for step in run.steps], run.revision) == ([0.5, 1.0, 3.0, 4.0], 2)
    (tmp_path / "cow.pt").write_bytes(b"half")
    assert run.refresh()
    with pytest.raises(tv.OpenError):
        weight(2)
    assert weight(1) == 1.0


def test_checkpoints_in_folders_and_without_numbers(tmp_path: Path) -> None:
    for name in ("checkpoint-500/model.pt", "checkpoint-1000/model.pt"):
        (tmp_path / name).parent.mkdir()
        torch.save(network().state_dict(), tmp_path / name)
    assert CheckpointRun(tmp_path, network(), torch.rand(1, 4), load_weights).steps == (500, 1000)
    torch.save(network().state_dict(), tmp_path / "last.pt")
    assert CheckpointRun(tmp_path, network(), torch.rand(1, 4), load_weights).steps == (500, 1000)
    for path in tmp_path.glob("checkpoint-*/*"):
        path.rename(tmp_path / ("best.pt" if "500" in str(path) else "first.pt"))
    assert CheckpointRun(tmp_path, network(), torch.rand(1, 4), load_weights).steps == (0, 1, 2)


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (("epoch=0-step=50.ckpt", "epoch=1-step=100-v1.ckpt", "last.ckpt"), (50, 100)),
        (("step_200_loss_0.25.pt", "step_1000_loss_0.31.pt"), (200, 1000)),
        (("model-1.pt", "other-1.pt"), (0, 1)),
    ],
)
def test_steps_by_the_names_of_checkpoints(names: tuple[str, ...], steps: tuple[int, ...], tmp_path: Path) -> None:
    for name in names:
        torch.save(network().state_dict(), tmp_path / name)
    assert CheckpointRun(tmp_path, network(), torch.rand(1, 4), load_weights).steps == steps


def test_a_folder_without_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(tv.OpenError, match=r"has no checkpoint: no file that ends in \.safetensors"):
        CheckpointRun(tmp_path, network(), torch.rand(1, 4), load_weights)
