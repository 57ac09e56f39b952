"""Gradients of activations in a run, another probe while it is recorded, and readers that notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tensorview.errors import CaptureError, OpenError
from tensorview.runs import Run, watch

from .conftest import Net, train


def third(output: Tensor) -> Tensor:
    return cross_entropy(output, torch.tensor([2]))


def gradient_of_head(net: Net, x: Tensor, label: int) -> np.ndarray:
    """Softmax minus one-hot, which is the gradient of a cross entropy."""
    net.eval()
    with torch.no_grad():
        expected = net(x).softmax(-1)[0]
    net.train()
    expected[label] -= 1
    return expected.numpy()


def test_gradients_of_activations_have_the_network_of_the_activations(net: Net, probe: Tensor, tmp_path: Path) -> None:
    content = ("activations", "weights", "activation_gradients")
    expected = {0: gradient_of_head(net, probe, 2)}
    with watch(net, probe, tmp_path, every=2, content=content, probe_loss=third) as run:

        def after(loss: float) -> None:
            run.step(loss=loss)
            expected[run.number] = gradient_of_head(net, probe, 2)

        train(net, 4, after)
    read = Run.open(tmp_path)
    assert read.content == content
    for step in read.steps:
        trace, gradients = read.trace(step), read.trace(step, "activation_gradients")
        described = [(n.name, n.kind, n.shape, n.parents, n.module_name) for n in (*trace.inputs, *trace)]
        assert [
            (n.name, n.kind, n.shape, n.parents, n.module_name) for n in (*gradients.inputs, *gradients)
        ] == described
        assert gradients.graph.edges == trace.graph.edges
        assert gradients.outputs == trace.outputs == ("head",)
        np.testing.assert_allclose(gradients["head"].values, expected[step], atol=1e-6)
        by_chain = (net.head.weight.detach().numpy().T @ expected[step]).reshape(4, 8, 8)
        if step == 4:
            np.testing.assert_allclose(gradients["add"].values, by_chain, atol=1e-6)
        assert len(read.trace(step, "weights")) == len(list(net.parameters()))
        assert gradients.inputs[0].values.shape == (1, 8, 8)


def test_gradients_of_activations_alone(net: Net, probe: Tensor, tmp_path: Path) -> None:
    watch(net, probe, tmp_path, content="activation_gradients", probe_loss=third).close()
    read = Run.open(tmp_path)
    gradients = read.trace(0, "activation_gradients")
    assert gradients.graph.edges[:2] == (("conv", "norm"), ("norm", "relu"))
    assert len(read.trace(0)) == 0


def test_training_is_the_same_with_gradients_of_activations(probe: Tensor, tmp_path: Path) -> None:
    def result(recorded: bool) -> dict[str, Tensor]:
        torch.manual_seed(9)
        model = Net()
        if recorded:
            with watch(model, probe, tmp_path, every=1, content="activation_gradients", probe_loss=third) as run:
                train(model, 5, lambda loss: run.step(loss=loss))
        else:
            train(model, 5)
        return {**model.state_dict(), **{n: p.grad for n, p in model.named_parameters()}, "r": torch.rand(1)}

    plain, recorded = result(False), result(True)
    assert all(torch.equal(plain[name], recorded[name]) for name in plain)


def test_a_loss_is_asked_for(net: Net, probe: Tensor, tmp_path: Path) -> None:
    with pytest.raises(OpenError, match="those of a loss of the probe: give one, as probe_loss="):
        watch(net, probe, tmp_path, content="activation_gradients")
    with pytest.raises(CaptureError, match="must be a tensor of one number"):
        watch(net, probe, tmp_path, content="activation_gradients", probe_loss=lambda output: output)


# Another probe, another cadence ------------------------------------------------------------------------------------


def test_another_probe_is_recorded_at_once(net: Net, probe: Tensor, tmp_path: Path) -> None:
    content = ("activations", "activation_gradients")
    with watch(net, probe, tmp_path, every=2, content=content, probe_loss=third) as run:
        train(net, 3, lambda loss: run.step(loss=loss))
        read = Run.open(tmp_path)
        assert read.steps == (0, 2)
        other = 1 - probe
        run.record(other, lambda output: cross_entropy(output, torch.tensor([0])))
        assert read.refresh()
        assert read.steps == (0, 2, 3), "the step that was reached, though it was none to record"
        np.testing.assert_array_equal(read.trace(3).inputs[0].values, other[0].numpy())
        np.testing.assert_allclose(
            read.trace(3, "activation_gradients")["head"].values, gradient_of_head(net, other, 0), atol=1e-6
        )
        revision = read.revision
        assert not read.refresh()
        run.record(probe)
        assert read.refresh()
        assert read.revision == revision + 1
        np.testing.assert_array_equal(read.trace(3).inputs[0].values, probe[0].numpy())
        np.testing.assert_allclose(
            read.trace(3, "activation_gradients")["head"].values, gradient_of_head(net, probe, 0), atol=1e-6
        )
        run.step(loss=1)
        assert read.refresh()
        assert read.steps == (0, 2, 3, 4)
        assert read.revision == revision + 1, "a step that is new changes none that was there"


def test_a_probe_that_does_not_fit_changes_nothing(net: Net, probe: Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=1) as run:
        with pytest.raises(CaptureError):
            run.record(torch.rand(1, 5))
        with pytest.raises(CaptureError, match="the probe is a str"):
            run.record("digit")
        run.step()
    np.testing.assert_array_equal(Run.open(tmp_path).trace(1).inputs[0].values, probe[0].numpy())


def test_a_rewritten_step_is_noticed_when_newer_ones_have_come_too(net: Net, probe: Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=1) as run:
        run.step()
        read = Run.open(tmp_path)
        run.record(1 - probe)
        run.step()
        assert read.refresh()
        assert (read.steps, read.revision) == ((0, 1, 2), 1)


def test_a_run_that_is_begun_anew_is_another_revision(net: Net, probe: Tensor, tmp_path: Path) -> None:
    watch(net, probe, tmp_path / "run").close()
    read = Run.open(tmp_path / "run")
    watch(net, probe, tmp_path / "run").close()
    assert read.refresh()
    assert read.revision == 1


def test_the_cadence_may_change(net: Net, probe: Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=4) as run:
        for _ in range(5):
            run.step()
        run.every = 2
        assert run.every == 2
        for _ in range(4):
            run.step()
        with pytest.raises(OpenError, match="every is 0"):
            run.every = 0
    assert Run.open(tmp_path).steps == (0, 4, 6, 8, 9)
