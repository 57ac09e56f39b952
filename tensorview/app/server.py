"""The server of the page: a trame server behind the guard, with an event loop and a socket of its own.

    server = make_server("playground")
    app = Playground(server)                        # a TrameApp: widgets, state, triggers
    serving = Serving(server, Policy(...))
    serving.start()                                 # a thread of its own; returns when the page can be opened
    print(serving.url)
    serving.close()

wslink's back ends each bring a web server that answers everybody, except its "generic" one, which brings
none: aiohttp is set up here, with the guard in front. One loop serves everything; VTK and state are touched
only on it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from ..errors import ServerError
from . import headers
from .endpoint import Endpoint
from .guard import MOST_BODY_BYTES, Guard
from .pages import add_page_routes
from .policy import Policy
from .ports import is_loopback, is_wildcard, listen
from .trame_core import forget, make_server, start_core, stop_core

__all__ = ["Serving", "make_server"]

logger = logging.getLogger(__name__)

SHORTEST_TOKEN = 16
REMOTE_NOTICE = (
    "tensorview: the page is reachable from other machines, and what it sends is not encrypted; "
    "put a proxy with TLS in front of it, or use an SSH tunnel, on a network that you do not trust."
)


class Serving:
    """One page being served.

    Args:
        server: the trame server, from `make_server`; it is this page's, and forgotten with it.
        policy: what a browser may set and call; another may be set until the start.
        host: the address to bind.
        port: the port, 0 for any free one, `None` for the first free one from 8765 on.
        token: the secret in the address; `None` makes a random one.
        allow_remote: bind an address that other machines reach with a random token, too.
        allowed_hosts: further names of this server, as behind a proxy: "name" or "name:port".
        frame_ancestors: CSP sources of pages that may show this one in a frame.

    Raises:
        ServerError: the port is in use; the address is not this machine's, or is reachable from others and
            neither a token nor `allow_remote` was given; the token is shorter than 16 characters.
    """

    def __init__(
        self,
        server: Any,
        policy: Policy,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        token: str | None = None,
        allow_remote: bool = False,
        allowed_hosts: Sequence[str] = (),
        frame_ancestors: Sequence[str] = ("'self'",),
    ) -> None:
        self.server = server
        self.policy = policy
        try:
            _check_secret(host, token, allow_remote)
            self._listener = listen(host, port)
        except ServerError:
            forget(server)
            raise
        self.host = host
        self.port = int(self._listener.getsockname()[1])
        self.guard = Guard(host, self.port, token, allowed_hosts, frame_ancestors)
        self._routes: list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ready: Future[None] = Future()
        self._finished = threading.Event()
        self._closed = False

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        name = "127.0.0.1" if is_wildcard(self.host) else self.host
        name = f"[{name}]" if ":" in name else name
        return f"http://{name}:{self.port}/?token={quote(self.guard.token, safe='')}"

    def add_route(
        self, method: str, path: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> None:
        """Answer a further path, as for a download; the guard stands before it too. Call it before the start.

        Args:
            method: "GET", "POST", ... or "*" for all of them
            path: as in aiohttp: "/file/{key}".
            handler: takes an aiohttp request, returns a response; an exception becomes a plain 500.
        """
        if self._ready.done():
            raise RuntimeError("a route is added before the start")
        self._routes.append((method, path, handler))

    def start(self) -> Serving:
        """Serve in a thread of its own, and return once the page can be opened.

        Raises:
            ServerError: the server was closed before.
            Exception: whatever the page's own `on_server_ready` raised.
        """
        if self._closed or self._thread is not None:
            raise ServerError("This page was started before; make a new server for another one.")
        self._thread = threading.Thread(target=self._serve, name=f"tensorview-{self.port}", daemon=True)
        atexit.register(self.close)
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self.close()
            raise
        return self

    def run(self, on_ready: Callable[[], Any] = lambda: None) -> None:
        """Serve in this thread until Ctrl-C, SIGTERM or `close`, and return then.

        Args:
            on_ready: called once the page can be opened, as to open a browser. It must not block.
        """
        self._ready.add_done_callback(lambda ready: None if ready.exception() else on_ready())
        with contextlib.suppress(KeyboardInterrupt):
            self._serve()
        self._closed = True
        if self._ready.done():  # it is not after a Ctrl-C that came early
            self._ready.result()

    def wait(self) -> None:
        """Wait until the server is closed, or for Ctrl-C, which closes it."""
        try:
            # A wait without a limit would not notice Ctrl-C on Windows.
            while not self._finished.wait(0.5):
                pass
        except KeyboardInterrupt:
            self.close()

    def call_soon(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function on the server's loop, from any thread; the future has what it returns or raises."""
        if self._loop is None:
            raise ServerError("The page is not being served; start it first.")
        result: Future[Any] = Future()

        def call() -> None:
            try:
                result.set_result(function(*args))
            except BaseException as error:
                result.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return result

    def close(self) -> None:
        """Stop serving, free the port, wait for the thread to end; from any thread, as often as wanted."""
        self._closed = True
        atexit.unregister(self.close)
        if self._loop is None:
            self._listener.close()
            forget(self.server)
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._request_end)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)
            if self._thread.is_alive():
                logger.warning("The server on port %d is still busy; it ends when that is done", self.port)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Serving({self.host}:{self.port}, {'closed' if self._closed else 'open'})"

    def _request_end(self, *_: Any) -> None:
        if self._end is not None:
            self._end.set()

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            if self._ready.done():
                logger.exception("The server on port %d failed", self.port)
            else:
                self._ready.set_exception(error)
        finally:
            self._listener.close()
            forget(self.server)
            self._finished.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
            self._loop.add_signal_handler(signal.SIGTERM, self._request_end)
        async with contextlib.AsyncExitStack() as undo:
            await self._open(undo)
            self._ready.set_result(None)
            await self._end.wait()

    async def _open(self, undo: contextlib.AsyncExitStack) -> None:
        """Start trame, then answer; what was opened is put on `undo`."""
        web_server, core = start_core(self.server, self.host, self.port)
        undo.callback(core.close)
        app = web.Application(client_max_size=MOST_BODY_BYTES)
        endpoint = self._add_routes(app, web_server)
        web_server.set_app(app)
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=2.0)
        undo.push_async_callback(runner.cleanup)
        await runner.setup()
        task = asyncio.create_task(core)
        undo.push_async_callback(stop_core, self.server, task)
        undo.push_async_callback(endpoint.close)
        await asyncio.wait({task, self.server.ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        task.add_done_callback(self._request_end)
        await web.SockSite(runner, self._listener).start()
        if not is_loopback(self.host):
            print(REMOTE_NOTICE, file=sys.stderr, flush=True)

    def _add_routes(self, app: web.Application, web_server: Any) -> Endpoint:
        content = Path(self.server.server_options.content)
        self.guard.scripts = headers.script_hashes((content / "index.html").read_text(encoding="utf-8"))
        self.guard.install(app)
        endpoint = Endpoint(
            self.server.protocol,
            web_server,
            self.server.controller,
            self.server.state,
            self.policy,
            compress=not is_loopback(self.host),
        )
        app.router.add_get("/ws", endpoint.serve)
        for method, path, handler in self._routes:
            app.router.add_route(method, path, handler)
        # trame takes a folder, or a folder and how its scripts load.
        folders = {path: Path(at if isinstance(at, str) else at[0]) for path, at in self.server.serve.items()}
        add_page_routes(app, self.guard, content, folders)
        return endpoint


def _check_secret(host: str, token: str | None, allow_remote: bool) -> None:
    if not is_loopback(host) and token is None and not allow_remote:
        raise ServerError(f"--host {host} is reachable from other machines; give a secret with --token as well.")
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ServerError(f"The token has {len(token)} characters; it needs {SHORTEST_TOKEN} at least.")
