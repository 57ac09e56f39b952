"""Files on their way between the page and a person's disk. They travel over HTTP: the websocket is for small things.

A trigger of the page prepares a file, or the place for one, and answers with an address below /file/ that nobody can
guess. It holds for one request, and not for long. It is its own secret, since a page inside a frame of another origin
has no cookie; whatever else the guard asks holds here as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from aiohttp import web

ROUTE = "/file/{key}"
KEPT_SECONDS = 60.0
STALLED_SECONDS = 60.0
MOST_WAITING = 16
MOST_WAITING_BYTES = 2**30
CHUNK_BYTES = 2**18
GONE = "This file was taken already, or has waited too long: ask the page for it again."
BUSY = "Another file is being sent: try again when it has arrived."


class File(NamedTuple):
    """A file to save: its name, its media type, what is in it."""

    name: str
    kind: str
    content: bytes


class _Waiting(NamedTuple):
    method: str
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    size: int


class Handover:
    """The files of one page that wait to be fetched or sent, each once.

    Attributes:
        passes: path of an address that waits -> how many bytes a request's body may have; for the guard.
    """

    def __init__(self) -> None:
        self.passes: dict[str, int] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._taking = False

    def offer(self, file: File) -> dict[str, str]:
        """Let a file wait to be fetched; on the server's loop.

        Returns:
            Its `name`, and the `url` to fetch it from, relative to the page.
        """
        waiting = _Waiting("GET", partial(_send, file), len(file.content))
        return {"name": file.name, "url": self._wait(waiting, 0)}

    def expect(self, most: int, take: Callable[[bytes], Awaitable[None]]) -> dict[str, str]:
        """Wait for a file of at most `most` bytes, which `take` is then called with; on the server's loop.

        Returns:
            The `url` to send it to with POST, relative to the page.
        """
        return {"url": self._wait(_Waiting("POST", partial(self._take, most, take), 0), most)}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Hand over what waits at a request's path."""
        waiting = self._waiting.get(request.path)
        if waiting is None or waiting.method != request.method:
            return web.Response(status=404, text=GONE)
        self._forget(request.path)
        return await waiting.answer(request)

    def _wait(self, waiting: _Waiting, most_body: int) -> str:
        """Where it waits; the oldest give way where there are too many."""
        while self._waiting and (
            len(self._waiting) >= MOST_WAITING
            or waiting.size + sum(each.size for each in self._waiting.values()) > MOST_WAITING_BYTES
        ):
            self._forget(next(iter(self._waiting)))
        path = ROUTE.format(key=secrets.token_urlsafe(32))
        self._waiting[path], self.passes[path] = waiting, most_body
        asyncio.get_running_loop().call_later(KEPT_SECONDS, self._forget, path)
        return path.removeprefix("/")

    def _forget(self, path: str) -> None:
        self._waiting.pop(path, None)
        self.passes.pop(path, None)

    async def _take(
        self, most: int, take: Callable[[bytes], Awaitable[None]], request: web.Request
    ) -> web.StreamResponse:
        """Take a file, on the disk until it is whole; one at a time."""
        if self._taking:
            return web.Response(status=503, text=BUSY)
        self._taking = True
        try:
            with tempfile.TemporaryFile() as file:
                async for chunk in request.content.iter_chunked(CHUNK_BYTES):
                    if file.tell() + len(chunk) > most:  # a body need not say its length before
                        return web.Response(status=413, text=f"More than {most // 2**20} MB.")
                    file.write(chunk)
                file.seek(0)
                content = file.read()
        finally:
            self._taking = False
        await take(content)
        return web.Response(status=204)


async def _send(file: File, request: web.Request) -> web.StreamResponse:
    """Send a file as one to save, no faster than it is taken."""
    response = web.StreamResponse(
        headers={
            "Content-Type": file.kind,
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        }
    )
    response.content_length = len(file.content)
    await response.prepare(request)
    content = memoryview(file.content)
    try:
        for start in range(0, len(content), CHUNK_BYTES):
            await asyncio.wait_for(response.write(content[start : start + CHUNK_BYTES]), STALLED_SECONDS)
        await response.write_eof()
    except (asyncio.TimeoutError, ConnectionError):  # given up, or nobody reads
        with contextlib.suppress(AttributeError):
            request.transport.abort()  # type: ignore[union-attr]
    return response
