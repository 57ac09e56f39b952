"""Runs on other file systems, by fsspec's own memory and by one whose files appear before they are whole."""

from __future__ import annotations

import json
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

import tensorview as tv
from tensorview.app.recorded import RecordedSession
from tensorview.runs import Evaluation, Run, watch
from tensorview.runs import place as places
from tensorview.runs import store as stores

from .conftest import Net, train


@pytest.fixture
def url() -> Iterator[str]:
    name = f"/{uuid.uuid4().hex}"
    yield f"memory:/{name}/runs/first"
    fsspec.filesystem("memory").rm(name, recursive=True)


@pytest.fixture(autouse=True)
def _ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ASK_SECONDS", 0.0)


def names(url: str) -> set[str]:
    system, root = fsspec.core.url_to_fs(url)
    return {entry["name"].rpartition("/")[2] for entry in system.ls(root, detail=True)}


def record(net: Net, probe: torch.Tensor, url: Any, steps: int = 6, **options: Any) -> list[float]:
    with watch(net, probe, url, **{"every": 2, **options}) as run:
        return train(net, steps, lambda loss: run.step(loss=loss))


def test_what_is_written_far_away_is_what_is_written_here(probe: torch.Tensor, tmp_path: Path, url: str) -> None:
    torch.manual_seed(1)
    here = Net()
    torch.manual_seed(1)
    there = Net()
    content = ("activations", "weights")
    torch.manual_seed(2)
    record(here, probe, tmp_path / "run", content=content)
    torch.manual_seed(2)
    losses = record(there, probe, url, content=content)
    near, far = Run.open(tmp_path / "run"), Run.open(url)
    assert names(url) == {path.name for path in (tmp_path / "run").iterdir()}
    assert far.steps == near.steps == (0, 2, 4, 6)
    for step in far.steps:
        for part in content:
            for mine, theirs in zip(far.trace(step, part), near.trace(step, part), strict=True):
                np.testing.assert_array_equal(mine.values, theirs.values)
        assert far.nbytes(step) == near.nbytes(step)
    np.testing.assert_array_equal(far.metrics.series("loss")[1], losses)
    assert (far.title, far.name, far.path, far.growing) == ("Net · first", "first", url, False)
    assert RecordedSession(far).step == 6


def test_a_growing_run_is_followed(net: Net, probe: torch.Tensor, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorview.runs.far_writer.SEND_SECONDS", 0.0)
    monkeypatch.setattr("tensorview.runs.far_writer.BYTES_PER_SECOND", 1e12)
    with watch(net, probe, url, every=2) as run:
        far = Run.open(url)
        assert far.growing
        train(net, 4, lambda loss: run.step(loss=loss))
        settle(run)
        assert far.refresh()
        assert far.steps == (0, 2, 4)
        assert far.metrics.series("loss")[0].tolist() == [1, 2, 3, 4]
        assert not far.refresh()
        run.step(loss=1.0)
        settle(run)
        assert far.refresh()
        assert far.metrics.series("loss")[0].tolist() == [1, 2, 3, 4, 5]
        run.record(1 - probe)
        settle(run)
        assert far.refresh()
        assert (far.steps, far.revision) == ((0, 2, 4, 5), 0)
        run.record(probe)
        settle(run)
        assert far.refresh()
        assert far.revision == 1
        np.testing.assert_array_equal(far.trace(5).inputs[0].values, probe[0].numpy())
    assert far.refresh() or not far.growing
    assert not far.growing


def settle(run: Any) -> None:
    """Wait until everything so far has been sent."""
    done = threading.Event()
    run._writer._sender.later(done.set)
    assert done.wait(20)


def test_retention(net: Net, probe: torch.Tensor, url: str) -> None:
    record(net, probe, url, steps=20, every=1, keep=5)
    steps = Run.open(url).steps
    assert len(steps) == 5
    assert (steps[0], steps[-1]) == (0, 20)
    assert len([name for name in names(url) if name.startswith("step-")]) == 5


def test_a_run_that_is_there_moves_aside_and_can_be_gone_on_with(net: Net, probe: torch.Tensor, url: str) -> None:
    record(net, probe, url, steps=4)
    first = Run.open(url)
    expected = first.trace(4)["head"].values
    record(net, probe, url, steps=2)
    assert first.refresh()
    assert (first.steps, first.revision) == ((0, 2), 1)
    assert first.metrics.series("loss")[0].tolist() == [1, 2]
    moved = Run.open(f"{url}.1")
    assert moved.steps == (0, 2, 4)
    np.testing.assert_array_equal(moved.trace(4)["head"].values, expected)
    with watch(net, probe, url, every=2, resume=True) as run:
        assert run.number == 2
        for _ in range(2):
            run.step(loss=3.0)
    again = Run.open(url)
    assert again.about["id"] == first.about["id"]
    assert again.steps == (0, 2, 4)
    assert again.metrics.series("loss")[0].tolist() == [1, 2, 3, 4]


def test_a_second_writer_is_told(net: Net, probe: torch.Tensor, url: str) -> None:
    with watch(net, probe, url):
        with pytest.raises(tv.OpenError, match=r"is being written by process .* remove .*writer"):
            watch(net, probe, url)
    watch(net, probe, url).close()


def test_a_line_that_breaks_ends_the_recording_and_not_the_training(
    net: Net, probe: torch.Tensor, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = stores.Store.write

    def broken(self: stores.Store, name: str, data: bytes) -> None:
        if name == "step-00000004.safetensors":
            raise ConnectionError("the line is down")
        write(self, name, data)

    monkeypatch.setattr(stores.Store, "write", broken)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with watch(net, probe, url, every=2) as run:

            def after(loss: float) -> None:
                run.step(loss=loss)
                deadline = time.monotonic() + 20
                while run.number == 4 and run._writer._sender.fault is None and time.monotonic() < deadline:
                    time.sleep(0.01)

            assert len(train(net, 12, after)) == 12
    assert [str(each.message) for each in said if "ends at step" in str(each.message)] == [
        f"tensorview: recording to {url} ends at step 6: the line is down"
    ]
    assert Run.open(url).steps == (0, 2)


def test_a_file_system_that_is_not_there_is_a_sentence(net: Net, probe: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(tv.OpenError, match="nowhere"):
        Run.open("nowhere://bucket/run")
    with pytest.raises(tv.OpenError, match="nowhere"):
        watch(net, probe, "nowhere://bucket/run")
    with pytest.raises(tv.OpenError, match="memory://none has no run in it"):
        Run.open("memory://none")
    assert stores.located(f"file://{tmp_path}/run") == tmp_path / "run"


def test_another_format_and_a_broken_step(net: Net, probe: torch.Tensor, url: str) -> None:
    record(net, probe, url)
    system, root = fsspec.core.url_to_fs(url)
    system.pipe_file(f"{root}/step-00000004.safetensors", b"half")
    far = Run.open(url)
    with pytest.raises(tv.OpenError, match="step-00000004"):
        far.trace(4)
    with pytest.raises(tv.OpenError, match="Step 5 is not, or no longer, in"):
        far.trace(5)
    system.pipe_file(f"{root}/run.json", json.dumps({"format": 2, "tensorview": "9"}).encode())
    with pytest.raises(tv.OpenError, match=f"{url} is a run of format 2"):
        Run.open(url)


def test_evaluations(net: Net, probe: torch.Tensor, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorview.runs.far_writer.KEEP", 2)
    empty = np.zeros((0, 1))
    with watch(net, probe, url, every=1) as run:
        for number in range(4):
            run.step()
            run.evaluate(Evaluation(np.eye(2, dtype=np.int64) * number, *[empty] * 5))
    far = Run.open(url)
    assert len(far.evaluations) == 2
    assert far.evaluations[-1] == 4
    assert far.evaluation(4).count == 6


def test_thousands_of_steps_open_by_their_names(net: Net, probe: torch.Tensor, url: str, monkeypatch: Any) -> None:
    record(net, probe, url)
    system, root = fsspec.core.url_to_fs(url)
    for step in range(10, 5010):
        system.pipe_file(f"{root}/step-{step:08d}.safetensors", b"")
    read: list[str] = []
    whole = stores.Store.read
    monkeypatch.setattr(stores.Store, "read", lambda self, name, *at: (read.append(name), whole(self, name, *at))[1])
    far = Run.open(url)
    assert len(far.steps) == 5004
    assert read == ["run.json", "metrics.jsonl"]
    for step in (0, 2, 4, 0, 2, 4):
        far.trace(step)
    assert len(read) == 5, "each step is fetched once"


def test_where_files_are_not_whole_at_once_they_are_renamed(
    net: Net, probe: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over SSH: what is under way has another name, which no reader takes for a step."""

    class Slow(DirFileSystem):
        protocol = "slow"
        seen: set[str] = set()  # noqa: RUF012

        def __init__(self, **options: Any) -> None:
            super().__init__(path=str(tmp_path), fs=LocalFileSystem())

        def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
            Slow.seen.add(path)
            with open(tmp_path / path, "wb") as file:
                file.write(value)

    fsspec.register_implementation("slow", Slow, clobber=True)
    record(net, probe, "slow://run")
    assert all(name.endswith(".tmp") for name in Slow.seen)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "run.json",
        "metrics.jsonl",
        *(f"step-0000000{step}.safetensors" for step in (0, 2, 4, 6)),
    }
    assert Run.open("slow://run").trace(6)["head"].shape == (3,)
