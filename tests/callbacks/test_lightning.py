"""PyTorch Lightning's own trainer, with the callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tensorview.callbacks.lightning import WatchCallback
from tensorview.runs import CheckpointRun, Run

pytestmark = pytest.mark.filterwarnings("ignore")


class Module(L.LightningModule):
    def __init__(self, logs: bool = True, fails_at: int = -1) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
        self.logs, self.fails_at, self.losses = logs, fails_at, []

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        if self.global_step == self.fails_at:
            raise ZeroDivisionError("on purpose")
        loss = cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        if self.logs:
            self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def loader() -> DataLoader[Any]:
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.rand(40, 4), torch.randint(0, 3, (40,))), batch_size=4)  # ten batches


@pytest.fixture
def probe() -> Tensor:
    return torch.rand(1, 4)


def trainer(folder: Path, callback: L.Callback, **options: Any) -> L.Trainer:
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    quiet |= {"enable_checkpointing": False, "log_every_n_steps": 1, "default_root_dir": folder}
    return L.Trainer(callbacks=[callback], **{**quiet, **options})


def output(module: L.LightningModule, probe: Tensor) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(probe)[0].numpy()


def test_a_training_becomes_a_run(loader: Any, probe: Tensor, tmp_path: Path) -> None:
    module = Module()
    first = output(module, probe)
    trainer(tmp_path, WatchCallback(probe, tmp_path / "run", every=5), max_epochs=2).fit(module, loader, loader)
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 5, 10, 15, 20)
    assert not run.growing
    assert [layer.name for layer in run.trace(0)] == ["model.0", "model.1", "model.2", "model.3"]
    np.testing.assert_allclose(run.trace(0)["model.3"].values, first, rtol=1e-6)
    np.testing.assert_allclose(run.trace(20)["model.3"].values, output(module, probe), rtol=1e-6)
    steps, losses = run.metrics.series("train/loss")
    assert steps.tolist() == list(range(1, 21))
    np.testing.assert_allclose(losses, module.losses, rtol=1e-6)
    assert run.metrics.series("val_loss")[0].tolist() == [10, 20]


def test_accumulated_gradients_and_a_module_that_logs_nothing(loader: Any, probe: Tensor, tmp_path: Path) -> None:
    module = Module(logs=False)
    callback = WatchCallback(probe, tmp_path / "run", every=2)
    trainer(tmp_path, callback, max_epochs=1, accumulate_grad_batches=2).fit(module, loader)
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 2, 4, 5)
    steps, losses = run.metrics.series("loss")
    assert steps.tolist() == [1, 2, 3, 4, 5]
    assert np.isfinite(losses).all()


def test_metrics_come_as_often_as_the_trainer_logs(loader: Any, probe: Tensor, tmp_path: Path) -> None:
    callback = WatchCallback(probe, tmp_path / "run")
    trainer(tmp_path, callback, max_epochs=2, log_every_n_steps=4).fit(Module(), loader)
    assert Run.open(tmp_path / "run").metrics.series("train/loss")[0].tolist()[:4] == [4, 8, 12, 16]


def test_an_exception_ends_the_run_and_a_checkpoint_goes_on_with_it(loader: Any, probe: Tensor, tmp_path: Path) -> None:
    callback = WatchCallback(probe, tmp_path / "run", every=5)
    options = {"max_epochs": 2, "enable_checkpointing": True}
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path, callback, **options).fit(Module(fails_at=13), loader)
    run = Run.open(tmp_path / "run")
    assert not run.growing
    assert run.steps == (0, 5, 10)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    torch.load(checkpoint, weights_only=True)
    module = Module()
    trainer(tmp_path, WatchCallback(probe, tmp_path / "run", every=5), **options).fit(
        module, loader, ckpt_path=checkpoint
    )
    assert run.refresh()
    assert run.steps == (0, 5, 10, 15, 20)
    assert not (tmp_path / "run.1").exists()
    np.testing.assert_allclose(run.trace(20)["model.3"].values, output(module, probe), rtol=1e-6)
    assert run.metrics.series("train/loss")[0].tolist() == list(range(1, 21))


def test_its_checkpoints_play_as_a_run(loader: Any, probe: Tensor, tmp_path: Path) -> None:
    from tensorview.opening.weights import load_weights

    module = Module()
    saving = L.pytorch.callbacks.ModelCheckpoint(
        tmp_path / "saved", every_n_train_steps=5, save_top_k=-1, save_last=True
    )
    trainer(tmp_path, saving, max_epochs=2, enable_checkpointing=True).fit(module, loader)
    assert len(list((tmp_path / "saved").glob("*.ckpt"))) == 5
    run = CheckpointRun(tmp_path / "saved", Module(), probe, load_weights)
    assert run.steps == (5, 10, 15, 20)
    np.testing.assert_allclose(run.trace(20)["model.3"].values, output(module, probe), rtol=1e-6)
    alone = CheckpointRun(tmp_path / "saved", Module().model, probe, load_weights)
    np.testing.assert_allclose(alone.trace(20)["3"].values, output(module, probe), rtol=1e-6)


def test_an_option_that_watch_does_not_have(probe: Tensor, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="evry"):
        WatchCallback(probe, tmp_path, evry=5)
