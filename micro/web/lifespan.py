"""What an application without start-up work says to the other two kinds of ASGI connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


async def answer_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Complete a lifespan; refuse anything else (a WebSocket handshake gets 403)."""
    if scope["type"] != "lifespan":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
