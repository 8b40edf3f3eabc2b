"""JSON answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Receive, Scope, Send

encode = msgspec.json.Encoder(order=None).encode
_CONTENT_TYPE = (b"content-type", b"application/json")


class JsonResponse(Response):
    """`content` (a struct, or anything that msgspec encodes) as JSON.

        return JsonResponse(view, headers={"ETag": etag_of(task.version)})

    A plain `Response`, made faster: header names are written as given, and nothing is guessed.
    """

    media_type = "application/json"

    def __init__(self, content: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        self.background = None
        self.body = encode(content)
        self.raw_headers = [_CONTENT_TYPE, (b"content-length", str(len(self.body)).encode())]
        if headers:
            self.raw_headers += [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
            ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


class WithoutBody:
    """Sends a response's head only, as HEAD wants it."""

    __slots__ = ("_send",)

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message on, emptied where it is a part of the body."""
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)
