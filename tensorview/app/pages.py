"""The routes of the page: the address with the token, index.html, the files of trame's packages.

trame's client asks `POST paraview/` where its websocket is before it guesses; answering spares it a failed
request, and is how a page inside a frame of another origin, which gets no cookie, learns its ticket.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from .guard import Guard

# A redirect after a link on another site would still count as that site's request, and SameSite=Strict would
# keep the cookie back; a page that moves on by itself is this site's.
# Its empty icon spares a request that would be broken off.
ENTRANCE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>tensorview</title>
<link rel="icon" href="data:,"><meta http-equiv="refresh" content="0; url=index.html">
<p><a href="index.html">Open the page</a></p></html>"""


def add_page_routes(app: web.Application, guard: Guard, content: Path, serve: Mapping[str, Path]) -> None:
    """Add the routes of the page; routes added before take precedence.

    Args:
        app: the application to add to.
        guard: who may speak to it.
        content: folder of trame's client, with its index.html.
        serve: path below / -> folder of installed files, open to everybody who reaches the server.
    """
    index = (content / "index.html").read_text(encoding="utf-8")

    async def entrance(request: web.Request) -> web.Response:
        return _with_cookie(web.Response(text=ENTRANCE, content_type="text/html"), guard)

    async def page(request: web.Request) -> web.Response:
        if "token" not in request.query:
            return web.Response(text=index, content_type="text/html")
        where = html.escape(f"paraview/?token={quote(request.query['token'], safe='')}", quote=True)
        framed = index.replace("<html", f'<html data-session-manager-url="{where}"', 1)
        return _with_cookie(web.Response(text=framed, content_type="text/html"), guard)

    async def websocket_address(request: web.Request) -> web.Response:
        scheme = "wss" if request.scheme == "https" else "ws"
        ticket = f"?ticket={guard.ticket}" if "token" in request.query else ""
        return web.json_response({"sessionURL": f"{scheme}://{request.host}/ws{ticket}"})

    app.router.add_get("/", entrance)
    app.router.add_get("/index.html", page)
    app.router.add_post("/paraview/", websocket_address)
    for path in sorted(serve, reverse=True):  # longer paths first
        app.router.add_static(f"/{path.strip('/')}", serve[path])
    app.router.add_static("/", content)


def _with_cookie(response: web.Response, guard: Guard) -> web.Response:
    response.set_cookie(guard.cookie, guard.token, httponly=True, samesite="Strict", path="/")
    return response
