"""An ASGI application without any framework."""

from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request with three chunks of text, streamed."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for word in (b"tick ", b"tock ", b"tick\n"):
        await send({"type": "http.response.body", "body": word, "more_body": True})
    await send({"type": "http.response.body"})
