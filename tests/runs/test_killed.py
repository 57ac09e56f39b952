"""kill -9 at any moment: what was recorded before opens, and the next writer takes over."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from tensorview.runs import Run, watch

from .conftest import Net

# Children are forked, so that torch is imported once; each says by a pipe which steps it has done.
KILLER = textwrap.dedent(
    """
    import os, random, signal, sys, time
    from pathlib import Path
    import torch
    from torch import nn
    from tensorview.runs import Run, watch
    torch.set_num_threads(1)

    def write(path, pipe, **options):
        model = nn.Linear(4, 30).eval()
        with watch(model, torch.ones(1, 4), path, every=1, **options) as run:
            os.write(pipe, b"%d\\n" % run.number)
            while True:
                with torch.no_grad():
                    model.weight.zero_()
                    model.bias.fill_(run.number + 1)
                run.step(loss=run.number + 1)
                os.write(pipe, b"%d\\n" % run.number)

    def killed(path, seconds, begun, **options):
        "The last step that a writer said was done; None if it was killed before it had begun, which `begun` prevents."
        read, pipe = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write(path, pipe, **options)
            finally:
                os._exit(1)
        os.close(pipe)
        with os.fdopen(read, "rb", 0) as said:
            heard = said.readline() if begun else b""
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            lines = (heard + said.read()).split(b"\\n")[:-1]
        return int(lines[-1]) if lines else None

    def check(path, last, in_hand=frozenset()):
        run = Run.open(path)
        assert not run.growing
        # The step in hand may be there or not; no other is lost.
        assert run.steps in (tuple(range(last + 1)), tuple(range(last + 2))), (run.steps, last)
        for step in run.steps:
            assert run.trace(step)["linear"].shape == (30,)
            assert step == 0 or (run.trace(step)["linear"].values == step).all()
        told = run.metrics.series("loss")[0].tolist() if last else []
        assert [step for step in range(1, last + 1) if step not in in_hand] == [
            step for step in told if step <= last and step not in in_hand
        ], told

    path, seed = Path(sys.argv[1]), random.Random(4)
    with watch(nn.Linear(4, 30), torch.ones(1, 4), path / "warm") as run:
        run.step(loss=1.0)  # the first pass of a process imports much
    for attempt in range(60):
        run = path / f"run{attempt}"
        last = killed(run, seed.uniform(0, 0.02), begun=attempt % 2)
        if last is not None:
            check(run, last)
        elif (run / "run.json").exists():
            assert Run.open(run).steps in ((), (0,))

    # One run, that a writer after the other goes on with.
    last, in_hand = killed(path / "on", 0.05, begun=True), set()
    for attempt in range(16):
        there = Run.open(path / "on").steps[-1]
        assert there - last in (0, 1)
        in_hand |= {there} - {last}
        later = killed(path / "on", seed.uniform(0, 0.02), begun=attempt % 2, resume=True)
        last = there if later is None else later
        assert last >= there
        check(path / "on", last, in_hand)
    with watch(nn.Linear(4, 30), torch.ones(1, 4), path / "on", resume=True):
        names = [file.name for file in (path / "on").iterdir()]
        assert not [name for name in names if name.endswith(".tmp")], names
    print("done")
    """
)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_writers_killed_at_random_moments_leave_runs_that_open_and_go_on(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLER, str(tmp_path)], capture_output=True, text=True, timeout=150)
    assert done.stdout == "done\n", done.stderr


def test_a_lock_that_was_never_written_is_taken_over(
    tmp_path: Path, net: Net, probe: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a writer that was killed between making its lock and writing it."""
    (tmp_path / "writer.lock").touch()
    monkeypatch.setattr("tensorview.runs.lock.YOUNG_SECONDS", -1)
    with watch(net, probe, tmp_path):
        assert Run.open(tmp_path).growing
    assert not (tmp_path / "writer.lock").exists()
