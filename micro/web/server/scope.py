"""Requests in the words of ASGI (https://asgi.readthedocs.io/en/stable/specs/www.html)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from micro.web.server.connection import Connection
    from micro.web.server.head import Head


def scope_of(connection: Connection, head: Head) -> dict[str, Any]:
    """The ASGI scope of a request."""
    port = connection.port
    root, path = port.config.root_path, head.path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": connection.server,
        "client": connection.peer,
        "scheme": connection.scheme,
        "root_path": root,
        "headers": head.fields.headers.copy(),
        "state": port.app_state.copy(),
        "method": head.method,
        "path": root + (unquote(path) if "%" in path else path),
        "raw_path": root.encode("ascii") + head.path,
        "query_string": head.query,
    }
