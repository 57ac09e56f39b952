"""The socket of the page: opened before anything else, so that the port is ours or the error is plain."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket

from ..errors import ServerError

DEFAULT_PORT = 8765
LAST_PORT = 8864


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address. A name other than localhost counts as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether the address means every address of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def listen(host: str, port: int | None = None) -> socket.socket:
    """A listening socket. With the socket, not just its number, no other program can take the port meanwhile.

    Args:
        host: address to bind.
        port: the port wanted, 0 for any free one, `None` for the first free one from 8765 to 8864.

    Raises:
        ServerError: the port is in use, out of range or not permitted, or the address is not this machine's.
    """
    if port is not None and not 0 <= port <= 65535:
        raise ServerError(f"--port {port} is not a port; it must be from 1 to 65535.")
    family, address = _resolve(host)
    if port is not None:
        try:
            return _bound(family, address, port)
        except PermissionError:
            raise ServerError(f"Port {port} needs rights that you lack; name one from 1024 on with --port.") from None
        except OSError:
            raise ServerError(
                f"Port {port} on {host} is in use; name another with --port, or leave it out for a free one."
            ) from None
    for candidate in range(DEFAULT_PORT, LAST_PORT + 1):
        with contextlib.suppress(OSError):
            return _bound(family, address, candidate)
    raise ServerError(f"No port from {DEFAULT_PORT} to {LAST_PORT} is free on {host}; name one with --port.")


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere the option would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # "localhost" may name ::1 first; the address that is printed says 127.0.0.1.
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address[0], 0))
    except OSError:
        raise ServerError(f"--host {host} is no address of this machine; use 127.0.0.1 or one of its own.") from None
    return family, str(address[0])
