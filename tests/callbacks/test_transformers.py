"""Hugging Face's own Trainer, with the callback."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from tensorview.callbacks.transformers import WatchCallback
from tensorview.opening.weights import load_weights
from tensorview.runs import CheckpointRun, Run

pytestmark = pytest.mark.filterwarnings("ignore")


def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=8, num_labels=3, **size))


@pytest.fixture
def data() -> list[dict[str, Tensor]]:
    torch.manual_seed(1)
    return [{"input_ids": torch.randint(0, 20, (6,)), "labels": torch.tensor(i % 3)} for i in range(40)]


@pytest.fixture
def probe() -> dict[str, Tensor]:
    return {"input_ids": torch.arange(6)[None], "attention_mask": torch.ones(1, 6, dtype=torch.int64)}


def trainer(folder: Path, model: Any, data: Any, callback: WatchCallback | None, **options: Any) -> Trainer:
    quiet = {"use_cpu": True, "disable_tqdm": True, "report_to": "none", "per_device_train_batch_size": 4}
    quiet |= {"logging_steps": 2, "save_strategy": "no", "num_train_epochs": 2, "output_dir": str(folder / "out")}
    arguments = TrainingArguments(**{**quiet, **options})
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=[callback] if callback else [])


def logits(model: Any, probe: dict[str, Tensor]) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(**probe).logits[0].numpy()


def test_a_training_becomes_a_run(data: Any, probe: Any, tmp_path: Path) -> None:
    model = bert()
    first = logits(model, probe)
    training = trainer(tmp_path, model, data, WatchCallback(probe, tmp_path / "run", every=8), eval_strategy="epoch")
    training.train()
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 8, 16, 20)
    assert not run.growing
    assert run.about["model"] == "BertForSequenceClassification"
    np.testing.assert_allclose(run.trace(0)["classifier"].values, first, rtol=1e-5)
    np.testing.assert_allclose(run.trace(20)["classifier"].values, logits(model, probe), rtol=1e-5)
    logged = [(entry["step"], entry["loss"]) for entry in training.state.log_history if "loss" in entry]
    steps, losses = run.metrics.series("loss")
    assert list(zip(steps.tolist(), losses.tolist(), strict=True)) == logged
    assert run.metrics.series("eval_loss")[0].tolist() == [10, 20]
    assert "train_runtime" not in run.metrics.names


def test_training_goes_on_from_a_checkpoint(data: Any, probe: Any, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 5}
    callback = WatchCallback(probe, tmp_path / "run", every=5)
    trainer(tmp_path, bert(), data, callback, **saving, num_train_epochs=1).train()
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 5, 10)
    model = bert()
    again = WatchCallback(probe, tmp_path / "run", every=5)
    trainer(tmp_path, model, data, again, **saving).train(resume_from_checkpoint=True)
    assert run.refresh()
    assert run.steps == (0, 5, 10, 15, 20)
    assert not (tmp_path / "run.1").exists()
    np.testing.assert_allclose(run.trace(20)["classifier"].values, logits(model, probe), rtol=1e-5)
    played = CheckpointRun(tmp_path / "out", bert(), probe, load_weights)
    assert played.steps == (5, 10, 15, 20)
    np.testing.assert_allclose(played.trace(20)["classifier"].values, logits(model, probe), rtol=1e-5)


def test_after_an_exception_the_same_trainer_trains_again(data: Any, probe: Any, tmp_path: Path) -> None:
    class Failing(BertForSequenceClassification):
        left = 3

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if self.training:
                Failing.left -= 1
                if Failing.left == 0:
                    raise ZeroDivisionError
            return super().forward(*args, **kwargs)

    watching = WatchCallback(probe, tmp_path / "run", every=5)
    training = trainer(tmp_path, Failing(bert().config), data, watching, remove_unused_columns=False)
    with pytest.raises(ZeroDivisionError):
        training.train()
    training.train()
    assert Run.open(tmp_path / "run").steps == (0, 5, 10, 15, 20)
    assert not Run.open(tmp_path / "run").growing


def test_an_exception_that_ends_the_process_ends_the_run(tmp_path: Path) -> None:
    here = Path(__file__).parent
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(here)!r})
        from pathlib import Path
        import torch
        import conftest
        from test_transformers import WatchCallback, bert, trainer
        data = [{{"input_ids": torch.arange(6), "labels": torch.tensor(9 if i == 30 else 1)}} for i in range(40)]
        path = Path({str(tmp_path)!r})
        probe = {{"input_ids": torch.arange(6)[None]}}
        trainer(path, bert(), data, WatchCallback(probe, path / "run", every=1)).train()
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "IndexError" in done.stderr
    assert not (tmp_path / "run" / "writer.lock").exists()
    assert len(Run.open(tmp_path / "run").steps) > 1
