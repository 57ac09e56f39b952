"""No path of this machine reaches a browser, whatever goes wrong."""

from __future__ import annotations

import asyncio
import secrets
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgpack
import pytest
import torch
from torch import nn

import tensorview as tv
from tensorview.app import Viewer, play
from tensorview.app.explore import lab
from tensorview.app.paths import without_paths
from tensorview.runs import Run
from tensorview.training import Trainer

MARKER = "marked-folder"


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("There is no file /home/somebody/net.pt.", "There is no file net.pt."),
        ("[Errno 17] File exists: '/tmp/my runs/first'", "[Errno 17] File exists: 'first'"),
        ('"~/a b/c.pt" and ~/x/y.pt, (/a/b)', '"c.pt" and y.pt, (b)'),
        (r"C:\\Users\\me\\net.pt cannot be read", "net.pt cannot be read"),
        (r"\\\\server\\share\\net.pt cannot be read", "net.pt cannot be read"),
        ("file:///tmp/a/b.pt is broken", "b.pt is broken"),
        ("Step 3 of runs/first cannot be read.", "Step 3 of first cannot be read."),
        ("Step 3 of s3://bucket/some/run is gone.", "Step 3 of run is gone."),
        ("/data/with spaces/here is empty", "here is empty"),
        ("3/4 of 12 / 16, and/or at https://pytorch.org/docs/stable: x", None),
        ("layer1/conv has 3 km/h", None),
    ],
)
def test_of_a_path_only_the_last_part_is_said(sentence: str, said: str | None) -> None:
    known = ("runs/first", "s3://bucket/some/run", "/data/with spaces/here", "digits")
    assert without_paths(sentence, known) == (sentence if said is None else said)


class Frames:
    """A client of a viewer's websocket that keeps every byte it is sent."""

    def __init__(self, viewer: Viewer) -> None:
        self.serving = viewer._serving
        self.frames: list[bytes] = []

    def watch(self, wait_for: bytes, **changes: Any) -> None:
        """Set state, and ask for all of it until the words are in what comes."""
        asyncio.run(asyncio.wait_for(self._watch(wait_for, changes), 30))

    async def _watch(self, wait_for: bytes, changes: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {self.serving.guard.token}"}
        url = f"http://127.0.0.1:{self.serving.port}/ws"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers, max_msg_size=0) as ws:

            async def call(method: str, *args: Any, id: str = "rpc:c0:1") -> bytes:
                message = {"wslink": "1.0", "id": id, "method": method, "args": args, "kwargs": {}}
                packed = msgpack.packb(message)
                await ws.send_bytes(secrets.token_bytes(4) + struct.pack("<II", 0, len(packed)) + packed)
                self.frames.append(await ws.receive_bytes())
                return self.frames[-1]

            await call("wslink.hello", {"secret": "wslink-secret"}, id="system:c0:0")
            await call("trame.state.update", [{"key": key, "value": value} for key, value in changes.items()])
            while wait_for not in await call("trame.state.get"):
                await asyncio.sleep(0.05)

    def check(self) -> None:
        everything = b"".join(self.frames)
        assert b"first" in everything, "the run is called by its name"
        assert MARKER.encode() not in everything


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / MARKER / "first"
    with tv.watch(nn.Linear(3, 2), torch.ones(1, 3), path, every=1) as run:
        for _ in range(4):
            run.step(loss=1.0)
    return path


def test_what_is_said_of_a_run_names_no_folder(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent.parent)
    for opened in (path, Path(MARKER) / "first"):
        (path / "step-00000004.safetensors").write_bytes(b"broken")
        with play(Run.open(opened), port=0, browser=False) as viewer:
            page = Frames(viewer)
            page.watch(b"Step 3 is shown, which is whole")
            (path / "step-00000001.safetensors").write_bytes(b"broken")
            page.watch(b"step-00000001.safetensors' cannot be read as a trace", run_index=1)
            page.watch(b"step-00000004.safetensors' cannot be read as a trace", run_index=4)
            page.check()
        assert f"'{opened / 'step-00000001.safetensors'}' cannot be read" in caplog.text, "the log has it whole"


def test_a_step_that_is_gone_names_no_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with play(Run.open(path), port=0, browser=False) as viewer:
        page = Frames(viewer)
        page.watch(b"held_out")  # the run is followed
        monkeypatch.setattr(Run, "refresh", lambda run: False)  # it is not seen to be gone
        (path / "step-00000002.safetensors").unlink()
        page.watch(b"Step 2 is not, or no longer, in first", run_index=2)
        page.check()


def test_what_a_trainer_says_names_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / MARKER
    with Trainer(folder / "first") as trainer, lab(trainer, port=0, browser=False) as viewer:
        page = Frames(viewer)
        message = f"FileExistsError: [Errno 17] File exists: '{folder}/my runs/second'"
        trainer._now(replace(trainer.status, step=1, message=message, warnings=(f"{folder}/first is full.",)))
        page.watch(b"File exists: 'second'")
        viewer._serving.call_soon(viewer._explorer.say, message).result(5)
        page.watch(b"first is full.")
        page.check()
