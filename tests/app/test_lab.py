"""What the lab says of its trainer, and what it begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tensorview.app.explore import lab
from tensorview.app.lab import decimal
from tensorview.app.lab_words import described, said_of, title_of, tried
from tensorview.errors import OpenError
from tensorview.runs import Run
from tensorview.training import Hyperparameters, Status, Trainer


def test_a_status_in_words() -> None:
    hyper = Hyperparameters(learning_rate=1e9, weight_decay=1e-4, batch_size=7)
    status = Status(state="paused", step=1200, examples=8400, epoch=5.84, hyper=hyper, warnings=("relu1: dead",))
    said = described(status, {"loss": 0.25, "validation_accuracy": 0.975, "forward_ms": 0.1234})
    assert said["text"] == said_of(status) == "Paused · step 1,200 · epoch 5.8"
    assert said["can_start"]
    assert said["warnings"] == ["relu1: dead"]
    assert (said["hyper"]["learning_rate"], said["hyper"]["batch_size"]) == ("1e+09", "7")
    assert {row["name"]: row["text"] for row in said["numbers"]} == {
        "examples": "8,400",
        "loss": "0.25",
        "validation_accuracy": "97.5 %",
        "forward_ms": "0.123 ms",
    }
    about = {"model": "LeNet-5", "data": "digits"}
    assert tried(about, 1200, {}) == {"title": "LeNet-5, digits", "steps": "1,200", "accuracy": "–"}


@pytest.mark.parametrize("state", ["starting", "loading", "running", "ended", "failed"])
def test_only_a_trainer_that_waits_can_be_started(state: str) -> None:
    assert not described(Status(state=state), {})["can_start"]


def test_fresh_weights_are_not_blamed_for_dead_units() -> None:
    assert described(Status(state="ready", warnings=("relu1: dead",)), {})["warnings"] == []


def test_a_folder_is_called_by_its_last_part() -> None:
    assert title_of("/home/somebody/photos/") == "photos"
    assert title_of("fashion-mnist") == "fashion-mnist"
    assert title_of("elsewhere/mnist") == "mnist (folder)"


@pytest.mark.parametrize(
    ("typed", "said"), [(" 0,5 ", "0.5"), ("1,000", "1000"), ("12,345,678.5", "12345678.5"), ("0,001", "0.001")]
)
def test_a_comma_is_a_decimal_mark_or_parts_thousands(typed: str, said: str) -> None:
    assert decimal(typed) == said


def test_a_lab_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    with Trainer(tmp_path / "first", seed=3) as trainer:
        with lab(trainer, port=0, browser=False):
            trainer.step()
            content = trainer.save().result(60)
            logits = Run.open(tmp_path / "first").trace(1)["output"].values
    (tmp_path / "saved.safetensors").write_bytes(content)
    with Trainer(tmp_path / "second") as trainer:
        with lab(trainer, checkpoint=str(tmp_path / "saved.safetensors"), port=0, browser=False) as viewer:
            assert trainer.status.step == 1
            np.testing.assert_array_equal(viewer.session.scene.trace["output"].values, logits)


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with Trainer(tmp_path / "run") as trainer, pytest.raises(OpenError, match="cannot be read"):
        lab(trainer, checkpoint=str(tmp_path / "none"), port=0, browser=False)


def test_a_trainer_that_cannot_begin_says_why(tmp_path: Path) -> None:
    (tmp_path / "images" / "one").mkdir(parents=True)
    with Trainer(tmp_path / "run", data=tmp_path / "images") as trainer, pytest.raises(OpenError, match="two or more"):
        lab(trainer, port=0, browser=False)
