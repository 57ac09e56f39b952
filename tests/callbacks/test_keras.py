"""Keras's own `fit` on its torch backend, with the callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorview.callbacks.keras import WatchCallback, keras
from tensorview.runs import Run

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(0)
    return numbers.random((40, 8, 6, 1), dtype=np.float32), numbers.integers(0, 3, 40)


def network(*more: Any) -> Any:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 6, 1)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.Dropout(0.3),
            *more,
            layers.Flatten(),
            layers.Dense(3, name="head"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def test_a_training_becomes_a_run(data: Any, tmp_path: Path) -> None:
    model, probe = network(), data[0][:1]
    first = np.array(model(probe).detach())
    content = ("activations", "weights")
    callback = WatchCallback(probe, tmp_path / "run", every=5, content=content)
    history = model.fit(*data, batch_size=4, epochs=2, validation_data=data, verbose=0, callbacks=[callback])
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 5, 10, 15, 20)
    assert not run.growing
    np.testing.assert_allclose(run.trace(0)["head"].values, first[0], rtol=1e-5)
    np.testing.assert_allclose(run.trace(20)["head"].values, np.array(model(probe).detach())[0], rtol=1e-5)
    conv = keras.Model(model.inputs, model.get_layer("conv").output)(probe)
    np.testing.assert_allclose(run.trace(20)["conv"].values, np.moveaxis(np.array(conv.detach())[0], -1, 0), rtol=1e-5)
    np.testing.assert_array_equal(run.trace(20).inputs[0].values, probe[0].transpose(2, 0, 1))
    kernel, bias = model.get_layer("conv").get_weights()
    np.testing.assert_array_equal(run.trace(20, "weights")["conv.kernel"].values, kernel)
    np.testing.assert_array_equal(run.trace(20, "weights")["conv.bias"].values, bias)
    assert run.trace(20, "weights")["conv.kernel"].kind == "convolution"
    steps, losses = run.metrics.series("loss")
    assert steps.tolist() == list(range(1, 21))
    np.testing.assert_allclose(losses[[9, 19]], history.history["loss"], rtol=1e-6)
    steps, losses = run.metrics.series("val_loss")
    assert steps.tolist() == [10, 20]
    np.testing.assert_allclose(losses, history.history["val_loss"], rtol=1e-6)


def test_a_second_fit_goes_on_with_the_run(data: Any, tmp_path: Path) -> None:
    model = network()
    callback = WatchCallback(data[0][:1], tmp_path / "run", every=5)
    model.fit(*data, batch_size=4, epochs=1, verbose=0, callbacks=[callback])
    model.fit(*data, batch_size=4, epochs=1, verbose=0, callbacks=[callback])
    assert Run.open(tmp_path / "run").steps == (0, 5, 10, 15, 20)
    assert not (tmp_path / "run.1").exists()


def test_it_goes_on_where_a_backup_was_made(data: Any, tmp_path: Path) -> None:
    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if int(self.model.optimizer.iterations) == 13:
                raise ZeroDivisionError

    def fit(*more: Any) -> None:
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        watching = WatchCallback(data[0][:1], tmp_path / "run", every=5)
        network().fit(*data, batch_size=4, epochs=2, verbose=0, callbacks=[watching, backup, *more])

    with pytest.raises(ZeroDivisionError):
        fit(Failing())
    fit()
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 5, 10, 15, 20)
    assert run.metrics.series("loss")[0].tolist() == list(range(1, 21))


def test_a_model_with_python_of_its_own(data: Any, tmp_path: Path) -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.head = keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.head(self.flat(x))

    model = Own()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = WatchCallback(data[0][:1], tmp_path / "run", every=5)
    model.fit(*data, batch_size=4, epochs=1, verbose=0, callbacks=[callback])
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 5, 10)
    np.testing.assert_allclose(
        run.trace(10)[run.trace(10).outputs[0]].values, np.array(model(data[0][:1]).detach())[0], rtol=1e-5
    )
