"""The headers that every answer carries: what the page may load, run and talk to.

trame compiles its templates in the browser, hence 'unsafe-eval'; Vuetify and vtk.js set styles, hence
'unsafe-inline' for styles. Scripts come from this server alone: an inline script runs only if it stands in
the installed index.html, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc\b)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)

STEADY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "tensorview",
}


def script_hashes(html: str) -> tuple[str, ...]:
    """The CSP sources ('sha256-...') of the inline scripts of a page, in order."""
    digests = (hashlib.sha256(script.encode()).digest() for script in INLINE_SCRIPT.findall(html))
    return tuple(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def content_security_policy(
    host: str | None = None, scripts: Iterable[str] = (), frame_ancestors: Iterable[str] = ("'self'",)
) -> str:
    """The Content-Security-Policy of one answer.

    Args:
        host: host and port as the browser names this server, whose websocket the page may then speak to.
        scripts: further sources of scripts, as `script_hashes` gives them.
        frame_ancestors: who may show the page in a frame.
    """
    websockets = f" ws://{host} wss://{host}" if host else ""  # older Safari does not count them as 'self'
    directives = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", "'unsafe-eval'", *scripts]),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'" + websockets,
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": " ".join(frame_ancestors),
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())
