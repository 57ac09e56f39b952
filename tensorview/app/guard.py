"""The guard in front of the page: who may speak to the server at all.

wslink, which carries trame's messages, lets everybody in: its secret is a public constant, it looks at
neither Origin nor Host, sends tracebacks to the browser, and has a method that stops the server. Any page
that is open in the same browser could speak to it. This closes it, in this order, for the page, its websocket
and every route:

    Host is none of ours                          403   a name that was made to point here (DNS rebinding)
    Origin is there and is not this server        403   another site's script (cross-site hijacking)
    asked by another site, and not as a page      403   another site's <img> or <script> (Sec-Fetch-Site)
    a body above the limit                        413   memory
    a file of the installed packages              pass  anybody can install the same; nothing of the user's
    a path that holds for one request             pass  `handover.py` made it, and nobody can guess it
    no token in cookie, ?token= or Bearer         403   everybody who has not read the terminal
    a token that is wrong (in constant time)      403   the same
    otherwise                                     pass

What those who passed may say on the websocket is declared with `policy.py` and enforced in `endpoint.py`,
together with the sizes of messages. The headers of every answer are in `headers.py`.

The ways to carry the token: `GET /?token=...`, the address that is opened and printed, sets a cookie
(HttpOnly, SameSite=Strict, the port in its name, since cookies do not tell ports apart) and goes on to the
page. A frame of another origin gets no such cookie: it opens `/index.html?token=...`, whose websocket then
carries a ticket. A program that is no browser sends `Authorization: Bearer ...`.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from aiohttp import web

from . import headers
from .ports import is_wildcard

logger = logging.getLogger(__name__)

MOST_BODY_BYTES = 32 * 2**20
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
NO_TOKEN = "Open the address that tensorview printed when it started, with everything after ?token= in it."
NOT_OURS = "This server answers only under its own address."

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Who may speak to one server.

    Args:
        host: the address that the server is bound to.
        port: its port.
        token: the secret of its address; `None` makes one of 256 random bits.
        allowed_hosts: further names of this server, as behind a proxy: "name" or "name:port".
        frame_ancestors: CSP sources of pages that may show this one in a frame.
        scripts: CSP hashes of the inline scripts of the page.

    Attributes:
        passes: paths that are their own secret, and how many bytes the body of a request to each may have.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None = None,
        allowed_hosts: Sequence[str] = (),
        frame_ancestors: Sequence[str] = ("'self'",),
        scripts: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.port = port
        self.token = token or secrets.token_urlsafe(32)
        # trame's client writes the websocket's address in lower case, which a token need not survive.
        self.ticket = secrets.token_hex(32)
        self.allowed_hosts = frozenset(name.lower() for name in allowed_hosts)
        self.frame_ancestors = tuple(frame_ancestors)
        self.scripts = tuple(scripts)
        self.passes: Mapping[str, int] = {}

    @property
    def cookie(self) -> str:
        """The name of the cookie that carries the token."""
        return f"tensorview-{self.port}"

    def install(self, app: web.Application) -> None:
        """Put the guard in front of every route of an application, and its headers on every answer."""
        app.middlewares.append(self.middleware)
        app.on_response_prepare.append(self._add_headers)

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        """The status and the sentence to refuse a request with, `None` for one that may pass."""
        host = self.own_host(request)
        if host is None:
            return 403, NOT_OURS
        if not self._is_own_origin(request, host):
            return 403, NOT_OURS
        navigates = request.headers.get("Sec-Fetch-Mode") == "navigate"
        if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not navigates:
            return 403, NOT_OURS
        most = self.passes.get(request.path, MOST_BODY_BYTES)
        if (request.content_length or 0) > most:
            return 413, f"More than {most // 2**20} MB."
        if _is_package_file(request) or request.path in self.passes or self.has_token(request):
            return None
        return 403, NO_TOKEN

    def own_host(self, request: web.Request) -> str | None:
        """The Host of the request, in lower case, if it is one of this server's names; otherwise `None`."""
        given = request.headers.getall("Host", [])
        if len(given) != 1:
            return None
        host = given[0].lower()
        name, port = _split(host)
        if {host, name} & self.allowed_hosts:
            return host
        if port != self.port:
            return None
        if name in (*LOOPBACK_NAMES, self.host.lower(), f"[{self.host.lower()}]"):
            return host
        # Rebinding needs a name of the attacker's: a literal address, or this machine's own name, is none.
        if is_wildcard(self.host) and (_is_address(name) or name == socket.gethostname().lower()):
            return host
        return None

    def has_token(self, request: web.Request) -> bool:
        """Whether the request carries the token, or for the websocket the ticket."""
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        offers = [request.cookies.get(self.cookie), request.query.get("token")]
        offers.append(bearer.strip() if scheme.lower() == "bearer" else None)
        allowed = [_same(offer, self.token) for offer in offers if offer]
        if request.path == "/ws":
            allowed.append(_same(request.query.get("ticket", ""), self.ticket))
        return any(allowed)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse or pass on, and let no exception reach the browser."""
        refused = self.refusal(request)
        if refused is not None:
            status, sentence = refused
            logger.warning("Refused %s %r from %s: %s", request.method, request.path[:200], request.remote, sentence)
            return web.Response(status=status, text=sentence)
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:
            logger.exception("The answer to %s %r failed", request.method, request.path[:200])
            return web.Response(status=500, text="This request failed; the server's log says why.")

    def _is_own_origin(self, request: web.Request, host: str) -> bool:
        origins = request.headers.getall("Origin", [])
        if not origins:
            return True
        parts = urlsplit(origins[0].lower())
        if len(origins) != 1 or parts.scheme not in ("http", "https"):
            return False
        return parts.netloc == host or bool({parts.netloc, _split(parts.netloc)[0]} & self.allowed_hosts)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers.STEADY)
        response.headers["Content-Security-Policy"] = headers.content_security_policy(
            self.own_host(request), self.scripts, self.frame_ancestors
        )
        response.headers.setdefault("Cache-Control", "no-cache" if _is_package_file(request) else "no-store")


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), right.encode())


def _split(host: str) -> tuple[str, int]:
    """Name and port of a Host header; port 80 where it names none, -1 where it is no number."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host, 80
    return name, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _is_package_file(request: web.Request) -> bool:
    """Whether a static route answers. The page itself is no such file, whatever way its path is written."""
    resource = request.match_info.route.resource
    return isinstance(resource, web.StaticResource) and PurePosixPath(request.path).suffix != ".html"
