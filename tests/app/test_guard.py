"""Who passes the guard: Host, Origin, where a request comes from, the token; and the headers of an answer."""

import hmac

import pytest
from aiohttp.test_utils import make_mocked_request

from tensorview.app import guard as guard_module
from tensorview.app import headers
from tensorview.app.guard import Guard

TOKEN = "t" * 43
OURS = "127.0.0.1:8765"


def status(guard, path="/index.html", **given):
    """The status that a request is refused with, `None` where it passes."""
    sent = {"Host": OURS, "Cookie": f"{guard.cookie}={TOKEN}"}
    sent.update({name.replace("_", "-"): value for name, value in given.items()})
    request = make_mocked_request("GET", path, headers={name: value for name, value in sent.items() if value})
    refused = guard.refusal(request)
    return None if refused is None else refused[0]


@pytest.fixture
def guard():
    return Guard("127.0.0.1", 8765, TOKEN)


@pytest.mark.parametrize("host", [OURS, "localhost:8765", "LOCALHOST:8765", "[::1]:8765"])
def test_our_own_hosts_pass(guard, host):
    assert status(guard, Host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8765",
        "127.0.0.1:8766",
        "127.0.0.1",
        "127.0.0.1.evil.test:8765",
        "[::1]",
        ":8765",
        "",
        "a:x",
        "localhost:" + "9" * 5000,
        "192.168.1.5:8765",
        "localhost:8765@evil.test",
    ],
)
def test_a_foreign_host_is_refused(guard, host):
    assert status(guard, Host=host) == 403


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        (f"http://{OURS}", None),
        (None, None),
        ("http://localhost:8765", 403),  # a browser that speaks to 127.0.0.1 never names it
        ("http://127.0.0.1:8888", 403),
        ("http://evil.test", 403),
        ("http://evil.test:8765", 403),
        (f"http://{OURS}.evil.test", 403),
        ("null", 403),
        ("file://", 403),
        (f"chrome-extension://{OURS}", 403),
    ],
)
def test_only_this_server_is_an_origin(guard, origin, refused):
    assert status(guard, Origin=origin) == refused
    assert status(guard, path="/ws", Origin=origin) == refused


@pytest.mark.parametrize(
    ("site", "mode", "refused"),
    [
        ("same-origin", "cors", None),
        ("none", "navigate", None),
        ("cross-site", "navigate", None),  # a link to the address, or a frame
        ("cross-site", "no-cors", 403),
        ("same-site", "cors", 403),
    ],
)
def test_another_site_may_link_here_and_nothing_else(guard, site, mode, refused):
    assert status(guard, Sec_Fetch_Site=site, Sec_Fetch_Mode=mode) == refused


@pytest.mark.parametrize("path", ["/", "/index.html", "/ws", "/paraview/", "/download/view.png", "/unknown"])
def test_without_the_token_nothing_is_answered(guard, path):
    assert status(guard, path, Cookie=None) == 403
    assert status(guard, path, Cookie=f"{guard.cookie}={TOKEN[:-1]}x") == 403
    assert status(guard, path, Cookie=f"tensorview-8766={TOKEN}") == 403
    assert status(guard, path + "?token=", Cookie=None) == 403
    assert status(guard, path, Cookie=None, Authorization="Bearer ") == 403
    assert status(guard, path, Cookie=None, Authorization=f"Basic {TOKEN}") == 403


@pytest.mark.parametrize("path", ["/", "/index.html", "/ws", "/paraview/"])
def test_the_token_passes_as_cookie_as_query_and_as_bearer(guard, path):
    assert status(guard, path) is None
    assert status(guard, f"{path}?token={TOKEN}", Cookie=None) is None
    assert status(guard, path, Cookie=None, Authorization=f"Bearer {TOKEN}") is None


def test_the_ticket_opens_the_websocket_only(guard):
    assert status(guard, f"/ws?ticket={guard.ticket}", Cookie=None) is None
    assert status(guard, f"/index.html?ticket={guard.ticket}", Cookie=None) == 403
    assert guard.ticket == guard.ticket.lower()


def test_the_token_is_compared_in_constant_time(guard, monkeypatch):
    compared, compare_digest = [], hmac.compare_digest

    def compare(given, right):
        compared.append((given, right))
        return compare_digest(given, right)

    monkeypatch.setattr(guard_module.hmac, "compare_digest", compare)
    status(guard, "/?token=w%C3%B6rong", Cookie=None)
    assert compared == [("w\u00f6rong".encode(), TOKEN.encode())]


def test_two_guards_have_different_random_tokens_of_256_bits():
    first, second = Guard("127.0.0.1", 1), Guard("127.0.0.1", 1)
    assert first.token != second.token
    assert len(first.token) >= 43


def test_a_body_above_the_cap_is_refused_unread(guard):
    assert status(guard, Content_Length=str(guard_module.MOST_BODY_BYTES)) is None
    assert status(guard, Content_Length=str(guard_module.MOST_BODY_BYTES + 1)) == 413


def test_allowed_hosts_are_hosts_and_origins():
    guard = Guard("127.0.0.1", 8765, TOKEN, allowed_hosts=["Hub.test", "proxy.test:8443"])
    assert status(guard, Host="hub.test", Origin="https://hub.test") is None
    assert status(guard, Host=OURS, Origin="https://hub.test") is None
    assert status(guard, Host="proxy.test:8443") is None
    assert status(guard, Host="proxy.test:8444") == 403


def test_bound_to_every_address_a_literal_address_is_ours_and_a_name_is_not():
    guard = Guard("0.0.0.0", 8765, TOKEN)
    assert status(guard, Host="192.168.1.5:8765", Origin="http://192.168.1.5:8765") is None
    assert status(guard, Host="[fe80::1]:8765") is None
    assert status(guard, Host="evil.test:8765") == 403
    assert status(guard, Host="192.168.1.5:8765", Origin="http://192.168.1.6:8765") == 403


def test_the_content_security_policy_names_no_other_host():
    policy = headers.content_security_policy(OURS, headers.script_hashes("<script>a()</script>"))
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'self'"
    assert directives["connect-src"] == f"'self' ws://{OURS} wss://{OURS}"
    assert directives["object-src"] == "'none'"
    assert directives["frame-ancestors"] == "'self'"
    # Computed with: printf 'a()' | openssl dgst -sha256 -binary | base64
    assert directives["script-src"] == "'self' 'unsafe-eval' 'sha256-qVpDBgj7bpq5hMAcGp3AOc79J3Y1Z4HvySTwKrWDoy4='"
    assert "*" not in policy


def test_a_hash_stands_for_each_inline_script_and_for_no_other():
    html = '<script src="a.js"></script><script>one</script>\n<script type="module">\ntwo</script>'
    assert len(headers.script_hashes(html)) == 2
