"""The training lab: a network learns on the page, and does what its controls say."""

from __future__ import annotations

import csv
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from sklearn.metrics import confusion_matrix

from tensorview.app import Viewer
from tensorview.app.explore import lab
from tensorview.errors import OpenError
from tensorview.runs import Run
from tensorview.training import Hyperparameters, Trainer, open_data
from tensorview.training.architectures import make_architecture

from .test_access import serious
from .visit import Visit, until

pytestmark = pytest.mark.browser

STATE = "(state) => document.querySelector('[data-testid=lab]').dataset.state === state"
SHOWN = "(step) => document.querySelector('[data-testid=timeline-step]').dataset.step === String(step)"
LEARNED = "(step) => trame.state.get('lab').text.includes(`step ${step}`)"


class Lab:
    """A lab in a browser."""

    def __init__(self, page: Visit, trainer: Trainer) -> None:
        self.page, self.trainer = page, trainer

    @property
    def run(self) -> Run:
        return Run.open(self.trainer.run_path)

    @property
    def identity(self) -> str | None:
        """Which run is in the directory; `None` while one is moved aside."""
        try:
            return self.run.about["id"]
        except OpenError:
            return None

    def wait_for(self, state: str) -> None:
        self.page.wait_until(STATE, state)

    def press(self, name: str) -> None:
        self.page.find(name).click()

    def learn(self, steps: int = 1) -> int:
        """Take single steps; returns the number of the last."""
        for _ in range(steps):
            before = self.trainer.status.step
            self.press("train-step")
            self.page.wait_until(LEARNED, f"{before + 1}")
            self.wait_for("paused")
        step = self.trainer.status.step
        self.page.wait_until(SHOWN, step)
        return step

    def type(self, name: str, value: str) -> None:
        field = self.page.find(f"hyper-{name}").locator("input")
        field.fill(value)
        field.press("Enter")
        self.page.settle()

    def choose(self, name: str, item: str) -> None:
        self.page.find(name).locator(".v-field").click()
        self.page.page.get_by_role("option", name=item, exact=True).click()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    folder = tmp_path_factory.mktemp("lab") / "run"
    with Trainer(folder, hyper=Hyperparameters(every=2, batch_size=64)) as trainer:
        yield trainer


@pytest.fixture(scope="module")
def viewer(trainer: Trainer) -> Iterator[Viewer]:
    with lab(trainer, port=0, browser=False) as viewer:
        yield viewer


@pytest.fixture
def opened(viewer: Viewer, trainer: Trainer, visit: Callable[..., Visit]) -> Lab:
    """The lab on a page of its own, with fresh weights."""
    page = Lab(visit(viewer), trainer)
    page.page.choose(panel="data", run_content="activations", theme="dark")
    if trainer.status.state != "ready" or trainer.status.architecture != "lenet5":
        before = page.identity
        trainer.pause()
        trainer.reset(architecture="lenet5")
        trainer.set(optimizer="sgd", learning_rate=0.02, batch_size=64)
        until(lambda: page.identity not in (before, None) and trainer.status.state == "ready")
        page.wait_for("ready")
        page.page.wait_until(SHOWN, 0)
    return page


def test_one_step_changes_what_is_seen_by_one_batch(opened: Lab) -> None:
    page = opened.page
    before = page.picture()
    assert opened.learn() == 1
    assert opened.run.steps[-1] == 1
    layer = page.scene.trace["output"]
    np.testing.assert_array_equal(layer.values, opened.run.trace(1)["output"].values)
    assert not np.array_equal(layer.values, opened.run.trace(0)["output"].values)
    assert (page.picture() != before).any()
    assert opened.learn(2) == 3
    assert "step 3" in page.find("train-status").inner_text()


def test_it_trains_until_it_is_paused(opened: Lab) -> None:
    page = opened.page
    opened.press("train-start")
    opened.wait_for("running")
    page.wait_until("() => Number(document.querySelector('[data-testid=timeline-step]').dataset.step) >= 10")
    page.frame.evaluate("stage.turn(10, 5)")
    opened.press("train-pause")
    opened.wait_for("paused")
    step = opened.trainer.status.step
    page.wait_until(SHOWN, step)
    time.sleep(0.5)
    assert opened.trainer.status.step == step
    losses = opened.run.metrics.series("loss")[1]
    assert losses[-1] < losses[0]
    page.press("tab-train")
    page.wait_until("(step) => trame.state.get('curves').find((c) => c.name === 'loss').last === step", step)
    assert page.find("curve-loss").locator("polyline").count() == 2, "in training and held-out"
    assert page.find("number-loss").inner_text() == f"{losses[-1]:.3g}"


def test_hyperparameters_count_from_the_next_batch_on(opened: Lab) -> None:
    page = opened.page
    page.press("tab-train")
    opened.learn()
    opened.type("learning_rate", "0")
    before = opened.run.trace(1, "weights")["conv1.weight"].values
    opened.type("batch_size", "7")
    step = opened.learn()
    np.testing.assert_array_equal(opened.run.trace(step, "weights")["conv1.weight"].values, before)
    assert opened.trainer.status.examples == 64 + 7
    opened.choose("hyper-optimizer", "Adam")
    page.settle()
    assert page.find("hyper-learning_rate").locator("input").input_value() == "0.001"
    step = opened.learn()
    assert (opened.run.trace(step, "weights")["conv1.weight"].values != before).any()


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("batch_size", "0", "batch_size is 0; it is 1 or more."),
        ("batch_size", "5000", "batch_size is 5,000; digits has 1,437 training examples."),
        ("learning_rate", "-1", "learning_rate is -1; it is a number from 0."),
        ("momentum", "1", "momentum is 1; it is a number from 0 to below 1."),
        ("weight_decay", "much", "weight_decay is 'much'; it is a number."),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_the_field_shows_what_holds(
    opened: Lab, name: str, typed: str, said: str
) -> None:
    page = opened.page
    page.press("tab-train")
    before = page.find(f"hyper-{name}").locator("input").input_value()
    opened.type(name, typed)
    page.find("message").get_by_text(said).wait_for()
    assert page.find(f"hyper-{name}").locator("input").input_value() == before
    assert f"{getattr(opened.trainer.status.hyper, name):g}" == before


def test_what_is_refused_is_said_for_longer_than_a_step_of_training(opened: Lab) -> None:
    page = opened.page
    page.press("tab-train")
    opened.press("train-start")
    opened.wait_for("running")
    opened.type("batch_size", "0")
    refusal = page.find("message").get_by_text("batch_size is 0")
    refusal.wait_for()
    step = int(page.find("timeline-step").get_attribute("data-step"))
    page.wait_until("(step) => Number(document.querySelector('[data-testid=timeline-step]').dataset.step) > step", step)
    assert refusal.is_visible()
    opened.press("train-pause")
    opened.wait_for("paused")


def test_another_example_is_looked_at_at_once(opened: Lab) -> None:
    page = opened.page
    page.find("example-3").click()
    index = page.frame.evaluate("trame.state.get('lab_examples').shown[3].index")
    data = open_data("digits")
    picture = data.held_out.pictures([index])[0]
    page.wait_until("(i) => trame.state.get('lab').probe === i", index)
    page.wait_until("() => document.querySelector('[data-testid=example-3]').ariaPressed === 'true'")
    expected = data.inputs(data.held_out.pixels[[index]])[0].numpy()
    until(lambda: np.array_equal(page.scene.trace.inputs[0].values, expected))
    np.testing.assert_array_equal(page.scene.trace.inputs[0].values, expected)
    shown = page.frame.evaluate("Array.from(pad.ink.raster(true))")
    np.testing.assert_array_equal(np.array(shown).reshape(28, 28), picture)
    label = str(int(data.held_out.labels[index]))
    assert page.find("example-3").get_attribute("data-label") == label
    assert page.find("truth").inner_text().split(":")[1].split()[-1] == label
    assert page.find("prediction-text").inner_text().startswith("This is")
    page.find("example-5").click()
    opened.learn()
    page.frame.evaluate("trame.state.set('run_index', 0)")
    page.wait_until(SHOWN, 0)
    other = page.find("example-5").get_attribute("data-label")
    assert page.find("truth").inner_text().split(":")[1].split()[-1] == other, "step 0 was recorded anew"


def test_a_drawing_is_looked_at_while_it_is_drawn(opened: Lab) -> None:
    page = opened.page
    pad = page.find("digit-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    before = page.scene.trace.inputs[0].values.copy()
    page.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.2 * box["height"])
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"], steps=8)
    page.page.mouse.up()
    page.wait_until("() => trame.state.get('lab').probe === null")

    def column() -> np.ndarray:
        return page.scene.trace.inputs[0].values[0].sum(0)

    until(lambda: not np.array_equal(page.scene.trace.inputs[0].values, before) and column().argmax() in (13, 14))
    assert column().argmax() in (13, 14), "an upright stroke in the middle"
    assert column()[:8].max() <= column().max() / 10
    assert opened.run.steps == (0,), "nothing was learned"


def test_start_anew_keeps_the_run_that_was_there(opened: Lab) -> None:
    opened.learn(2)
    before = opened.run.about["id"]
    fresh = opened.run.trace(0, "weights")["conv1.weight"].values
    opened.press("train-reset")
    opened.wait_for("ready")
    opened.page.wait_until(SHOWN, 0)
    assert opened.run.about["id"] != before
    assert opened.run.steps == (0,)
    np.testing.assert_array_equal(opened.run.trace(0, "weights")["conv1.weight"].values, fresh)
    beside = [Run.open(path) for path in opened.trainer.run_path.parent.glob("run.*")]
    assert before in [run.about["id"] for run in beside]
    opened.page.settle()
    np.testing.assert_array_equal(opened.page.scene.trace["output"].values, opened.run.trace(0)["output"].values)


def test_another_network_takes_the_place_of_the_first_and_both_are_compared(opened: Lab) -> None:
    page = opened.page
    opened.learn()
    page.press("tab-train")
    opened.choose("lab-architecture", "Multilayer perceptron")
    page.wait_until("() => trame.state.get('lab').architecture === 'mlp' && trame.state.get('lab').state === 'ready'")
    page.wait_until("() => trame.state.get('layers').some((l) => l.name === 'fc2')")
    page.wait_until("() => !trame.state.get('layers').some((l) => l.name === 'conv1')")
    assert page.find("model-title").inner_text().startswith("Multilayer perceptron")
    page.press("tab-test")
    rows = [row.split("\t") for row in page.find("tried").locator("tr").all_inner_texts()]
    assert (rows[-2][0], rows[-2][2]) == ("LeNet-5, digits", "1")
    assert (rows[-1][0], rows[-1][2]) == ("Multilayer perceptron, digits", "0")
    count = sum(p.numel() for p in make_architecture("mlp", (1, 28, 28), 10, 0).parameters())
    assert rows[-1][1] == f"{count:,}"


def test_a_checkpoint_saved_and_loaded_gives_the_same_logits_and_goes_on(opened: Lab, tmp_path: Path) -> None:
    page = opened.page
    step = opened.learn(2)
    logits = opened.run.trace(step)["output"].values
    page.press("tab-train")
    with page.page.expect_download() as download:
        page.find("checkpoint-save").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "lenet5-00000002.safetensors"
    saved = load_tensors(path.read_bytes())
    weights = opened.run.trace(step, "weights")["conv1.weight"].values
    assert any(np.array_equal(value.numpy(), weights) for value in saved.values() if value.shape == weights.shape)
    opened.learn(3)
    page.find("checkpoint-load").set_input_files(path)
    page.wait_until(SHOWN, step)
    np.testing.assert_array_equal(page.scene.trace["output"].values, logits)
    assert opened.learn() == step + 1


@pytest.mark.parametrize("size", [16, 40 * 2**20])
def test_a_file_that_is_no_checkpoint_is_refused_and_training_stays(opened: Lab, tmp_path: Path, size: int) -> None:
    page = opened.page
    step = opened.learn()
    page.press("tab-train")
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * size)
    page.find("checkpoint-load").set_input_files(tmp_path / "x.safetensors")
    page.find("message").get_by_text("not a whole safetensors file").wait_for()
    assert opened.trainer.status.step == step
    assert opened.learn() == step + 1


def test_the_test_page_has_the_confusion_matrix_of_the_network(opened: Lab) -> None:
    page = opened.page
    opened.press("train-start")
    page.wait_until("() => { const e = trame.state.get('evaluation'); return e && e.step >= 20; }")
    opened.press("train-pause")
    opened.wait_for("paused")
    step = opened.trainer.status.step
    page.wait_until("(step) => trame.state.get('evaluation').step === step", step)
    page.press("tab-test")
    model = make_architecture("lenet5", (1, 28, 28), 10, 0).eval()
    weights = {name: torch.tensor(opened.run.trace(step, "weights")[name].values) for name in model.state_dict()}
    model.load_state_dict(weights)
    data = open_data("digits")
    with torch.no_grad():
        guesses = model(data.inputs(data.held_out.pixels)).argmax(1)
    shown = opened.run.evaluation(step)
    expected = confusion_matrix(data.held_out.labels, guesses)
    texts = page.find("confusion").locator("td:not(:first-child)").all_inner_texts()
    found = np.array([int(text or 0) for text in page.find("confusion").locator("tr td").all_inner_texts()[1:]])
    assert len(texts) >= 90
    np.testing.assert_array_equal(found.reshape(10, 10), expected)
    assert page.find("held-out-accuracy").inner_text() == f"{100 * np.trace(expected) / expected.sum():.1f} %"
    right = [page.find(f"guess-{k}").get_attribute("data-right") == "true" for k in range(24)]
    pictures = data.held_out.pictures(slice(None))
    rows = [int((pictures == image).all((1, 2)).argmax()) for image in shown.images]
    assert right == (guesses == data.held_out.labels)[rows].tolist()
    recall = expected[3, 3] / expected[3].sum()
    assert float(page.find("class-3").get_attribute("data-share")) == pytest.approx(recall)


def test_weights_and_gradients_are_shown_while_it_learns(opened: Lab) -> None:
    page = opened.page
    step = opened.learn(2)
    for content in ("weights", "gradients", "activation_gradients"):
        page.press(f"content-{content}")
        page.wait_until("(content) => trame.state.get('run_content') === content", content)
        page.wait_until(SHOWN, step)
        expected = opened.run.trace(step, content)
        name = "conv1" if content == "activation_gradients" else "conv1.weight"
        until(lambda name=name: name in {layer.name for layer in page.scene.trace.layers})
        page.settle()
        np.testing.assert_array_equal(page.scene.trace[name].values, expected[name].values)
    page.press("content-activations")


def test_curves_are_cleared_and_saved(opened: Lab, tmp_path: Path) -> None:
    page = opened.page
    step = opened.learn(3)
    page.press("tab-train")
    page.press("curves-clear")
    page.wait_until("(step) => trame.state.get('curves').every((c) => c.first === step)", step)
    page.press("curves-clear")
    page.wait_until("() => trame.state.get('curves').every((c) => c.first === 0)")
    page.press("over-epochs")
    page.wait_until("() => trame.state.get('curves').find((c) => c.name === 'loss').last === 1")
    page.press("over-steps")
    page.wait_until("(step) => trame.state.get('curves').find((c) => c.name === 'loss').last === step", step)
    with page.page.expect_download() as download:
        page.find("curves-save").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    np.testing.assert_array_equal(losses, opened.run.metrics.series("loss")[1])


def test_the_lab_is_accessible_on_every_page(opened: Lab) -> None:
    opened.learn()
    for name in ("data", "train", "test", "layers"):
        opened.page.press(f"tab-{name}")
        assert serious(opened.page) == []
    for theme in ("light", "dark"):
        opened.page.choose(theme=theme)
        opened.page.press("tab-test")
        assert serious(opened.page) == []


def test_a_learning_rate_of_a_billion_is_named_and_training_can_go_on(opened: Lab) -> None:
    page = opened.page
    page.press("tab-train")
    opened.type("learning_rate", "1e9")
    opened.press("train-start")
    page.find("train-message").wait_for()
    opened.wait_for("paused")
    assert "learning rate" in page.find("train-message").inner_text()
    opened.type("learning_rate", "0.01")
    opened.press("train-start")
    opened.wait_for("running")
    opened.press("train-pause")
    opened.wait_for("paused")


def test_training_goes_on_without_its_page_and_is_found_again(
    opened: Lab, viewer: Viewer, visit: Callable[..., Visit]
) -> None:
    opened.press("train-start")
    opened.wait_for("running")
    opened.page.page.close()
    step = opened.trainer.status.step
    until(lambda: opened.trainer.status.step > step + 20)
    again = Lab(visit(viewer), opened.trainer)
    again.wait_for("running")
    again.page.wait_until(
        "(step) => Number(document.querySelector('[data-testid=timeline-step]').dataset.step) > step", step + 20
    )
    again.press("train-pause")
    again.wait_for("paused")


def test_a_trainer_that_is_killed_is_told_and_what_was_recorded_stays(
    tmp_path: Path, visit: Callable[..., Visit]
) -> None:
    with Trainer(tmp_path / "run") as trainer, lab(trainer, port=0, browser=False) as viewer:
        opened = Lab(visit(viewer), trainer)
        step = opened.learn(2)
        assert trainer._process is not None
        os.kill(trainer._process.pid, signal.SIGKILL)
        opened.page.find("train-message").wait_for()
        said = opened.page.find("train-message").inner_text()
        assert "ended unexpectedly" in said
        assert "what was recorded is kept" in said
        assert opened.run.steps[-1] == step
        opened.page.press("content-weights")
        opened.page.settle()
        opened.press("train-reset")
        opened.wait_for("ready")
        opened.page.wait_until(SHOWN, 0)
        assert opened.learn() == 1


def test_closing_the_page_ends_the_trainer(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "run")
    with lab(trainer, port=0, browser=False):
        process: Any = trainer._process
    process.wait(20)
    assert Run.open(tmp_path / "run").steps == (0,)
    assert not Run.open(tmp_path / "run").growing
