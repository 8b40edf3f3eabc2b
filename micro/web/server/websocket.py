"""WebSocket handshakes, handed to the class that uvicorn was given for them (its `ws=` setting)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro.web.server.head import Head
    from micro.web.server.protocol import HttpProtocol


def hand_over(connection: HttpProtocol, head: Head, *, app: Any = None) -> bool:
    """Give the connection away, for `app` to be called instead of the port's; false where nobody takes it.

    The other class is given the handshake anew, with the header as it was read here.
    """
    port = connection.port
    taker = port.config.ws_protocol_class
    if taker is None or head.method != "GET" or head.fields.length:
        return False
    config = port.config
    if app is not None:
        config = copy.copy(config)
        config.loaded_app = app
    target = head.path + b"?" + head.query if head.query else head.path
    lines = [b"GET %b HTTP/1.1" % target, *map(b": ".join, head.fields.headers), b"\r\n"]
    protocol = taker(config=config, server_state=port.state, app_state=port.app_state)
    connection.leave()
    protocol.connection_made(connection.transport)
    protocol.data_received(b"\r\n".join(lines) + connection.kept)
    connection.transport.set_protocol(protocol)
    return True
