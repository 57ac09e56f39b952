"""Under torchrun there is one run, written by the first process, and nobody waits for anybody."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tensorview.runs import Run

SCRIPT = textwrap.dedent(
    """
    import sys
    import torch
    from torch import distributed, nn
    import tensorview as tv
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(4 * 36, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), head)
    probe = torch.ones(1, 1, 8, 8)
    WRAP
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(rank)
    with tv.watch(model, probe, sys.argv[1], every=EVERY) as run:
        for step in range(1, 6):
            loss = model(torch.rand(4, 1, 8, 8)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            run.step(loss=loss.item())
            MORE
    END
    distributed.barrier()
    distributed.destroy_process_group()
    """
)
DDP = "model = nn.parallel.DistributedDataParallel(model)"
# The whole model's output by hand, from the weights that all processes have.
LAST = """
    plain = model.module.eval()
    torch.save((plain(probe).detach(), probe), sys.argv[1] + ".expected") if rank == 0 else None
"""
FSDP = """
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
cpu = torch.device("cpu")
model[3] = FSDP(model[3], device_id=cpu)
model = FSDP(model, device_id=cpu)
"""
FULLY_SHARD = """
from torch.distributed.fsdp import fully_shard
fully_shard(model[3])
fully_shard(model)
"""


def torchrun(
    folder: Path, wrap: str, every: int = 2, more: str = "", end: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the script in two processes; one that gloo aborts at its end is started again, twice at most."""
    script = SCRIPT
    for name, code in (("WRAP", wrap), ("MORE", more), ("END", end), ("EVERY", str(every))):
        indent = next((line[: line.index(name)] for line in script.splitlines() if line.strip() == name), "")
        script = script.replace(name, textwrap.indent(textwrap.dedent(code).strip(), indent).strip() or "pass")
    (folder / "train.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for _ in range(3):
        done = subprocess.run(
            [*command, str(folder / "train.py"), str(folder / "run")],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )
        # Seldom, gloo aborts a process that has come to its end, without a Python exception ("terminate called without
        # an active exception"). What tensorview raises, and an abort on the way, leave a traceback through the script.
        aborted = "SIGABRT" in done.stderr and not re.search(r'train\.py", line \d+, in ', done.stderr)
        if not aborted:
            break
        shutil.rmtree(folder / "run", ignore_errors=True)
    return done


NAMES = ["0", "1", "2", "3.0", "3.1", "3.2"]


def test_ddp_writes_one_run(tmp_path: Path) -> None:
    import torch

    done = torchrun(tmp_path, DDP, every=1, end=LAST)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"train.py", "run", "run.expected"}
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 1, 2, 3, 4, 5)
    assert not run.growing
    assert run.about["model"] == "Sequential"
    assert [layer.name for layer in run.trace(5)] == NAMES, "names without a wrapper's prefix"
    assert run.metrics.series("loss")[0].tolist() == [1, 2, 3, 4, 5]
    expected, _ = torch.load(tmp_path / "run.expected", weights_only=True)
    np.testing.assert_allclose(run.trace(5)["3.2"].values, expected[0].numpy(), rtol=1e-5)


def test_the_first_process_may_record_when_it_likes(tmp_path: Path) -> None:
    more = """
    if rank == 0 and step in (1, 4):
        run.record()
    if rank == 1 and step == 2:
        run.every = 1
    """
    done = torchrun(tmp_path, DDP, every=3, more=more)
    assert done.returncode == 0, done.stderr
    assert Run.open(tmp_path / "run").steps == (0, 1, 3, 4, 5)


@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_in_one_process_ends_all(failing: int, tmp_path: Path) -> None:
    more = f"""
    if rank == {failing} and step == 3:
        raise ZeroDivisionError("on purpose")
    """
    done = torchrun(tmp_path, DDP, every=1, more=more)
    assert done.returncode != 0
    assert "ZeroDivisionError: on purpose" in done.stderr
    run = Run.open(tmp_path / "run")
    assert not run.growing
    assert run.steps[:4] == (0, 1, 2, 3)
    assert [run.trace(step)["3.2"].shape for step in run.steps[:4]] == [(2,)] * 4


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [FSDP, FULLY_SHARD], ids=["FSDP", "fully_shard"])
def test_a_sharded_model_runs_the_probe_in_every_process(wrap: str, tmp_path: Path) -> None:
    done = torchrun(tmp_path, wrap, every=1)
    assert done.returncode == 0, done.stderr
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 1, 2, 3, 4, 5)
    assert run.about["model"] == "Sequential"
    assert [layer.name for layer in run.trace(5)] == NAMES
    assert np.isfinite(run.trace(5)["3.2"].values).all()
    assert not np.array_equal(run.trace(5)["3.2"].values, run.trace(0)["3.2"].values)


@pytest.mark.slow
def test_of_a_sharded_model_activations_are_recorded_alone(tmp_path: Path) -> None:
    wrap = f"""{FULLY_SHARD}
for options in ({{"content": "weights"}}, {{"resume": True}}):
    try:
        tv.watch(model, probe, sys.argv[1], **options)
    except tv.OpenError as error:
        print(error)
"""
    done = torchrun(tmp_path, wrap)
    assert done.returncode == 0, done.stderr
    assert "of a sharded model activations are recorded, not weights" in done.stdout
    assert "cannot be resumed" in done.stdout
