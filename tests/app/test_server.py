"""The server on a real port: addresses, routes, headers, starting and ending."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import aiohttp
import psutil
import pytest
from aiohttp import web
from yarl import URL

from tensorview.app import ports
from tensorview.app.policy import Policy
from tensorview.app.server import Serving, make_server
from tensorview.errors import ServerError


def serving_of(**options):
    return Serving(make_server("test"), Policy(), port=0, **options)


@pytest.fixture
def serving():
    with serving_of() as serving:

        async def picture(request):
            return web.Response(body=b"\x89PNG", content_type="image/png")

        async def failing(request):
            raise RuntimeError("a secret from /etc/shadow")

        serving.add_route("GET", "/picture/{name}", picture)
        serving.add_route("GET", "/failing", failing)
        yield serving.start()


def fetch(url, method="GET", *, enter=None, **options):
    """Status, headers and body; with `enter`, after that address has set its cookie."""

    async def main():
        jar = aiohttp.CookieJar(unsafe=True)  # else it takes no cookie from an IP address
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            if enter:
                async with session.get(enter) as response:
                    assert response.status == 200
            async with session.request(method, url, **options) as response:
                return response.status, response.headers, await response.text(errors="replace")

    return asyncio.run(main())


def base(serving):
    return f"http://127.0.0.1:{serving.port}"


def test_the_address_with_the_token_leads_to_the_page(serving):
    status, headers, body = fetch(serving.url)
    assert status == 200
    assert "url=index.html" in body
    assert serving.guard.token not in body
    cookie = headers["Set-Cookie"]
    assert cookie.startswith(f"tensorview-{serving.port}={serving.guard.token};")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    status, headers, body = fetch(base(serving) + "/index.html", enter=serving.url)
    assert status == 200
    assert '<div id="app">' in body
    assert headers["Cache-Control"] == "no-store"


def test_without_the_token_there_is_a_sentence_and_no_page(serving):
    status, _, body = fetch(base(serving) + "/")
    assert status == 403
    assert "?token=" in body
    assert "<" not in body


def test_a_frame_is_told_the_ticket_of_its_websocket(serving):
    address = f"{base(serving)}/paraview/"
    assert fetch(address, "POST", enter=serving.url)[2] == f'{{"sessionURL": "ws://127.0.0.1:{serving.port}/ws"}}'
    page = fetch(f"{base(serving)}/index.html?token={serving.guard.token}")[2]
    assert f'data-session-manager-url="paraview/?token={serving.guard.token}"' in page
    told = fetch(f"{address}?token={serving.guard.token}", "POST")[2]
    assert f"/ws?ticket={serving.guard.ticket}" in told


@pytest.mark.parametrize(
    ("path", "with_token", "expected"),
    [
        ("/index.html", True, 200),
        ("/vue.global.js", False, 200),
        ("/picture/view.png", True, 200),
        ("/picture/view.png", False, 403),
        ("/nothing", True, 404),
        ("/assets/", True, 403),
        ("/failing", True, 500),
        ("/ws", False, 403),
        ("/../../../../etc/passwd", True, 404),
        ("/%2e%2e/%2e%2e/%2e%2e/etc/passwd", True, 404),
        ("/assets/../index.html", False, 403),
    ],
)
def test_every_answer_carries_the_headers(serving, path, with_token, expected):
    url = URL(base(serving) + path, encoded=True)
    status, headers, body = fetch(url, enter=serving.url if with_token else None)
    assert status == expected
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert f"ws://127.0.0.1:{serving.port}" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    for secret in ("root:x:", "/etc/shadow", "Traceback", "site-packages", "aiohttp"):
        assert secret not in body
    assert "aiohttp" not in headers["Server"]


def test_a_failing_route_is_in_the_log_and_not_in_the_answer(serving, caplog):
    assert fetch(base(serving) + "/failing", enter=serving.url)[0] == 500
    assert "a secret from /etc/shadow" in caplog.text


def test_foreign_host_and_origin_get_403_on_page_files_and_websocket(serving):
    for path in ("/", "/index.html", "/vue.global.js", "/ws"):
        for headers in ({"Host": "evil.test"}, {"Origin": "http://evil.test"}):
            url = f"{base(serving)}{path}?token={serving.guard.token}"
            assert fetch(url, headers=headers)[0] == 403, (path, headers)


def test_the_default_port_is_the_first_free_one(monkeypatch):
    with ports.listen("127.0.0.1", 0) as taken, ports.listen("127.0.0.1", 0) as free:
        first, second = sorted((taken.getsockname()[1], free.getsockname()[1]))
    monkeypatch.setattr(ports, "DEFAULT_PORT", first)
    monkeypatch.setattr(ports, "LAST_PORT", second)
    with ports.listen("127.0.0.1", first), ports.listen("127.0.0.1") as found:
        assert first < found.getsockname()[1] <= second
    monkeypatch.setattr(ports, "LAST_PORT", first)
    with (
        ports.listen("127.0.0.1", first),
        pytest.raises(ServerError, match=rf"from {first} to {first} .*--port"),
    ):
        ports.listen("127.0.0.1")


def test_the_documented_default_is_8765():
    assert (ports.DEFAULT_PORT, ports.LAST_PORT) == (8765, 8864)


def test_a_port_in_use_is_said_in_one_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=rf"Port {port} on 127.0.0.1 is in use; .*--port"):
            Serving(make_server("test"), Policy(), port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("203.0.113.7", 0), ("no.such.host.invalid", 0)])
def test_an_impossible_address_is_said_in_one_sentence(host, port):
    with pytest.raises(ServerError, match=r"--(port|host)"):
        Serving(make_server("test"), Policy(), host=host, port=port, allow_remote=True)


def test_another_address_needs_a_token_and_warns_about_tls(capsys):
    with pytest.raises(ServerError, match="--token"):
        serving_of(host="0.0.0.0")
    with pytest.raises(ServerError, match="16"):
        serving_of(host="0.0.0.0", token="short")
    with serving_of(host="0.0.0.0", token="a-secret-of-the-teacher") as serving:
        serving.start()
        assert serving.url == f"http://127.0.0.1:{serving.port}/?token=a-secret-of-the-teacher"
        assert fetch(serving.url)[0] == 200
    assert "TLS" in capsys.readouterr().err
    with serving_of(host="0.0.0.0", allow_remote=True) as serving:
        assert len(serving.guard.token) >= 43


def test_nothing_is_printed_on_this_machine_s_own_address(capfd):
    with serving_of() as serving:
        serving.start()
    assert capfd.readouterr() == ("", "")


def test_two_servers_do_not_share_state():
    with serving_of() as first, serving_of() as second:
        first.server.state.speed = 1
        second.server.state.speed = 2
        first.start()
        second.start()
        assert first.port != second.port
        assert first.server.name != second.server.name
        assert first.server.protocol is not second.server.protocol
        first.call_soon(first.server.state.update, {"speed": 3}).result(5)
        assert second.server.state.speed == 2
        # A token opens its own server only.
        assert fetch(f"{base(second)}/?token={first.guard.token}")[0] == 403


def test_starting_and_closing_leaves_no_thread_and_no_socket():
    serving_of().start().close()  # what stays open from the first time on is not counted
    process = psutil.Process()
    before = process.num_fds(), threading.active_count()
    for _ in range(5):
        serving = serving_of().start()
        assert fetch(serving.url)[0] == 200
        serving.close()
        serving.close()
        with ports.listen("127.0.0.1", serving.port):
            pass
    assert (process.num_fds(), threading.active_count()) == before


def test_a_server_starts_once_and_closing_before_the_start_frees_the_port():
    serving = serving_of()
    serving.close()
    with pytest.raises(ServerError, match="new server"):
        serving.start()
    with ports.listen("127.0.0.1", serving.port):
        pass


def test_a_page_that_fails_at_the_start_fails_in_the_caller():
    serving = serving_of()

    def fail(**state):
        raise RuntimeError("no picture")

    serving.server.controller.on_server_ready.add(fail)
    with pytest.raises(RuntimeError, match="no picture"):
        serving.start()
    with ports.listen("127.0.0.1", serving.port):
        pass


def test_call_soon_runs_on_the_loop_and_returns_what_the_function_does():
    with serving_of() as serving:
        with pytest.raises(ServerError, match="start"):
            serving.call_soon(print)
        serving.start()
        assert serving.call_soon(threading.current_thread).result(5).name == f"tensorview-{serving.port}"
        with pytest.raises(ZeroDivisionError):
            serving.call_soon(lambda: 1 / 0).result(5)


def test_close_may_be_called_on_the_loop_and_tells_the_page():
    ended = threading.Event()
    with serving_of() as serving:
        serving.server.controller.on_server_exited.add(lambda **state: ended.set())
        serving.start()
        serving.call_soon(serving.close).result(5)
        serving.wait()
    assert ended.is_set()


PROGRAM = """
    import sys
    from tensorview.app.policy import Policy
    from tensorview.app.server import Serving, make_server

    serving = Serving(make_server("test"), Policy(), port=0)
    if sys.argv[1] == "run":
        serving.run(lambda: print("ready", flush=True))
    else:
        serving.start()
        print("ready", flush=True)
        options = serving.server.server_options
        assert (options.timeout, options.app, serving.server.port) == (0, False, serving.port), options
        if sys.argv[1] == "wait":
            serving.wait()
    print("after", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize(
    ("way", "sent"), [("run", signal.SIGINT), ("run", signal.SIGTERM), ("wait", signal.SIGINT), ("end", None)]
)
def test_a_signal_ends_a_program_cleanly(way, sent):
    # trame would read its own options from a program's; not in the process of pytest, which it knows.
    own = ["--port", "1", "--timeout", "1", "--app", "--unheard-of"]
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), way, *own]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "ready\n"
        if sent:
            time.sleep(0.2)
            program.send_signal(sent)
        out, err = program.stdout.read(), program.stderr.read()
    assert (out, err, program.returncode) == ("after\n", "", 0)
