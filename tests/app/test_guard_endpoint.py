"""What a browser may say on the websocket, with a client that speaks wslink's protocol to a real server."""

import asyncio
import logging
import secrets
import socket
import struct
import time

import aiohttp
import msgpack
import pytest

from tensorview.app import endpoint
from tensorview.app.policy import Policy
from tensorview.app.server import Serving, make_server
from tensorview.app.validators import data, integer, number, text

LOGGER = "tensorview.app.endpoint"


class Demo:
    """A trame server with some state, three triggers and a widget."""

    def __init__(self):
        self.calls = []
        self.server = make_server("demo")
        self.server.state.update({"speed": 1.0, "name": "a", "private": "server's"})
        self.server.controller.trigger("add")(self.add)
        self.server.controller.trigger("undeclared")(self.add)
        self.policy = Policy(
            state={"speed": number(0, 10), "name": text(20)},
            triggers={"add": (integer(0, 9), data(100))},
        )
        self.policy.trigger(self.clear)
        self.policy.trigger(self.fail)
        from trame.ui.html import DivLayout
        from trame.widgets import html

        with DivLayout(self.server):
            html.Button("{{ name }}", click=self.clear)
            html.Button("fail", click=self.fail)
            html.Button("not declared", click=self.forbidden)

    def add(self, number, blob):
        self.calls.append((number, blob))
        return number + 1

    def clear(self):
        self.calls.clear()
        self.server.state.name = ""

    async def fail(self):
        raise RuntimeError("a secret from /etc/shadow")

    def forbidden(self):
        self.calls.append("forbidden")


class Page:
    """A client of the websocket, as a browser's page is one."""

    def __init__(self, serving, **headers):
        self.url = f"http://127.0.0.1:{serving.port}/ws"
        self.headers = {"Authorization": f"Bearer {serving.guard.token}", **headers}
        self.published = []

    async def __aenter__(self):
        self.session = aiohttp.ClientSession()
        try:
            self.socket = await self.session.ws_connect(self.url, headers=self.headers, max_msg_size=0)
        except aiohttp.ClientError:
            await self.session.close()
            raise
        await self.call("wslink.hello", {"secret": "wslink-secret"}, id="system:c0:0")
        return self

    async def __aexit__(self, *exception):
        await self.socket.close()
        await self.session.close()

    async def send(self, message, total=None):
        packed = message if isinstance(message, bytes) else msgpack.packb(message)
        head = secrets.token_bytes(4) + struct.pack("<II", 0, len(packed) if total is None else total)
        await self.socket.send_bytes(head + packed)

    async def receive(self):
        size, parts = 1, b""
        while len(parts) < size:
            frame = await self.socket.receive_bytes(timeout=10)
            size, parts = struct.unpack("<I", frame[8:12])[0], parts + frame[12:]
        return msgpack.unpackb(parts)

    async def call(self, method, *args, id="rpc:c0:1", kwargs=None):
        await self.send({"wslink": "1.0", "id": id, "method": method, "args": args, "kwargs": kwargs or {}})
        while True:
            answer = await self.receive()
            if answer["id"] == id:
                return answer
            self.published.append(answer["result"])

    async def update(self, **changes):
        return await self.call("trame.state.update", [{"key": k, "value": v} for k, v in changes.items()])

    async def settled(self):
        """Everything that was published until now."""
        await self.call("trame.state.get")
        await self.call("trame.state.get")
        return {key: value for change in self.published for key, value in change.items()}


@pytest.fixture
def demo():
    return Demo()


@pytest.fixture
def serving(demo):
    with Serving(demo.server, demo.policy, port=0) as serving:
        yield serving.start()


def speak(serving, conversation):
    """Hold a conversation with the server and return what it returns."""

    async def main():
        async with Page(serving) as page:
            return await conversation(page)

    return asyncio.run(main())


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer wslink-secret"},
        {"Origin": "http://evil.test"},
        {"Host": "evil.test"},
    ],
)
def test_a_stranger_gets_no_websocket(serving, headers):
    async def knock():
        async with Page(serving, **headers):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        asyncio.run(knock())


def test_the_ticket_opens_the_websocket(serving):
    async def knock():
        page = Page(serving, Authorization="")
        page.url += f"?ticket={serving.guard.ticket}"
        async with page:
            return (await page.call("trame.state.get"))["result"]["state"]["speed"]

    assert asyncio.run(knock()) == 1.0


def test_declared_state_goes_round_and_to_the_other_page(serving, demo):
    async def conversation():
        async with Page(serving) as page, Page(serving) as other:
            await page.update(speed=7, name="b")
            return await other.settled()

    assert asyncio.run(conversation()) == {"speed": 7.0, "name": "b"}
    assert (demo.server.state.speed, demo.server.state.name) == (7.0, "b")


@pytest.mark.parametrize(
    ("changes", "reset"),
    [
        ({"private": "mine"}, {"private": "server's"}),
        ({"speed": 11}, {"speed": 1.0}),
        ({"speed": float("nan")}, {"speed": 1.0}),
        ({"speed": "fast"}, {"speed": 1.0}),
        ({"name": "x" * 21}, {"name": "a"}),
        ({"trame__title": "mine"}, {"trame__title": "Trame"}),
        ({"unheard_of": 1}, {}),
        ({"name": "b", "private": "mine"}, {"private": "server's"}),
    ],
)
def test_other_state_is_not_set_and_the_page_s_copy_is_reset(serving, demo, caplog, changes, reset):
    async def conversation(page):
        answer = await page.update(**changes)
        return answer, await page.settled()

    before = dict(demo.server.state.to_dict())
    answer, published = speak(serving, conversation)
    assert answer["result"] is None  # an error would make trame's client try again for ever
    assert published == reset
    after = demo.server.state.to_dict()
    assert {key: value for key, value in after.items() if before.get(key) != value} == (
        {"name": "b"} if changes.get("name") == "b" else {}
    )
    assert "Refused state" in caplog.text
    assert "mine" not in caplog.text


def test_refused_state_does_not_reach_the_other_page(serving):
    async def conversation():
        async with Page(serving) as page, Page(serving) as other:
            await page.update(trame__template_main="<script>", private="mine")
            return await other.settled()

    assert asyncio.run(conversation()) == {}


def test_declared_triggers_are_called_with_clean_arguments(serving, demo):
    name = demo.server.trigger_name(demo.clear)
    assert name.startswith("trigger__")

    async def conversation(page):
        added = await page.call("trame.trigger", "add", [3.0, b"ink"], {})
        calls = list(demo.calls)
        cleared = await page.call("trame.trigger", name, [], {})
        return added["result"], calls, cleared["result"], await page.settled()

    assert speak(serving, conversation) == (4, [(3, b"ink")], None, {"name": ""})
    assert demo.calls == []


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("undeclared", [3, b"ink"], {}),
        ("forbidden", [], {}),
        ("missing", [], {}),
        (["add"], [3, b"ink"], {}),
        ("add", [3], {}),
        ("add", [3, b"ink", 1], {}),
        ("add", [10, b"ink"], {}),
        ("add", [3, "ink"], {}),
        ("add", [3, b"x" * 101], {}),
        ("add", [3, b"ink"], {"more": 1}),
        ("add", {"number": 3}, {}),
    ],
)
def test_other_triggers_and_arguments_are_refused(serving, demo, caplog, name, args, kwargs):
    name = demo.server.trigger_name(demo.forbidden) if name == "forbidden" else name

    async def conversation(page):
        return await page.call("trame.trigger", name, args, kwargs)

    assert speak(serving, conversation)["error"] == {"code": -32601, "message": "Refused"}
    assert demo.calls == []
    assert "Refused 'trame.trigger'" in caplog.text


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("application.exit", []),
        ("application.exit.later", [0]),
        ("trame.force.push", ["private"]),
        ("viewport.image.push", [{}]),
        ("viewport.mouse.interaction", [{}]),
        ("file.server.directory.list", ["."]),
        ("trame.lifecycle.update", ["server_exited"]),
        ("trame.state.get", ["more"]),
        ("viewport.geometry.array.get", [{"a": 1}, True]),
        ("no.such.method", []),
    ],
)
def test_other_methods_are_refused_and_the_server_goes_on(serving, caplog, method, args):
    async def conversation(page):
        refused = await page.call(method, *args)
        await asyncio.sleep(0.05)
        return refused, await page.call("trame.lifecycle.update", "client_connected")

    refused, answer = speak(serving, conversation)
    assert refused["error"] == {"code": -32601, "message": "Refused"}
    assert answer["result"] is None
    assert f"Refused {method!r}" in caplog.text


def test_a_method_that_the_policy_adds_is_passed_on(serving, demo):
    demo.policy.method("trame.force.push", text(20))

    async def conversation(page):
        await page.call("trame.force.push", "speed")
        return await page.settled()

    assert speak(serving, conversation) == {"speed": 1.0}


def test_an_exception_is_in_the_log_and_not_in_the_answer(serving, demo, caplog):
    async def conversation(page):
        return await page.call("trame.trigger", demo.server.trigger_name(demo.fail), [], {})

    assert speak(serving, conversation)["error"] == {"code": -32001, "message": "Exception raised"}
    assert "a secret from /etc/shadow" in caplog.text
    assert "Traceback" in caplog.text


def test_what_a_page_does_wrong_is_logged_once(serving, caplog):
    async def conversation(page):
        for _ in range(20):
            await page.update(private="mine")
            await page.call("trame.error.client", "TypeError:\nfaked line")

    speak(serving, conversation)
    messages = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert messages == [
        "Refused state 'private': state that is not declared",
        "A script of the page failed: TypeError: faked line",
    ]


@pytest.mark.parametrize(
    ("message", "total"),
    [
        (b"\x00", 2**30),  # thirteen bytes that claim a gigabyte
        (b"\xc1", None),
        (b"", None),
        (b"\xdd\xff\xff\xff\xff", None),
        (msgpack.packb([1, 2]), None),
        (msgpack.packb({"id": "rpc:c0:1"}), None),
        (msgpack.packb({"id": 1, "method": "trame.state.get", "args": [], "kwargs": {}}), None),
        (msgpack.packb({"id": "a", "method": "x" * 201, "args": [], "kwargs": {}}), None),
        (b"\x91" * 5000 + b"\x90", None),
    ],
)
def test_what_is_no_message_ends_the_connection_and_nothing_else(serving, caplog, message, total):
    async def conversation(page):
        await page.send(message, total)
        return await page.socket.receive(timeout=10)

    assert speak(serving, conversation).type is aiohttp.WSMsgType.CLOSE
    assert "Refused a " in caplog.text
    assert "Traceback" not in caplog.text

    async def greeting(page):
        return (await page.call("trame.state.get"))["result"]["name"]

    assert speak(serving, greeting).startswith("demo-")


def test_text_and_an_oversized_frame_end_the_connection(serving, monkeypatch):
    async def text_frame(page):
        await page.socket.send_str("{}")
        return await page.socket.receive(timeout=10)

    assert speak(serving, text_frame).type is aiohttp.WSMsgType.CLOSE
    monkeypatch.setattr(endpoint, "MOST_MESSAGE_BYTES", 1000)

    async def oversized(page):
        await page.send(b"x" * 1001)
        return await page.socket.receive(timeout=10)

    assert speak(serving, oversized).type is aiohttp.WSMsgType.CLOSE


def test_unfinished_messages_are_limited(serving):
    async def conversation(page):
        for _ in range(endpoint.MOST_PENDING_MESSAGES + 2):
            await page.send(b"x", total=1000)
        return await page.socket.receive(timeout=10)

    assert speak(serving, conversation).type is aiohttp.WSMsgType.CLOSE


def test_who_asks_for_much_waits_for_it_and_is_not_dropped(serving, demo, monkeypatch, caplog):
    monkeypatch.setattr(endpoint, "MOST_QUEUED_BYTES", 2**20)
    demo.server.state.name = "x" * 2**20

    async def conversation(page):
        for index in range(30):
            call = {"id": f"rpc:c0:{index}", "method": "trame.state.get", "args": [], "kwargs": {}}
            await page.send(call)
        answers = [await page.receive() for _ in range(30)]
        return [answer["id"] for answer in answers if len(answer["result"]["state"]["name"]) == 2**20]

    assert speak(serving, conversation) == [f"rpc:c0:{index}" for index in range(30)]
    assert "dropped" not in caplog.text


def stalled(serving):
    """A websocket that was opened and greeted, and whose other side never reads or answers again."""
    sock = socket.create_connection(("127.0.0.1", serving.port), timeout=10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    lines = [
        "GET /ws HTTP/1.1",
        f"Host: 127.0.0.1:{serving.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {serving.guard.token}",
    ]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    hello = {"id": "system:c0:0", "method": "wslink.hello", "args": [{"secret": "wslink-secret"}], "kwargs": {}}
    packed = msgpack.packb(hello)
    payload = struct.pack("<III", 1, 0, len(packed)) + packed
    sock.sendall(bytes([0x82, 0x80 | len(payload)]) + bytes(4) + payload)
    answer = b""
    while b"maxMsgSize" not in answer:
        answer += sock.recv(4096)
    return sock


def test_a_vanished_client_is_dropped_by_the_heartbeat(demo, monkeypatch):
    monkeypatch.setattr(endpoint, "HEARTBEAT_SECONDS", 0.2)
    with Serving(demo.server, demo.policy, port=0) as serving, stalled(serving.start()) as sock:
        sock.settimeout(10)
        while sock.recv(4096):
            pass  # pings, and then the end


def test_a_slow_client_delays_nobody_and_is_dropped(serving, demo, monkeypatch, caplog):
    monkeypatch.setattr(endpoint, "MOST_QUEUED_BYTES", 2**20)

    def publish(step):
        demo.server.state.name = f"{step:02d}" + "x" * 2**19
        demo.server.state.flush()

    async def conversation(page):
        for step in range(20):
            serving.call_soon(publish, step).result(5)
            await page.call("trame.state.get")
        return [change["name"][:2] for change in page.published if "name" in change]

    with stalled(serving):
        steps = speak(serving, conversation)
        deadline = time.monotonic() + 10
        while "it is dropped" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
    assert steps == [f"{step:02d}" for step in range(len(steps))]
    assert len(steps) >= 19
    assert "it is dropped" in caplog.text
    serving.call_soon(publish, 99).result(5)  # to nobody, and nothing raises
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
