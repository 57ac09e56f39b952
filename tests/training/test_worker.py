"""The worker's commands, carried out in this process: what is refused changes nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from tensorview.runs import Run
from tensorview.training import Hyperparameters, Status
from tensorview.training.building import Recipe
from tensorview.training.checkpoint import checkpoint_bytes
from tensorview.training.data import Data
from tensorview.training.messages import read_message
from tensorview.training.worker import Worker


class Page:
    """What is at the other end of a worker's pipes.

    Attributes:
        status: what the worker last said.
        refused: why it refused what was asked for, newest last.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lab"
        self._answers = io.BytesIO()
        self.worker = Worker(io.BytesIO(), self._answers)
        self.status = Status()
        self.refused: list[str] = []
        self.saved = b""

    def begin(self, data: str, recipe: dict[str, Any] | None = None, **hyper: Any) -> None:
        recipe = {"architecture": "lenet5", "input_shape": None, **(recipe or {})}
        values = Hyperparameters(**{"batch_size": 8, "every": 1, **hyper}).as_dict()
        self.say("configure", path=str(self.path), recipe=recipe, data=data, hyper=values, device=None)

    def say(self, name: str, content: bytes = b"", **message: Any) -> None:
        start = self._answers.tell()
        self.worker._do({"say": name, **message}, content)
        self._answers.seek(start)
        while (said := read_message(self._answers)) is not None:
            if said[0]["say"] == "status":
                self.status = Status.from_json(said[0]["status"])
            elif said[0]["say"] == "refused":
                self.refused.append(said[0]["why"])
            elif said[0]["say"] == "saved":
                self.saved = said[1]

    def reset(self, architecture: str | None = None, data: str | None = None) -> None:
        self.say("reset", architecture=architecture, data=data)

    def load(self, content: bytes) -> None:
        self.say("load", content, answer=1)


@pytest.fixture
def page(tmp_path: Path, bars: Data, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    from tensorview.training import data as module

    opened = module.open_data

    def opening(name: str, progress: Any) -> Data:
        return bars if name == "bars" else opened(name, progress)

    monkeypatch.setattr("tensorview.training.worker.open_data", opening)
    made = Page(tmp_path)
    yield made
    if made.worker._loop is not None:
        made.worker._loop.close()


def one_more_is_recorded(page: Page, at: int) -> None:
    before = Run.open(page.path).about["id"]
    page.say("step")
    run = Run.open(page.path)
    assert (run.about["id"], run.steps[-1]) == (before, at)
    assert not any(said.startswith("Recording has ended") for said in page.status.warnings)


def other_network() -> bytes:
    return save(nn.Linear(2, 3).state_dict())


def with_metadata(bars: Data, **about: Any) -> bytes:
    model, _ = Recipe("lenet5").build(bars)
    return checkpoint_bytes(model, torch.optim.SGD(model.parameters()), about)


def test_a_checkpoint_that_does_not_fit_changes_nothing(page: Page) -> None:
    page.begin("bars")
    page.say("step")
    page.say("start")
    page.load(other_network())
    assert page.refused[-1].startswith("The checkpoint does not fit LeNet5")
    assert (page.status.state, page.status.message) == ("running", page.refused[-1])
    one_more_is_recorded(page, 2)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"step": "nine"}, "The checkpoint's step is 'nine'; it is a whole number from 0 to 2**53"),
        ({"step": -1}, "The checkpoint's step is '-1'"),
        ({"step": 2**53 + 1}, "The checkpoint's step is '9007199254740993'"),
        ({"step": 1, "examples": None}, "The checkpoint's examples is 'None'"),
        ({"hyperparameters": {"learning_rate": -1}}, "hyperparameters are not possible: learning_rate is -1"),
        ({"hyperparameters": {"warmup": 1}}, "hyperparameters are not possible: There is no hyperparameter 'warmup'"),
        ({"hyperparameters": [1]}, "hyperparameters are not named values"),
        ({"hyperparameters": {"batch_size": 91, "learning_rate": 0.5}}, "batch_size is 91; bars has 90"),
        ({"architecture": 5}, "architecture is not a name"),
        (
            {"architecture": "other.py:Net"},
            "The checkpoint is of other.py:Net; those of lenet5, mlp, convnetjs, resnet",
        ),
    ],
)
def test_a_checkpoint_that_says_what_cannot_be_changes_nothing(
    page: Page, bars: Data, about: dict[str, Any], why: str
) -> None:
    page.begin("bars")
    page.load(with_metadata(bars, **about))
    assert why in page.refused[-1]
    assert page.status.hyper == Hyperparameters(batch_size=8, every=1)
    one_more_is_recorded(page, 1)
    assert page.status.hyper.learning_rate == page.worker._loop.hyper.learning_rate == 0.01


def test_a_model_that_cannot_be_recorded_does_not_end_the_recording(page: Page, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(256, 3)\n"
        "    def forward(self, x):\n"
        "        if len(x) == 1:\n            raise ValueError('one is too few')\n"
        "        return self.fc(x.flatten(1))\n"
    )
    spec = f"{tmp_path / 'net.py'}:Net"
    page.begin("bars", {"model_spec": spec, "architecture": "mlp", "input_shape": [1, 16, 16]})
    page.reset(architecture="net.py:Net")
    assert "one is too few" in page.status.message
    assert page.status.architecture == "mlp"
    one_more_is_recorded(page, 1)


def test_data_that_the_network_does_not_fit_change_nothing(page: Page, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n"
    )
    page.begin("bars", {"model_spec": f"{tmp_path / 'net.py'}:net", "architecture": "net.py:net"})
    page.reset(data="digits")
    assert "to learn digits it must give (10,)" in page.status.message
    assert (page.status.data, page.status.class_names) == ("bars", ("upper", "lower", "upright"))
    one_more_is_recorded(page, 1)
    page.reset()
    assert (page.status.state, page.status.data, page.status.train_examples) == ("ready", "bars", 90)


def test_a_start_that_fails_says_what_did_not_start(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("in the way")
    monkeypatch.setenv("TENSORVIEW_DATA", str(tmp_path / "data"))
    page.begin("mnist", {"architecture": "mlp"}, learning_rate=0.3)
    status = page.status
    assert (status.state, status.data, status.architecture) == ("failed", "mnist", "mlp")
    assert status.hyper.learning_rate == 0.3
    page.reset()
    assert page.status.message.startswith("MNIST could not be downloaded")
    page.say("set", values={"learning_rate": 0.2})
    assert page.status.message.startswith("MNIST could not be downloaded")
    page.reset(architecture="convnetjs", data="bars")
    status = page.status
    assert (status.state, status.data, status.architecture) == ("ready", "bars", "convnetjs")
    assert (status.message, status.hyper.learning_rate) == ("", 0.2)


def test_a_message_goes_when_it_is_over(page: Page) -> None:
    page.begin("bars")
    page.say("step")
    with torch.no_grad():
        page.worker._loop.model.conv2.weight.fill_(torch.nan)
    page.say("step")
    assert page.status.message.startswith("The loss is not a number after step 1, so training has paused")
    page.say("set", values={"learning_rate": 0.001})
    assert page.status.message.startswith("The loss is not a number")
    page.say("step")
    assert (page.status.step, page.status.message) == (2, "")
    page.reset(architecture="vgg")
    assert "no architecture 'vgg'" in page.status.message
    page.say("probe", index=1, label=None, shape=None)
    assert page.status.message == ""
    page.load(other_network())
    page.say("save", answer=2)
    page.load(page.saved)
    assert (page.status.state, page.status.message) == ("paused", "")
