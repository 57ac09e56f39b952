"""Opening the page: from a script, a notebook or the command line."""

from __future__ import annotations

import sys
import time
import webbrowser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OpenError
from ..opening import open_model
from ..scene import Camera, Look
from .passes import MEMORY
from .recorded import RecordedSession, Recording
from .session import Session

if TYPE_CHECKING:
    from ..training import Trainer
    from .server import Serving


class Viewer:
    """A page that is being served.

    Attributes:
        url: the address to open, with its secret.
        session: what the page shows.
    """

    def __init__(self, serving: Any, explorer: Any) -> None:
        self._serving = serving
        self._explorer = explorer
        self.url: str = serving.url
        self.session: Session = explorer.session

    def wait(self) -> None:
        """Wait until the page is closed from elsewhere, or for Ctrl-C, which closes it."""
        self._serving.wait()
        self.close()

    def close(self) -> None:
        """Stop serving and free the port; as often as wanted."""
        self._serving.close()
        self._explorer.close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Viewer({self.url!r})"


def explore(
    model: Any,
    x: Any = None,
    *,
    open: str | Iterable[str] | None = None,
    look: Look | None = None,
    camera: Camera | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    browser: bool = True,
    block: bool = False,
    memory: int = MEMORY,
    weights: str | Path | None = None,
    trust: bool = False,
    random_weights: bool = False,
    **choices: Any,
) -> Viewer:
    """Show a model on a page of its own.

    Args:
        model: an `nn.Module`, a `Subject`, or what `open_model` takes.
        x: an input with its batch dimension, `(1, C, H, W)` for images, or several as a tuple or a dict; by default a
            sample of the model's or zeros.
        open: layers and modules to open, by name; `"*"` opens all.
        look: how it looks; keywords (`theme=`, `encoding=`, ...) replace single fields of it.
        camera: where to look from; by default everything is in frame.
        host: the address to bind; another than this machine's own needs a `token`.
        port: the port; by default the first free one from 8765 on.
        token: the secret in the address, 16 characters or more; by default a random one.
        browser: whether to open the page in the person's browser.
        block: whether to return only when the page is closed or Ctrl-C is pressed.
        memory: how many bytes the values of a pass take at most. Those of a small network are all kept; of a large one
            only what is shown, and of closed boxes only the mean or the maximum of the maps.
        weights, trust, random_weights: as in `open_model`.

    Returns:
        The viewer, whose `close()` ends the page.

    Raises:
        OpenError: the model cannot be opened, or weights are given for a `Subject`, which has its own.
        CaptureError: the forward pass raised before a layer had run.
        SceneError: a layer to open or a choice does not exist.
        ServerError: the page cannot be served.
    """
    if memory < 1:
        raise OpenError(f"memory is {memory}; it is how many bytes the values of a pass may take, 1 or more.")
    with _reserved(host, port, token) as serving:
        subject = open_model(model, weights=weights, trust=trust, input_shape=_shape(x), random_weights=random_weights)
        session = Session(subject, x, (look or Look()).changed(**choices), camera, open, memory)
        return _show(session, serving, browser, block)


def play(
    recording: Recording,
    *,
    open: str | Iterable[str] | None = None,
    look: Look | None = None,
    camera: Camera | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    browser: bool = True,
    block: bool = False,
    **choices: Any,
) -> Viewer:
    """Show a recording on a page of its own, from its newest step on; it is followed while it grows.

    Args:
        recording: a `Run` or a `CheckpointRun`. The other arguments are those of `explore`.

    Raises:
        OpenError: no step has been recorded, or the newest cannot be read.
        SceneError: a layer to open or a choice does not exist.
        ServerError: the page cannot be served.
    """
    with _reserved(host, port, token) as serving:
        session = RecordedSession(recording, (look or Look()).changed(**choices), camera, open)
        return _show(session, serving, browser, block)


def lab(
    trainer: Trainer,
    *,
    checkpoint: str | None = None,
    start: bool = False,
    open: str | Iterable[str] | None = None,
    look: Look | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    browser: bool = True,
    block: bool = False,
    **choices: Any,
) -> Viewer:
    """Show the training lab on a page of its own: the trainer's run while it is written, and what drives it.

    Args:
        trainer: a trainer whose data are loading or loaded; it is closed with the page, and where no page comes of it.
            The other arguments are those of `explore`.
        checkpoint: a file that the lab has saved, to go on from.
        start: begin to train at once.

    Raises:
        OpenError: the trainer could not begin, as for data that cannot be had, and says why itself; the checkpoint
            cannot be read, or does not fit.
        ServerError: the page cannot be served.
    """
    from .lab import LabSession

    try:
        with _reserved(host, port, token) as serving:
            _wait_until_ready(trainer)
            if checkpoint is not None:
                trainer.load(_content_of(checkpoint)).result()
            if start:
                trainer.start()
            session = LabSession(trainer, (look or Look()).changed(**choices), open)
            return _show(session, serving, browser, block)
    except BaseException:
        trainer.close()
        raise


def _content_of(checkpoint: str) -> bytes:
    try:
        return Path(checkpoint).read_bytes()
    except OSError as error:
        raise OpenError(f"The checkpoint {checkpoint} cannot be read ({error.strerror}).") from error


def _wait_until_ready(trainer: Trainer) -> None:
    """Wait for the first step of a trainer's run, and tell a terminal what takes so long."""
    said = ""
    while (status := trainer.status).state in ("starting", "loading"):
        if status.message and status.message != said:
            said = status.message
            print(f"tensorview: {said}", file=sys.stderr, flush=True)
        time.sleep(0.05)
    if status.state in ("failed", "ended"):
        raise OpenError(status.message or "The trainer has ended.")


@contextmanager
def _reserved(host: str, port: int | None, token: str | None) -> Iterator[Serving]:
    """A server whose port is taken before its page is made, which may cost much; closed where that fails."""
    from .policy import Policy
    from .server import Serving, make_server

    serving = Serving(make_server("tensorview"), Policy(), host=host, port=port, token=token)
    try:
        yield serving
    except BaseException:
        serving.close()
        raise


def _show(session: Session, serving: Serving, browser: bool, block: bool) -> Viewer:
    """Serve a page for a session; see `explore`."""
    from .explorer import Explorer
    from .handover import ROUTE

    explorer = Explorer(serving.server, session)
    serving.policy = explorer.policy
    serving.guard.passes = explorer.handover.passes
    serving.add_route("*", ROUTE, explorer.handover.answer)
    viewer = Viewer(serving, explorer)
    try:
        serving.start()
    except BaseException:
        explorer.close()
        raise
    print(
        f"tensorview shows {session.subject.title or session.subject.name} at {viewer.url}", file=sys.stderr, flush=True
    )
    if browser:
        webbrowser.open(viewer.url)
    if block:
        viewer.wait()
    return viewer


def _shape(x: Any) -> tuple[int, ...] | None:
    if isinstance(x, (tuple, list, dict)):
        parts = list(x.values()) if isinstance(x, dict) else list(x)
        return _shape(parts[0]) if parts else None
    shape = getattr(x, "shape", None)
    return (tuple(shape[1:]) or (1,)) if shape is not None and len(shape) else None  # of numbers alone, one a sample
