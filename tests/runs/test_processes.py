"""Under torch.distributed there is one run, written by the first process, and nobody waits for anybody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tensorview.runs import Run

SCRIPT = textwrap.dedent(
    """
    import os, sys
    import torch
    from torch import distributed, nn
    from tensorview.runs import watch
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model) if "sync" in sys.argv else model
    model = WRAP(model)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(distributed.get_rank())
    with watch(model, torch.ones(1, 1, 8, 8), sys.argv[1], every=2) as run:
        for _ in range(5):
            loss = model(torch.rand(4, 1, 8, 8)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            run.step(loss=loss.item())
    distributed.barrier()
    distributed.destroy_process_group()
    """
)
DDP = "nn.parallel.DistributedDataParallel"


def torchrun(script: str, *arguments: str, processes: int = 2) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        for process in started:
            _, said = process.communicate(timeout=100)
            assert process.returncode == 0, said
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_ddp_writes_one_run(tmp_path: Path) -> None:
    torchrun(SCRIPT.replace("WRAP", DDP), str(tmp_path / "run"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    run = Run.open(tmp_path / "run")
    assert run.steps == (0, 2, 4, 5)
    assert [layer.name for layer in run.trace(5)] == ["0", "1", "2", "3"], "names without a wrapper's prefix"
    assert len(run.metrics.series("loss")[0]) == 5


@pytest.mark.slow
def test_a_sharded_model_runs_the_probe_in_every_process(tmp_path: Path) -> None:
    script = SCRIPT.replace("from torch import", "from torch.distributed.fsdp import fully_shard\nfrom torch import")
    torchrun(script.replace("WRAP", "fully_shard"), str(tmp_path / "run"))
    assert Run.open(tmp_path / "run").steps == (0, 2, 4, 5)
