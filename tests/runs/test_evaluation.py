"""Evaluations beside the traces, and what else a trainer needs of the recorder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tensorview.errors import OpenError
from tensorview.runs import Evaluation, Recorder, Run
from tensorview.runs.evaluation import write_evaluation

from .conftest import Net, files


def some_evaluation(right: int = 3) -> Evaluation:
    confusion = np.array([[right, 1, 0], [0, 2, 0], [0, 0, 0]], np.int64)
    return Evaluation(
        confusion=confusion,
        class_accuracy=np.array([right / (right + 1), 1.0, np.nan]),
        images=np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8),
        labels=np.array([0, 1]),
        top=np.array([[0, 1, 2], [1, 0, 2]]),
        probabilities=np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]),
        warnings=("relu1: 2 of 6 maps are dead",),
    )


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with Recorder(net, probe, tmp_path) as recorder:
        recorder.evaluate(some_evaluation(), validation_accuracy=5 / 6)
        run = Run.open(tmp_path)
        assert run.evaluations == (0,)
        assert not run.refresh()
        recorder.step(loss=1.0)
        recorder.evaluate(some_evaluation(9))
        assert run.refresh()
    read = run.evaluation(0)
    for name in ("confusion", "class_accuracy", "images", "labels", "top", "probabilities"):
        np.testing.assert_array_equal(getattr(read, name), getattr(some_evaluation(), name))
    assert (read.count, read.accuracy, read.warnings) == (6, 5 / 6, ("relu1: 2 of 6 maps are dead",))
    assert run.evaluations == (0, 1)
    assert run.evaluation(1).accuracy == 11 / 12
    assert run.metrics.at(0) == {"validation_accuracy": 5 / 6}
    with pytest.raises(OpenError, match="Step 7 has no evaluation"):
        run.evaluation(7)


def test_a_broken_evaluation_is_one_sentence(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with Recorder(net, probe, tmp_path) as recorder:
        recorder.evaluate(some_evaluation())
    path = tmp_path / "evaluation-00000000.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(OpenError, match=r"evaluation of step 0 of .* cannot be read"):
        Run.open(tmp_path).evaluation(0)


def test_evaluations_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: Net, probe: torch.Tensor
) -> None:
    monkeypatch.setattr(write_evaluation, "__defaults__", (5,))
    with Recorder(net, probe, tmp_path) as recorder:
        for _ in range(20):
            recorder.step()
            recorder.evaluate(some_evaluation())
    kept = Run.open(tmp_path).evaluations
    assert len(kept) == 5
    assert {kept[0], kept[-1]} == {1, 20}


def test_an_evaluation_moves_aside_with_its_run(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with Recorder(net, probe, tmp_path / "lab") as recorder:
        recorder.step(loss=1.0)
        recorder.evaluate(some_evaluation())
    with Recorder(net, probe, tmp_path / "lab"):
        assert Run.open(tmp_path / "lab").evaluations == ()
    assert Run.open(tmp_path / "lab.1").evaluations == (1,)


def test_a_run_of_nothing_but_the_start_gives_way(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    for _ in range(3):
        with Recorder(net, probe, tmp_path / "lab") as recorder:
            recorder.evaluate(some_evaluation(), validation_loss=2.3)
    assert files(tmp_path) == {"lab"}
    assert Run.open(tmp_path / "lab").steps == (0,)


def test_the_description_says_more(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with Recorder(net, probe, tmp_path, about={"data": "digits"}):
        pass
    assert Run.open(tmp_path).about["data"] == "digits"


def test_the_cadence_changes_while_it_runs(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with Recorder(net, probe, tmp_path, every=10) as recorder:
        for _ in range(25):
            recorder.step()
        recorder.every = 5
        for _ in range(10):
            recorder.step()
        recorder.record()
    assert Run.open(tmp_path).steps == (0, 10, 20, 26, 30, 35)


def test_a_run_begins_where_its_checkpoint_was(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with Recorder(net, probe, tmp_path, every=10, first=123) as recorder:
        for _ in range(10):
            recorder.step(loss=1.0)
    run = Run.open(tmp_path)
    assert run.steps == (123, 130, 133)
    assert run.metrics.series("loss")[0].tolist() == list(range(124, 134))


def test_a_step_that_would_take_more_than_the_share_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: Net, probe: torch.Tensor
) -> None:
    now = [0.0]
    monkeypatch.setattr("tensorview.runs.recorder.time.perf_counter", lambda: now[0])
    recorder = Recorder(net, probe, tmp_path, every=1, share=0.25)
    look = recorder._look

    def slow_look():
        now[0] += 1.0
        return look()

    recorder._look = slow_look  # recording takes one second, a step takes one second
    for _ in range(12):
        now[0] += 1.0
        recorder.step()
    recorder.close()
    assert Run.open(tmp_path).steps == (0, 1, 4, 7, 10)


def test_another_probe_is_recorded_at_once(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with Recorder(net, probe, tmp_path) as recorder:
        run = Run.open(tmp_path)
        recorder.record(probe * 0.5)
        assert run.refresh()
    assert run.steps == (0,)
    np.testing.assert_array_equal(run.trace(0).inputs[0].values, (probe[0] * 0.5).numpy())
