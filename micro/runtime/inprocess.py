"""Asks an ASGI app of this process one question, as its server would: for probes, keys, documents and `micro call`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from micro.errors import CallError
from micro.service import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.service import ASGIApp

_LONGEST_ANSWER = 10 << 20
"""Bytes of a body."""


async def ask(
    app: ASGIApp,
    method: str,
    target: str,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    timeout: float = 2.0,
) -> Reply:
    """The whole answer to one request from loopback. Fields that come twice are joined by a comma.

    Raises `CallError` when there is none within `timeout` seconds or it is larger than 10 MiB, and what the app raises.
    """
    exchange = _Exchange(body)
    try:
        async with asyncio.timeout(timeout):
            await app(_scope(method, target, headers, body), exchange.receive, exchange.send)
    except TimeoutError as error:
        raise CallError(f"{method} {target}: no answer within {timeout:g} s") from error
    if exchange.status is None:
        raise CallError(f"{method} {target}: no answer")
    return Reply(exchange.status, exchange.headers, bytes(exchange.body))


class _Exchange:
    """The client's side of one request: stays until the answer is whole."""

    def __init__(self, body: bytes) -> None:
        self._request = body
        self._asked = False
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    async def receive(self) -> dict[str, Any]:
        if self._asked:
            await asyncio.get_running_loop().create_future()
        self._asked = True
        return {"type": "http.request", "body": self._request, "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for raw, value in message.get("headers", ()):
                name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
                self.headers[name] = f"{self.headers[name]}, {text}" if name in self.headers else text
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            if len(self.body) > _LONGEST_ANSWER:
                raise CallError("the answer is larger than 10 MiB")


def _scope(method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> dict[str, Any]:
    from urllib.parse import unquote  # noqa: PLC0415 - loaded when first used

    path, _, query = target.partition("?")
    given = {name for name, _ in headers}
    fields = [*headers]
    if b"host" not in given:
        fields.insert(0, (b"host", b"localhost"))
    if body and b"content-length" not in given:
        fields.append((b"content-length", str(len(body)).encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": fields,
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {},
    }
