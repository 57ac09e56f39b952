"""The trainer in a process of its own: commands, and ends of either process that nobody planned."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load

from tensorview.errors import OpenError
from tensorview.runs import Run
from tensorview.training import Hyperparameters, Status, Trainer

SECONDS = 90


def until(true: Callable[[], object]) -> None:
    """Wait for something that will come; how fast is not tested."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def said() -> list[Status]:
    return []


@pytest.fixture
def trainer(tmp_path: Path, said: list[Status]) -> Iterator[Trainer]:
    with Trainer(tmp_path / "lab", hyper=Hyperparameters(every=5), on_status=said.append) as made:
        until(lambda: made.status.state == "ready")
        yield made
    until(lambda: made.status.state == "ended")


def test_start_pause_step_set_probe_and_reset(trainer: Trainer, said: list[Status]) -> None:
    assert {status.state for status in said} == {"loading", "ready"}
    run = Run.open(trainer.run_path)
    assert (run.steps, run.evaluations) == ((0,), (0,))
    assert (trainer.status.train_examples, trainer.status.held_out_examples) == (1437, 360)

    trainer.start()
    trainer.start()
    until(lambda: trainer.status.step >= 12)
    assert len(psutil.Process(trainer._process.pid).children()) == 0
    trainer.pause()
    until(lambda: trainer.status.state == "paused")
    paused_at = trainer.status.step
    trainer.save().result(SECONDS)  # whatever was asked before is done
    assert trainer.status.step == paused_at
    steps, _ = Run.open(trainer.run_path).metrics.series("loss")
    assert steps.tolist() == list(range(1, paused_at + 1))  # one loop: every step once
    assert Run.open(trainer.run_path).steps[-1] == paused_at

    trainer.step()
    until(lambda: trainer.status.step == paused_at + 1)
    until(lambda: Run.open(trainer.run_path).steps[-1] == paused_at + 1)

    trainer.set(learning_rate=0.5, batch_size=16)
    until(lambda: trainer.status.hyper.learning_rate == 0.5)
    before = trainer.status.examples
    trainer.step()
    until(lambda: trainer.status.step == paused_at + 2)
    assert trainer.status.examples == before + 16
    run = Run.open(trainer.run_path)
    assert run.metrics.at(paused_at + 2)["learning_rate"] == 0.5
    with pytest.raises(OpenError, match="batch_size is 0"):
        trainer.set(batch_size=0)
    with pytest.raises(OpenError, match="batch_size is 2,000; digits has 1,437"):
        trainer.set(batch_size=2000)

    drawing = np.zeros((28, 28), np.uint8)
    drawing[4:24, 12:16] = 255
    trainer.probe(image=drawing, label=1)
    until(lambda: (trainer.status.probe_index, trainer.status.probe_label) == (None, 1))
    seen = run.trace(paused_at + 2).inputs[0].values
    assert seen.shape == (1, 28, 28)
    np.testing.assert_allclose(seen[0, 6:22, 12:16], 1.0, atol=0.05)

    before_reset = run.about["id"]
    trainer.reset(architecture="mlp")
    until(lambda: trainer.status.architecture == "mlp" and trainer.status.state == "ready")
    assert run.refresh()
    assert run.about["id"] != before_reset
    assert (run.steps, run.about["model"]) == ((0,), "Multilayer perceptron")
    assert trainer.status.probe_label == 1
    moved = Run.open(trainer.run_path.with_name("lab.1"))
    assert moved.steps[-1] == paused_at + 2


def test_a_checkpoint_goes_out_and_comes_back(trainer: Trainer) -> None:
    trainer.step()
    trainer.step()
    content = trainer.save().result(SECONDS)
    for _ in range(2):
        trainer.step()
    assert trainer.load(content).result(SECONDS) is None
    until(lambda: trainer.status.state == "paused" and trainer.status.step == 2)
    assert trainer.status.examples == 64
    again = trainer.save().result(SECONDS)
    assert all(torch.equal(a, load(again)[name]) for name, a in load(content).items())
    assert Run.open(trainer.run_path).steps == (2,)
    with pytest.raises(OpenError, match="not a whole safetensors file"):
        trainer.load(b"PK\x03\x04 a pickle").result(SECONDS)
    assert trainer.status.step == 2
    trainer.step()
    until(lambda: trainer.status.step == 3)


def test_a_trainer_that_is_killed_is_noticed_and_begins_anew(trainer: Trainer) -> None:
    trainer.start()
    until(lambda: trainer.status.step >= 10)
    trainer._process.send_signal(signal.SIGKILL)
    until(lambda: trainer.status.state == "failed")
    assert trainer.status.message.startswith("The trainer's process ended unexpectedly, by signal 9 at step ")
    run = Run.open(trainer.run_path)
    assert not run.growing
    assert run.steps[:2] == (0, 5)
    assert "output" in run.trace(run.steps[-1])
    with pytest.raises(OpenError, match="has ended"):
        trainer.save().result(SECONDS)
    trainer.start()  # says nothing and breaks nothing
    trainer.reset()
    until(lambda: trainer.status.state == "ready")
    assert Run.open(trainer.run_path).steps == (0,)
    assert Run.open(trainer.run_path.with_name("lab.1")).steps == run.steps


def test_training_goes_on_where_nothing_can_be_written_and_says_so(trainer: Trainer) -> None:
    shutil.rmtree(trainer.run_path)
    trainer.start()
    until(lambda: trainer.status.step >= 12)
    until(lambda: any(said.startswith("Recording has ended") for said in trainer.status.warnings))
    trainer.reset()
    until(lambda: trainer.status.state == "ready")
    assert not any(said.startswith("Recording has ended") for said in trainer.status.warnings)
    assert Run.open(trainer.run_path).steps == (0,)


PAGE = textwrap.dedent(
    """
    import sys, time
    from tensorview.training import Hyperparameters, Trainer, trainer as module
    # However slow the machine is, the trainer is given the time to end in order.
    patience = "from tensorview.training import worker; worker.GRACE = 600.0; "
    module._START = module._START.replace("main()", patience + "main()")
    trainer = Trainer(sys.argv[1], hyper=Hyperparameters(every=5))
    trainer.start()
    while trainer.status.step < 10:
        time.sleep(0.01)
    print(trainer._process.pid, flush=True)
    time.sleep(600)
    """
)


def test_a_trainer_whose_page_is_killed_ends_and_leaves_a_run(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PAGE, str(tmp_path / "lab")], stdout=subprocess.PIPE) as page:
        assert page.stdout is not None
        trainer = psutil.Process(int(page.stdout.readline()))
        page.kill()
    until(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE)
    assert not (tmp_path / "lab" / "writer.lock").exists()  # it ended in order
    run = Run.open(tmp_path / "lab")
    losses, _ = run.metrics.series("loss")
    assert run.steps[-1] == losses[-1] >= 10


def test_a_script_that_ends_without_closing_ends_its_trainer(tmp_path: Path) -> None:
    code = PAGE.replace("time.sleep(600)", "")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "lab")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(done.stdout)
    until(lambda: not psutil.pid_exists(pid))
    assert Run.open(tmp_path / "lab").steps[-1] >= 10


def test_data_that_cannot_be_had_are_said_and_others_can_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("in the way")
    monkeypatch.setenv("TENSORVIEW_DATA", str(tmp_path / "data"))
    with Trainer(tmp_path / "lab", data="mnist") as trainer:
        until(lambda: trainer.status.state == "failed")
        assert trainer.status.message.startswith("MNIST could not be downloaded")
        assert "choose digits" in trainer.status.message
        assert not (tmp_path / "lab").exists()
        trainer.start()
        trainer.reset(data="digits")
        until(lambda: trainer.status.state == "ready")
        assert trainer.status.data == "digits"
        trainer.reset(data="mnist")  # what is there stays there
        until(lambda: "could not be downloaded" in trainer.status.message)
        assert (trainer.status.state, trainer.status.data) == ("ready", "digits")
    until(lambda: trainer.status.state == "ended")


def test_names_are_checked_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(OpenError, match="no data 'digit': name digits, mnist"):
        Trainer(tmp_path / "lab", data="digit")
    with pytest.raises(OpenError, match="no data '': name digits"):
        Trainer(tmp_path / "lab", data="")
    with pytest.raises(OpenError, match="no architecture 'lenet': choose of lenet5"):
        Trainer(tmp_path / "lab", architecture="lenet")
    assert not (tmp_path / "lab").exists()


def test_status_survives_the_wire() -> None:
    status = Status(state="running", warnings=("conv1: dead",), class_names=("a", "b"), probe_label=None, progress=0.5)
    assert Status.from_json(json.loads(json.dumps(status.as_json()))) == status


def test_a_trainer_takes_no_terminal_signal(trainer: Trainer) -> None:
    os.kill(trainer._process.pid, signal.SIGINT)
    trainer.step()
    until(lambda: trainer.status.step == 1)
