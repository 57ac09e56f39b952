"""Recording: what is written, when, and that training never notices."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tensorview as tv
from tensorview.capture import Trace
from tensorview.runs import Run, watch

from .conftest import Net, files, train


def hooked(model: nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What the modules return for `x` in eval mode, by plain forward hooks."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, out: torch.Tensor) -> None:
            found.setdefault(name, out[0].numpy().copy())

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    with torch.no_grad():
        model(x)
    for module, mode in modes:
        module.training = mode
    for handle in handles:
        handle.remove()
    return found


# What is recorded --------------------------------------------------------------------------------------------------


def test_recorded_values_are_those_of_the_model_at_that_step(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    expected = {0: hooked(net, probe)}
    with watch(net, probe, tmp_path / "run", every=3) as run:

        def after(loss: float) -> None:
            run.step(loss=loss)
            expected[run.number] = hooked(net, probe)

        train(net, 7, after)
    read = Run.open(tmp_path / "run")
    assert read.steps == (0, 3, 6, 7)
    for step in read.steps:
        trace = read.trace(step)
        np.testing.assert_array_equal(trace["input"].values, probe[0].numpy())
        for name in ("conv", "norm", "head"):
            np.testing.assert_array_equal(trace[name].values, expected[step][name])
    assert not np.array_equal(expected[0]["head"], expected[7]["head"])


def test_metrics_are_kept_for_every_step(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=5) as run:
        losses = train(net, 12, lambda loss: run.step(loss=loss, half=torch.tensor(loss / 2)))
    metrics = Run.open(tmp_path).metrics
    assert metrics.names == ("loss", "half")
    steps, values = metrics.series("loss")
    np.testing.assert_array_equal(steps, np.arange(1, 13))
    np.testing.assert_array_equal(values, losses)
    assert metrics.at(5) == {"loss": losses[4], "half": pytest.approx(losses[4] / 2, rel=1e-6)}
    assert metrics.at(0) == {}


def test_what_is_no_number_is_named_once_and_nan_is_kept(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path) as run:
        with pytest.warns(RuntimeWarning, match="metric 'name' is a str, not a number"):
            run.step(loss=float("nan"), name="x", big=float("inf"))
        run.step(loss=1.0, name="x")
    steps, values = Run.open(tmp_path).metrics.series("loss")
    assert steps.tolist() == [1, 2]
    assert np.isnan(values[0])
    assert values[1] == 1
    assert Run.open(tmp_path).metrics.at(1)["big"] == float("inf")
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_weights_and_gradients_are_recorded_as_they_are(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=2, content=("activations", "weights", "gradients")) as run:
        train(net, 2, lambda loss: run.step(loss=loss))
        expected = {name: (p.detach().clone().numpy(), p.grad.clone().numpy()) for name, p in net.named_parameters()}
    read = Run.open(tmp_path)
    assert read.content == ("activations", "weights", "gradients")
    weights, gradients = read.trace(2, "weights"), read.trace(2, "gradients")
    assert [layer.name for layer in weights] == list(expected)
    for name, (weight, gradient) in expected.items():
        np.testing.assert_array_equal(weights[name].values, weight)
        np.testing.assert_array_equal(gradients[name].values, gradient)
    assert weights["conv.weight"].kind == "convolution"
    assert "conv.weight" not in read.trace(2)
    assert read.trace(0, "gradients")["conv.weight"].values is None, "no backward had run"


def test_only_weights(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    watch(net, probe, tmp_path, content="weights").close()
    trace = Trace.load(tmp_path / "step-00000000.safetensors")
    assert {layer.name.split("/")[0] for layer in trace} == {"weights"}


def test_steps_may_be_numbered_by_the_loop(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=100) as run:
        for number in (30, 60, 90, 120, 150, 210):
            run.step(number, loss=1)
    assert Run.open(tmp_path).steps == (0, 120, 210)
    assert Run.open(tmp_path).metrics.series("loss")[0].tolist() == [30, 60, 90, 120, 150, 210]


def test_the_last_step_is_recorded_unless_training_failed(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), watch(net, probe, tmp_path / "failed") as run:
        run.step()
        _ = 1 / 0
    assert Run.open(tmp_path / "failed").steps == (0,)
    with watch(net, probe, tmp_path / "done") as run:
        run.step()
    assert Run.open(tmp_path / "done").steps == (0, 1)
    assert not Run.open(tmp_path / "done").growing


# Nothing is disturbed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_eval", [True, False])
def test_training_is_the_same_to_the_last_bit(in_eval: bool, probe: torch.Tensor, tmp_path: Path) -> None:
    def result(recorded: bool) -> tuple[list[float], dict[str, torch.Tensor], list[float]]:
        torch.manual_seed(9)
        random.seed(9)
        np.random.seed(9)  # noqa: NPY002
        model = Net()
        if recorded:
            with watch(model, probe, tmp_path, every=1, content=("activations", "gradients"), in_eval=in_eval) as run:
                losses = train(model, 6, lambda loss: run.step(loss=loss))
        else:
            losses = train(model, 6)
        left = [random.random(), float(np.random.rand()), float(torch.rand(1))]  # noqa: NPY002
        return losses, {**model.state_dict(), **{n: p.grad for n, p in model.named_parameters()}}, left

    plain, recorded = result(False), result(True)
    assert plain[0] == recorded[0]
    assert plain[2] == recorded[2]
    assert all(torch.equal(plain[1][name], recorded[1][name]) for name in plain[1])
    assert len(Run.open(tmp_path).steps) == 7


def test_modes_are_put_back_module_by_module(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    net.train()
    net.norm.eval()
    before = [module.training for module in net.modules()]
    with watch(net, probe, tmp_path, every=1) as run:
        run.step()
        assert [module.training for module in net.modules()] == before
    assert not net.conv._forward_hooks


def test_a_probe_of_one_runs_through_batch_norm_of_vectors(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()  # in train mode it refuses a single sample
    watch(model, torch.rand(1, 3), tmp_path).close()
    assert Run.open(tmp_path).trace(0)["1"].shape == (4,)


def test_changing_the_probe_afterwards_changes_nothing(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    given = probe.clone()
    with watch(net, given, tmp_path, every=1) as run:
        given.zero_()
        run.step()
    np.testing.assert_array_equal(Run.open(tmp_path).trace(1)["input"].values, probe[0].numpy())


# The directory -----------------------------------------------------------------------------------------------------


def test_a_run_that_is_there_moves_aside(net: Net, probe: torch.Tensor, tmp_path: Path, capsys: Any) -> None:
    for loss in (1.0, 2.0, 3.0):
        with watch(net, probe, tmp_path / "run", every=1) as run:
            for _ in range(int(loss)):
                run.step(loss=loss)
    assert {path.name: Run.open(path).metrics.at(9)["loss"] for path in tmp_path.iterdir()} == {
        "run": 3,
        "run.1": 1,
        "run.2": 2,
    }
    assert Run.open(tmp_path / "run.2").steps == (0, 1, 2)
    assert "is now in" in capsys.readouterr().err


def test_a_run_goes_on(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=2) as run:
        for _ in range(4):
            run.step(loss=1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "tim')  # as a killed writer may leave it
    left = tmp_path / "step-00000006.safetensors.123.tmp"
    left.write_bytes(b"half")
    before = (tmp_path / "step-00000004.safetensors").read_bytes()
    with watch(net, probe, tmp_path, every=2, resume=True) as run:
        assert run.number == 4
        for _ in range(3):
            run.step(loss=2)
    read = Run.open(tmp_path)
    assert read.steps == (0, 2, 4, 6, 7)
    assert (tmp_path / "step-00000004.safetensors").read_bytes() == before
    assert read.metrics.series("loss")[0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert not left.exists()


def test_two_writers_are_told(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    first = watch(net, probe, tmp_path)
    with pytest.raises(tv.OpenError, match=f"is being written by process {os.getpid()} on"):
        watch(net, probe, tmp_path)
    first.close()
    watch(net, probe, tmp_path).close()
    assert "writer.lock" not in files(tmp_path)


def test_a_lock_of_a_process_that_ended_is_taken_over(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    import socket

    lock = tmp_path / "writer.lock"
    lock.write_text(json.dumps({"pid": ended.pid, "host": socket.gethostname(), "born": None, "mark": "x"}))
    with watch(net, probe, tmp_path) as run:
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert run.is_recording
    # This process's number, given to another one that started at another time.
    lock.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "born": "1", "mark": "x"}))
    watch(net, probe, tmp_path).close()
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "born": None, "mark": "x"}))
    with pytest.raises(tv.OpenError, match="process 1 on elsewhere"):
        watch(net, probe, tmp_path)


def test_keep_leaves_the_first_the_last_and_some_between(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=1, keep=9) as run:
        for step in range(1, 65):
            run.step()
            kept = Run.open(tmp_path).steps
            assert len(kept) <= 9
            assert kept[0] == 0
            assert kept[-1] == step
    gaps = np.diff(kept)
    assert len(kept) == 9
    assert gaps.max() <= 2.01 * np.median(gaps)


def test_a_step_stays_within_the_budget(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 20 * 22, 5)).eval()
    x = torch.rand(1, 1, 20, 22)
    full = tv.capture(model, x)
    with watch(model, x, tmp_path, every=1, budget=20_000) as run:
        run.step()
    trace = Run.open(tmp_path).trace(1)
    layers = (*trace.inputs, *trace)
    values = [layer.values for layer in layers if layer.values is not None]
    reduced = [part for layer in layers for part in (layer.reduced or {}).values()]
    assert sum(array.nbytes for array in (*values, *reduced)) <= 20_000
    np.testing.assert_array_equal(trace["3"].values, full["3"].values)
    np.testing.assert_array_equal(trace["input"].values, full["input"].values)
    assert reduced
    for layer in trace:
        if layer.reduced is not None:
            np.testing.assert_allclose(layer.reduced["mean"], full[layer.name].values.mean(axis=0), atol=1e-6)
        elif layer.values is not None:
            np.testing.assert_array_equal(layer.values, full[layer.name].values)
    assert any("budget" in warning for warning in trace.warnings)


def test_large_weights_keep_their_first_rows(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(50, 40), nn.Linear(40, 3))
    watch(model, torch.rand(1, 50), tmp_path, content="weights", budget=4000).close()
    trace = Run.open(tmp_path).trace(0, "weights")
    assert sum(layer.values.nbytes for layer in trace) <= 4000
    first = trace["0.weight"].values
    assert 10 <= len(first) < 40
    np.testing.assert_array_equal(first, model[0].weight.detach().numpy()[: len(first)])
    np.testing.assert_array_equal(trace["1.weight"].values, model[1].weight.detach().numpy())
    assert f"of weights/0.weight the first {len(first)} of 40 rows is kept" in trace.warnings[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"every": 0}, "every is 0"),
        ({"keep": 1}, "keep is 1"),
        ({"content": "colours"}, "content is 'colours'; choose of activations, weights, gradients"),
        ({"content": ()}, "content is 'empty'"),
        ({"budget": 0}, "budget is 0"),
    ],
)
def test_impossible_arguments(
    arguments: dict[str, Any], said: str, net: Net, probe: torch.Tensor, tmp_path: Path
) -> None:
    with pytest.raises(tv.OpenError, match=said):
        watch(net, probe, tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_a_probe_that_the_model_cannot_run_is_said_at_once(net: Net, tmp_path: Path) -> None:
    with pytest.raises(tv.CaptureError, match="conv"):
        watch(net, torch.rand(1, 2, 8, 8), tmp_path / "run")
    with pytest.raises(tv.CaptureError, match="the probe is a str"):
        watch(net, "photo.png", tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Faults ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_recording_and_not_the_training(
    net: Net, probe: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings(record=True) as said, watch(net, probe, tmp_path, every=1) as run:
        warnings.simplefilter("always")

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def after(loss: float) -> None:
            if run.number == 3:
                monkeypatch.setattr(Path, "replace", full)
            run.step(loss=loss)

        assert len(train(net, 6, after)) == 6
    assert [str(w.message) for w in said if "recording" in str(w.message)] == [
        f"tensorview: recording to {tmp_path} ends at step 4: [Errno 28] No space left on device"
    ]
    assert len(said) == 1
    read = Run.open(tmp_path)
    assert read.steps == (0, 1, 2, 3)
    assert not read.growing
    assert read.trace(3)["head"].shape == (3,)


def test_a_disk_that_takes_no_more_bytes(tmp_path: Path) -> None:
    """With warnings as errors, too, and with the operating system's own refusal."""
    script = """
        import resource, sys, warnings
        import torch
        from torch import nn
        from tensorview.runs import watch
        warnings.simplefilter("error")
        model = nn.Linear(2000, 2000)
        with watch(model, torch.rand(1, 2000), sys.argv[1], every=1) as run:
            resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
            for _ in range(5):
                run.step(loss=1.0)
            assert not run.is_recording
        print("trained to the end")
    """
    path = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "trained to the end\n", done.stderr
    assert done.stderr.count("ends at step 1") == 1
    assert Run.open(path).steps == (0,)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_metrics_on_a_full_disk(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with watch(net, probe, tmp_path, every=2) as run:
        with pytest.warns(RuntimeWarning, match="ends at step 1: .*No space left on device"):
            run.step(loss=1.0)
        run.step(loss=1.0)
        run.step()
    assert not run.is_recording
    (tmp_path / "metrics.jsonl").unlink()
    read = Run.open(tmp_path)
    assert read.steps == (0,)
    assert read.metrics.names == (), "a run may have no metrics"
    assert not read.refresh()


def test_a_directory_that_cannot_be_made_is_a_warning(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="recording to .* ends at step 0"):
        run = watch(net, probe, tmp_path / "file" / "run")
    with run:
        run.step(loss=1)
        assert not run.is_recording
        assert "not recording" in repr(run)


def test_a_model_that_no_longer_runs_the_probe_ends_only_that(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=1) as run:
        net.head = nn.Linear(7, 3)
        with pytest.warns(RuntimeWarning, match="no longer recorded.*metrics are: "):
            run.step(loss=1)
        run.step(loss=2)
    read = Run.open(tmp_path)
    assert read.steps == (0,)
    assert read.metrics.series("loss")[1].tolist() == [1, 2]


def test_a_forked_child_does_not_end_the_run(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    run = watch(net, probe, tmp_path)
    run._owner, run._writer._lock.pid = -1, -1  # as they are in a child
    run.close()
    assert Run.open(tmp_path).growing
    run._owner = run._writer._lock.pid = os.getpid()
    run.close()
    assert not Run.open(tmp_path).growing


def test_what_a_step_costs_is_said(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with watch(net, probe, tmp_path, every=1) as run:
        run.step()
        sizes = [path.stat().st_size for path in tmp_path.glob("step-*")]
        assert run.bytes_per_step == round(sum(sizes) / 2)
        assert 0 < run.seconds < 10
        assert f"step 1, recording, {run.bytes_per_step:,} bytes" in repr(run)
