"""One trame server that shares nothing: not this program's arguments, not its state, not a web server."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import threading
from collections.abc import Coroutine
from typing import Any

from ..errors import ServerError

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)
_starting = threading.Lock()


def make_server(name: str) -> Any:
    """A trame server of its own, that reads nothing from `sys.argv`.

    Args:
        name: what the server is called; a number is added, since trame gives the same server for the same
        name.
    """
    from trame.app import get_server

    server = get_server(f"{name}-{next(_numbers)}", client_type="vue3")
    options = server.cli.parse_args(["--server", "--no-ws-endpoint"])
    # `server.start` would parse sys.argv, and with it the options of the script that opened the page.
    server.cli.parse_known_args = lambda args=None, namespace=None: (options, [])
    return server


def start_core(server: Any, host: str, port: int) -> tuple[Any, Coroutine[Any, Any, None]]:
    """Start trame without a web server, on the running loop.

    Returns:
        wslink's web server, which in its "generic" back end serves nothing, and the coroutine that makes the
        server ready and ends with it.

    Raises:
        ServerError: the server was started before.
    """
    bound: list[Any] = []
    server.controller.on_server_bind.add(bound.append)
    with _starting:  # trame and wslink keep the server that is being started in globals
        main = server.start(
            port=port,
            host=host,
            backend="generic",
            exec_mode="coroutine",
            timeout=0,
            open_browser=False,
            show_connection_info=False,
            disable_logging=True,
        )
    if main is None:
        raise ServerError("This trame server was started before; make another one with make_server.")
    bound[0].get_port = lambda: port
    return bound[0], main


async def stop_core(server: Any, task: asyncio.Task[None]) -> None:
    """Stop trame, of which `task` runs the coroutine, and let the page do what it does at its end."""
    await server.stop()
    await asyncio.wait({task}, timeout=2)
    if server.controller.on_server_exited.exists():
        try:
            server.controller.on_server_exited(**server.state.to_dict())
        except Exception:
            logger.exception("What the page does at its end failed")


def forget(server: Any) -> None:
    """Let a trame server be collected: trame and trame-vtk keep every one by its name."""
    from trame.app import core

    core.AVAILABLE_SERVERS.pop(server.name, None)
    vtk_module = sys.modules.get("trame_vtk.modules.vtk")
    if vtk_module is not None:
        vtk_module.HELPERS_PER_SERVER.pop(server.name, None)
        # By address; another page's objects are merely described in full once more.
        sys.modules["trame_vtk.modules.vtk.serializers.cache"].PROP_CACHE.clear()
        sys.modules["trame_vtk.modules.vtk.serializers.serialize"].DELETE_CALLBACKS.clear()
