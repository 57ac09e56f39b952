"""kill -9 at any moment: what was recorded before opens, and the next writer takes over."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import torch

from tensorview.runs import Run, watch

from .conftest import Net

WRITER = textwrap.dedent(
    """
    import sys
    import torch
    from torch import nn
    from tensorview.runs import watch
    torch.set_num_threads(1)
    model = nn.Linear(40, 30)
    with watch(model, torch.ones(1, 40), sys.argv[1], every=1) as run:
        print("started", flush=True)
        while True:
            with torch.no_grad():
                model.bias.fill_(run.number + 1)
            run.step(loss=run.number + 1)
            print(run.number, flush=True)
    """
)


def test_a_writer_killed_at_random_moments_leaves_a_run_that_opens(tmp_path: Path) -> None:
    seed = random.Random(4)
    for attempt in range(4):
        path = tmp_path / f"run{attempt}"
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(seed.uniform(0.02, 0.25))
            assert Run.open(path).growing
            writer.kill()
            said = writer.stdout.read().split()
        last_said = int(said[-1]) if said and said[-1] else 0
        run = Run.open(path)
        assert not run.growing
        # The step in hand may be there or not; no other is lost.
        assert run.steps in (tuple(range(last_said + 1)), tuple(range(last_said + 2)))
        for step in {0, run.steps[len(run.steps) // 2], run.steps[-1]}:
            trace = run.trace(step)
            if step:
                zero = trace["linear"].values - trace["linear"].values[0]
                assert np.abs(zero).max() < 10
                assert abs(trace["linear"].values.mean() - step) < 3
        assert run.metrics.series("loss")[0].tolist()[:last_said] == list(range(1, last_said + 1))


def test_the_next_writer_takes_over(tmp_path: Path, net: Net, probe: torch.Tensor) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        writer.kill()
    assert (tmp_path / "writer.lock").exists()
    with watch(net, probe, tmp_path, resume=True) as run:
        assert run.number >= 4
        assert Run.open(tmp_path).growing
    assert not (tmp_path / "writer.lock").exists()
