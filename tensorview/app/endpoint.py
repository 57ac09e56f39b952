"""The websocket: wslink's protocol with the policy in front, caps on what it holds, no word about failures.

A message passes these in order, and is refused at the first that it fails:

    a frame, and the message it is a part of, within the cap     otherwise the socket is closed
    a mapping with id, method, args, kwargs of the right types   otherwise the socket is closed
    a method that the policy names                               otherwise an error without details
    state keys and values that the policy declares               others are dropped, the page's copy is reset
    a trigger and arguments that the policy declares             otherwise an error without details

What is sent waits in a queue of each browser's own: a slow one delays nobody, and one that falls too far
behind is dropped. What a page does wrong is logged as a warning, each thing once, and an exception with its
traceback; neither is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any
from uuid import uuid4

from aiohttp import WSCloseCode, WSMsgType, web
from trame_server.utils import clean_state
from wslink.chunking import UnChunker
from wslink.protocol import METHOD_NOT_FOUND, WslinkHandler

from .policy import Policy, PolicyError, checked
from .validators import fields, list_of, optional, text

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20.0
GOODBYE_SECONDS = 2.0
MOST_MESSAGE_BYTES = 32 * 2**20
MOST_PENDING_MESSAGES = 4
MOST_QUEUED_BYTES = 64 * 2**20
MOST_CHANGES = 500
MOST_WARNINGS = 200
STATE_TOPIC = "trame.state.topic"


def anything(value: Any) -> Any:
    """The validator of what another one looks at next."""
    return value


def mapping(value: Any) -> dict[Any, Any]:
    """The validator of named arguments, which are refused later where there are any."""
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return value


MESSAGE = fields(
    wslink=optional(text(20)),
    id=text(200),
    method=text(200),
    args=list_of(anything, 100),
    kwargs=mapping,
)
CHANGES = list_of(fields(key=text(), value=anything), MOST_CHANGES)


class Client:
    """One browser's websocket, as wslink's handler wants it, with a queue of what is to be sent."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self._transport = transport
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._dropped = False

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._dropped or self.socket.closed

    async def send_bytes(self, message: bytes) -> None:
        """Queue a message. Never waits and never raises; what is sent to a closed socket is lost."""
        if self.closed:
            return
        if self._queued > MOST_QUEUED_BYTES:
            logger.warning("A browser is more than %d MB behind; it is dropped", MOST_QUEUED_BYTES // 2**20)
            self.drop()
            return
        self._queue.append(message)
        self._queued += len(message)
        self._filled.set()

    def drop(self) -> None:
        """Forget what is queued and cut the connection without a word: the other side may not be reading."""
        self._dropped = True
        self._queue.clear()
        self._filled.set()
        self._emptied.set()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Say goodbye, and cut the connection if that takes long."""
        try:
            await asyncio.wait_for(self.socket.close(code=WSCloseCode.GOING_AWAY), GOODBYE_SECONDS)
        except (asyncio.TimeoutError, ConnectionError):
            self.drop()

    async def pump(self) -> None:
        """Send what is queued, until the socket is closed."""
        try:
            while not self.closed:
                await self._filled.wait()
                self._filled.clear()
                while self._queue and not self.closed:
                    message = self._queue.popleft()
                    await self.socket.send_bytes(message)
                    self._queued -= len(message)
                self._emptied.set()
        except (ConnectionError, RuntimeError):
            pass  # it vanished; the reading side notices too
        finally:
            self._dropped = True
            self._emptied.set()

    async def emptied(self) -> None:
        """Wait until all that was queued is sent, where that is much: who asks for much waits for it."""
        while self._queued > MOST_QUEUED_BYTES // 2 and not self.closed:
            self._emptied.clear()
            await self._emptied.wait()


class CappedUnChunker(UnChunker):
    """Puts chunks together, and takes no more memory than the cap, whatever a header claims."""

    def set_max_message_size(self, size: int) -> None:
        super().set_max_message_size(min(size, MOST_MESSAGE_BYTES))

    def process_chunk(self, chunk: bytes) -> Any:
        if len(self.pending_messages) > MOST_PENDING_MESSAGES:
            raise ValueError("too many unfinished messages")
        return super().process_chunk(chunk)


class Endpoint(WslinkHandler):
    """The websocket of one trame server.

    Args:
        protocol: `server.protocol` of the trame server.
        web_app: wslink's web server of it.
        controller: `server.controller`, which knows the triggers.
        state: `server.state`.
        policy: what a browser may do.
        compress: whether to deflate what is sent; worth its time only across a network.
    """

    def __init__(
        self, protocol: Any, web_app: Any, controller: Any, state: Any, policy: Policy, compress: bool
    ) -> None:
        super().__init__(protocol, web_app)
        self._controller = controller
        self._state = state
        self._policy = policy
        self._compress = compress
        self._logged: set[str] = set()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Speak with one browser until it leaves."""
        socket = web.WebSocketResponse(
            max_msg_size=MOST_MESSAGE_BYTES,
            heartbeat=HEARTBEAT_SECONDS,
            compress=self._compress,
            timeout=GOODBYE_SECONDS,
        )
        await socket.prepare(request)
        client_id = uuid4().hex
        client = self.connections[client_id] = Client(socket, request.transport)
        pump = asyncio.create_task(client.pump())
        await self.onConnect(request, client_id)
        self.unchunkers[client_id] = CappedUnChunker()
        try:
            async for message in socket:
                if message.type is not WSMsgType.BINARY or not await self._take(message.data, client_id):
                    await socket.close(code=WSCloseCode.POLICY_VIOLATION)
                await client.emptied()
        except Exception:  # an answer to a failed request has no place in a websocket
            logger.exception("A websocket failed")
        finally:
            pump.cancel()
            await self.onClose(client_id)
            del self.connections[client_id]
            self.authentified_client_ids.discard(client_id)
        return socket

    async def close(self) -> None:
        """Say goodbye to every browser."""
        await asyncio.gather(*(client.close() for client in list(self.connections.values())))
        self.publishManager.unregisterProtocol(self)

    async def onCompleteMessage(self, rpc: dict[str, Any], client_id: str) -> None:  # noqa: N802
        """Check a message, pass on what is allowed of it, and correct the page's copy of what is not."""
        method = rpc["method"]
        if method == "wslink.hello" or not self.isClientAuthenticated(client_id):
            await super().onCompleteMessage(rpc, client_id)
            return
        corrections: list[str] = []
        try:
            args = self._allowed(method, rpc["args"], rpc["kwargs"], corrections)
        except PolicyError as refused:
            name = str(rpc["args"][0]) if method == "trame.trigger" and rpc["args"] else ""
            self._log_once(f"Refused {method[:100]!r} {name[:100]!r}: {refused}")
            await self.sendWrappedError(rpc["id"], METHOD_NOT_FOUND, "Refused", client_id=client_id)
            return
        if method == "trame.error.client" and not self._controller.on_error.exists():
            self._log_once(f"A script of the page failed: {args[0]}")
            await self.sendWrappedMessage(rpc["id"], None, client_id=client_id)
            return
        await super().onCompleteMessage({**rpc, "args": args, "kwargs": {}}, client_id)
        self._correct(corrections, client_id)

    async def sendWrappedError(  # noqa: N802
        self, rpcid: str, code: int, message: str, data: Any = None, client_id: str | None = None
    ) -> None:
        """Send an error without its data: wslink would put the exception and its traceback there."""
        if client_id in self.connections:
            await super().sendWrappedError(rpcid, code, message, None, client_id)

    async def _take(self, data: bytes, client_id: str) -> bool:
        """Take one frame; `False` if it is none of wslink's."""
        try:
            message = self.unchunkers[client_id].process_chunk(data)
        except Exception as error:  # whatever msgpack makes of it
            self._log_once(f"Refused a frame: {error}")
            return False
        if message is None:
            return True
        try:
            rpc = MESSAGE(message)
        except ValueError as error:
            self._log_once(f"Refused a message: {error}")
            return False
        with self.network_monitor:
            await self.onCompleteMessage(rpc, client_id)
        return True

    def _allowed(self, method: str, args: Any, kwargs: Any, corrections: list[str]) -> list[Any]:
        """The arguments to call a method with; state keys that the page has wrong go into `corrections`."""
        if method == "trame.state.update":
            (changes,) = checked((CHANGES,), args, kwargs)
            return [self._changes(changes, corrections)]
        if method == "trame.trigger":
            name, given, named = checked((text(), anything, anything), args, kwargs)
            function = self._controller.trigger_fn(name)
            return [name, self._policy.arguments(name, function, given, named), {}]
        if method not in self._policy.methods:
            raise PolicyError("a method that is not declared")
        return checked(self._policy.methods[method], args, kwargs)

    def _changes(self, changes: list[dict[str, Any]], corrections: list[str]) -> list[dict[str, Any]]:
        kept = []
        for change in changes:
            key, given = change["key"], change["value"]
            try:
                value = self._policy.value(key, given)
            except PolicyError as refused:
                self._log_once(f"Refused state {key[:100]!r}: {refused}")
                corrections.append(key)
                continue
            if value != given:
                corrections.append(key)
            kept.append({"key": key, "value": value})
        return kept

    def _correct(self, keys: list[str], client_id: str) -> None:
        values, _ = clean_state({key: self._state[key] for key in keys if key in self._state})
        if values:
            self.publish(STATE_TOPIC, values, client_id=client_id)

    def _log_once(self, message: str) -> None:
        """Log what a page did wrong, once: one that does it again and again must not fill the log."""
        if message in self._logged or len(self._logged) >= MOST_WARNINGS:
            logger.debug(message)
            return
        self._logged.add(message)
        logger.warning(message)
