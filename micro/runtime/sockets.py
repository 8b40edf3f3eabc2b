"""Listening sockets that one process holds and several accept from.

A socket is made before it is bound, so that a child can inherit it before anyone knows its port: the kernel's object is the
same in both. Connections wait in one queue for whichever instance is free; one that ends takes no waiting connection with
it, as it would with a queue of its own (SO_REUSEPORT; see ADR 0009).
"""

from __future__ import annotations

import errno
import socket

from micro.errors import ConfigurationError, MicroError, PortInUse

BACKLOG = 2048


def unbound(host: str) -> socket.socket:
    """A TCP socket of the family of `host`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named by its protocol number, because asyncio sets TCP_NODELAY on such sockets only: without it, 40 ms a request.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)


def bind(owner: str, host: str, port: int, *, hint: str = "") -> socket.socket:
    """A listening TCP socket for `owner`, where no child is to inherit it before. See `listen`."""
    sock = unbound(host)
    try:
        listen(sock, owner, host=host, port=port, hint=hint)
    except MicroError:
        sock.close()
        raise
    return sock


def listen(sock: socket.socket, owner: str, *, host: str, port: int, hint: str = "") -> None:
    """Bind `sock` and listen; connections queue from now on. Port 0 is any free one.

    Raises `PortInUse` (with `hint`, how to choose another) and `ConfigurationError` for an address that can't be had.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(owner, host, port, hint=hint) from error
        raise ConfigurationError(f"{owner}: can't listen on {host}:{port}: {error.strerror}") from error


def base_url(sock: socket.socket) -> str:
    """Where a client on this machine finds a bound socket: `http://host:port`, a wildcard written as loopback."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
