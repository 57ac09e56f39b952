"""The loop without a process: what it learns, records and says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tensorview.errors import OpenError
from tensorview.runs import Run
from tensorview.training.building import Recipe
from tensorview.training.checkpoint import checkpoint_bytes, read_checkpoint
from tensorview.training.data import Data
from tensorview.training.hyperparameters import Hyperparameters
from tensorview.training.loop import Loop


def run_of(loop: Loop) -> Run:
    return Run.open(loop.recorder.path)


def logits(loop: Loop) -> torch.Tensor:
    with torch.no_grad():
        loop.model.eval()
        found = loop.model(loop.data.inputs(loop.data.held_out.pixels))
        loop.model.train()
    return found


def test_it_learns_and_records(loop: Loop) -> None:
    for _ in range(60):
        loop.batch()
        loop.evaluate_when_due()
    loop.close()
    run = run_of(loop)
    assert run.steps == tuple(range(0, 61, 4))
    assert run.evaluation(run.evaluations[-1]).accuracy > 0.9
    assert run.class_names == ("upper", "lower", "upright")
    assert run.about["architecture"] == "lenet5"
    assert run.about["model"] == "LeNet-5"
    assert run.about["data"] == "bars"
    assert run.about["hyperparameters"]["batch_size"] == 8
    assert {"conv1.weight", "output.bias"} <= {layer.name for layer in run.trace(60, "gradients").layers}


def test_a_batch_is_what_torch_does_by_hand(tmp_path: Path, bars: Data) -> None:
    """Plain gradient descent: metrics and the weights after a step are those of a calculation apart."""
    hyper = Hyperparameters(batch_size=8, learning_rate=0.1, momentum=0.0, weight_decay=0.01)
    loop = Loop(tmp_path, bars, Recipe("mlp", seed=3), hyper)
    twin, _ = Recipe("mlp", seed=3).build(bars)
    rows = torch.randperm(90, generator=torch.Generator().manual_seed(3))[:8]
    out = twin(bars.train.pixels[rows].float() / 255)
    loss = F.cross_entropy(out, bars.train.labels[rows])
    loss.backward()
    squares = sum(p.detach().square().sum().item() for p in twin.parameters())
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in twin.parameters()))
    loop.batch()
    said = run_of(loop).metrics.at(1)
    assert said["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert said["weight_decay_loss"] == pytest.approx(0.005 * squares, rel=1e-5)
    assert said["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    assert said["train_accuracy"] == float((out.argmax(1) == bars.train.labels[rows]).float().mean())
    assert (said["examples"], said["learning_rate"]) == (8, 0.1)
    for mine, theirs in zip(loop.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs - 0.1 * (theirs.grad + 0.01 * theirs))
    loop.close()


def test_smoothed_labels_and_a_cycle_are_what_torch_does_by_hand(tmp_path: Path, bars: Data) -> None:
    hyper = Hyperparameters(
        batch_size=9, learning_rate=0.5, momentum=0.0, weight_decay=0.0, label_smoothing=0.2, cycle=0.5
    )
    loop = Loop(tmp_path, bars, Recipe("mlp", seed=3), hyper)
    twin, _ = Recipe("mlp", seed=3).build(bars)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(3))
    for k in range(5):
        rate = hyper.learning_rate_at(k / 10)
        out = twin(bars.train.pixels[order[9 * k : 9 * k + 9]].float() / 255)
        truth = F.one_hot(bars.train.labels[order[9 * k : 9 * k + 9]], 3) * 0.8 + 0.2 / 3
        loss = -(out.log_softmax(1) * truth).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        loop.batch()
        said = run_of(loop).metrics.at(k + 1)
        assert said["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert said["learning_rate"] == pytest.approx(rate, rel=1e-5)
        with torch.no_grad():
            for value, gradient in zip(twin.parameters(), gradients, strict=True):
                value -= rate * gradient
    for mine, theirs in zip(loop.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    loop.close()


def test_every_epoch_has_every_example_once_and_no_batch_is_cut_short(loop: Loop) -> None:
    loop.set(batch_size=25)
    drawn = [loop._draw(25) for _ in range(18)]  # five epochs of 90
    assert all(len(rows) == 25 for rows in drawn)
    for epoch in torch.cat(drawn).view(5, 90):
        assert sorted(epoch.tolist()) == list(range(90))


def test_hyperparameters_reach_the_next_batch(loop: Loop) -> None:
    loop.batch()
    loop.set(learning_rate=0.0, batch_size=5, every=1)
    before = [value.clone() for value in loop.model.parameters()]
    loop.batch()
    assert all(torch.equal(a, b) for a, b in zip(before, loop.model.parameters(), strict=True))
    assert loop.optimizer.param_groups[0]["lr"] == 0.0
    assert loop.examples == 8 + 5
    assert 2 in run_of(loop).steps
    loop.set(optimizer="adamw", learning_rate=0.01, momentum=0.8)
    assert isinstance(loop.optimizer, torch.optim.AdamW)
    assert loop.optimizer.param_groups[0]["betas"][0] == 0.8
    loop.batch()


def test_a_batch_larger_than_the_data_is_refused_and_changes_nothing(loop: Loop, tmp_path: Path, bars: Data) -> None:
    with pytest.raises(OpenError, match="batch_size is 91; bars has 90 training examples"):
        loop.set(batch_size=91, learning_rate=0.5)
    assert loop.hyper.learning_rate == 0.05
    with pytest.raises(OpenError, match="batch_size is 100"):
        Loop(tmp_path / "other", bars, Recipe(), Hyperparameters(batch_size=100))


def test_the_confusion_matrix_and_predictions_are_those_of_a_pass_apart(loop: Loop, bars: Data) -> None:
    from sklearn.metrics import confusion_matrix

    for _ in range(15):
        loop.batch()
    loop.evaluate(whole=True)
    run = run_of(loop)
    found = run.evaluation(15)
    mine = logits(loop)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(bars.held_out.labels, mine.argmax(1)))
    right = [(mine.argmax(1) == c)[bars.held_out.labels == c].float().mean().item() for c in range(3)]
    np.testing.assert_allclose(found.class_accuracy, right)
    assert found.images.shape == (24, 16, 16)
    for image, label, top, share in zip(found.images, found.labels, found.top, found.probabilities, strict=True):
        row = next(i for i in range(36) if np.array_equal(bars.held_out.pixels[i, 0].numpy(), image))
        assert label == bars.held_out.labels[row]
        wanted = mine[row].double().softmax(0)
        np.testing.assert_allclose(share, wanted[top], rtol=1e-5)
        assert (np.diff(share) <= 0).all()
    assert run.metrics.at(15)["validation_loss"] == pytest.approx(
        F.cross_entropy(mine, bars.held_out.labels).item(), rel=1e-5
    )
    assert run.metrics.at(15)["validation_accuracy"] == found.accuracy


def test_an_epoch_ends_with_all_held_out_examples(loop: Loop) -> None:
    loop.set(batch_size=30)
    for k in range(3):
        loop.batch()
        assert run_of(loop).metrics.at(k + 1)["epoch"] == pytest.approx((k + 1) / 3, rel=1e-5)
        assert loop.evaluate_when_due() == (k == 2)
    assert loop.epoch == 1.0
    assert run_of(loop).evaluation(3).count == 36


def test_judging_takes_little_of_the_time(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorview.training.loop.JUDGING", 1e-9)
    loop.evaluate()
    loop.set(batch_size=90)
    loop.batch()
    assert not loop.evaluate_when_due(), "so soon after the last"
    monkeypatch.setattr("tensorview.training.loop.LONGEST", 0.0)
    assert loop.evaluate_when_due(), "the end of an epoch does not wait for ever"
    assert run_of(loop).evaluation(1).count == 36


def test_an_evaluation_gives_way(loop: Loop) -> None:
    loop.batch()
    assert not loop.evaluate(whole=True, stop=lambda: True)
    assert run_of(loop).evaluations == (0,)
    assert all(module.training for module in loop.model.modules())


def test_another_example_and_a_drawing_are_recorded_at_once(loop: Loop, bars: Data) -> None:
    loop.batch()
    loop.look_at(7)
    assert run_of(loop).steps == (0, 1)
    np.testing.assert_allclose(run_of(loop).trace(1).inputs[0].values, bars.held_out.pixels[7] / 255)
    assert loop.probe.label == int(bars.held_out.labels[7])
    drawing = np.zeros((40, 40), np.uint8)
    drawing[10:30, 18:22] = 255
    loop.look_at(image=drawing, label=2)
    seen = run_of(loop).trace(1)
    assert seen.inputs[0].values.shape == (1, 16, 16)
    with torch.no_grad():
        wanted = loop.model.eval()(torch.tensor(seen.inputs[0].values)[None])[0]
    np.testing.assert_allclose(seen["output"].values, wanted.numpy(), rtol=1e-5)
    gradients = run_of(loop).trace(1, "activation_gradients")
    shares = wanted.softmax(0) - torch.tensor([0.0, 0.0, 1.0])  # of the cross-entropy with respect to logits
    np.testing.assert_allclose(gradients["output"].values, shares.numpy(), rtol=1e-4)
    with pytest.raises(OpenError, match="no class 3; there are 3"):
        loop.look_at(image=drawing, label=3)
    with pytest.raises(OpenError, match="no held-out example 36; there are 36"):
        loop.look_at(36)
    with pytest.raises(OpenError, match=r"float64 of shape \(3,\)"):
        loop.look_at(image=np.ones(3))


# Faults ------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_is_named_and_training_can_go_on(loop: Loop) -> None:
    for _ in range(3):
        loop.batch()
    with torch.no_grad():
        loop.model.conv2.weight[0, 0, 0, 0] = math.nan
    assert math.isnan(loop.batch())
    assert loop.halted.startswith("The loss is not a number after step 3")
    assert loop.warnings == ("conv2: 1 of 2,400 weights are NaN or infinite.",)
    loop.evaluate()
    assert any(said.startswith("conv2: ") and "NaN" in said for said in loop.warnings)
    assert math.isfinite(loop.batch())
    assert (loop.step, loop.halted) == (4, "")
    assert math.isnan(run_of(loop).metrics.series("loss")[1][3])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_learning_rate_of_a_thousand_million_survives_and_is_named(loop: Loop, optimizer: str) -> None:
    loop.set(optimizer=optimizer, learning_rate=1e9)
    for _ in range(20):
        loop.batch()
        if loop.halted:
            break
    loop.evaluate()
    assert any("explode" in said or "NaN" in said for said in loop.warnings)
    loop.set(learning_rate=0.01)
    loop._go_back()
    assert math.isfinite(loop.batch())
    assert loop.recorder.is_recording


# Checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("architecture", ["lenet5", "resnet"])
def test_a_checkpoint_gives_identical_logits_and_goes_on_alike(
    tmp_path: Path, bars: Data, optimizer: str, architecture: str
) -> None:
    hyper = Hyperparameters(batch_size=30, optimizer=optimizer, learning_rate=0.003)
    first = Loop(tmp_path / "first", bars, Recipe(architecture), hyper)
    for _ in range(3):  # an epoch, after which the order of the examples is that of another loop's first
        first.batch()
    content = first.checkpoint()
    second = Loop(tmp_path / "second", bars, Recipe(architecture, seed=9), hyper, checkpoint=read_checkpoint(content))
    assert (second.step, second.examples, second.epoch) == (3, 90, 1.0)
    assert torch.equal(logits(first), logits(second))
    assert Run.open(tmp_path / "second").steps == (3,)
    second._random.set_state(first._random.get_state())
    for _ in range(3):
        assert first.batch() == second.batch()
    assert torch.equal(logits(first), logits(second))
    first.close()
    second.close()


def test_a_file_of_weights_alone_is_a_checkpoint_without_a_step(tmp_path: Path, bars: Data) -> None:
    from safetensors.torch import save

    model, _ = Recipe(seed=5).build(bars)
    content = save({name: value.contiguous() for name, value in model.state_dict().items()})
    loop = Loop(tmp_path, bars, Recipe(), Hyperparameters(batch_size=8), checkpoint=read_checkpoint(content))
    assert loop.step == 0
    assert torch.equal(loop.model.conv1.weight, model.conv1.weight)
    loop.close()


def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, bars: Data, loop: Loop) -> None:
    content = loop.checkpoint()
    for broken in (b"", b"\x80\x04pickle", content[:-10], content[:20], b"PK\x03\x04"):
        with pytest.raises(OpenError, match="not a whole safetensors file"):
            read_checkpoint(broken)
    other = nn.Sequential(nn.Linear(2, 3))
    strange = checkpoint_bytes(other, torch.optim.SGD(other.parameters()), {"step": 1})
    with pytest.raises(OpenError, match=r"does not fit LeNet5: conv1\.weight is missing there and \(6, 1, 5, 5\) here"):
        Loop(tmp_path / "x", bars, Recipe(), Hyperparameters(batch_size=8), checkpoint=read_checkpoint(strange))


def test_a_checkpoint_also_loads_as_weights(loop: Loop, tmp_path: Path, bars: Data) -> None:
    loop.batch()
    (tmp_path / "saved.safetensors").write_bytes(loop.checkpoint())
    model, _ = Recipe("lenet5", weights=str(tmp_path / "saved.safetensors"), seed=4).build(bars)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loop.model.parameters(), strict=True))


def test_a_checkpoint_holds_no_pickle(loop: Loop) -> None:
    from safetensors.torch import load

    loop.batch()
    found = load(loop.checkpoint())
    assert {"conv1.weight", "optimizer/conv1.weight/momentum_buffer"} <= set(found)
