"""A small ASGI client: requests to an app in this process, bodies in pieces both ways."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from micro.service import ASGIApp

Message = dict[str, Any]
CUT = b"\x00cut"
"""As a piece of a request body: the client goes away here."""

_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response. Header names are in lower case; a repeated field's values are joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    raw_headers: Sequence[tuple[bytes, bytes]] = field(repr=False, default=())

    def json(self) -> Any:
        """The body, decoded. Raises `ValueError`."""
        return msgspec.json.decode(self.body)


class StreamedAnswer:
    """A response whose body is still coming."""

    def __init__(self, start: Message, messages: asyncio.Queue[Message | None]) -> None:
        self.status: int = start["status"]
        self.raw_headers: Sequence[tuple[bytes, bytes]] = tuple(start.get("headers", ()))
        self._messages = messages

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of the body as the app sends them. `ConnectionError` when it stops before the end."""
        async with asyncio.timeout(_TIMEOUT):
            while True:
                message = await self._messages.get()
                if message is None:
                    raise ConnectionError("the app returned before the end of its response")
                if message.get("body"):
                    yield message["body"]
                if not message.get("more_body", False):
                    return


class AsgiClient:
    """Sends requests to `app` as a server would. `headers` go with every request; ``Host`` is localhost unless given.

    `extensions` are members added to every scope. An exception of the app is raised from the call that met it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        self._app = app
        self._headers = {"host": "localhost", **_lower(headers)}
        self._extensions = dict(extensions or {})

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: bytes | Sequence[bytes] | None = None,
    ) -> Answer:
        """The whole response to one request. `target` is path and query as they stand in a request line.

        `json` is encoded and its content type set; `body` is sent as it is, in one piece or several, of which `CUT` ends
        the connection. Raises `ConnectionError` when the app gives no whole response, `TimeoutError` after 60 s.
        """
        async with self.stream(method, target, headers=headers, json=json, body=body) as streamed:
            chunks = [chunk async for chunk in streamed.chunks()]
        fields: dict[str, str] = {}
        for raw_name, raw_value in streamed.raw_headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return Answer(streamed.status, fields, b"".join(chunks), streamed.raw_headers)

    async def get(self, target: str, **options: Any) -> Answer:
        """See `request`."""
        return await self.request("GET", target, **options)

    async def post(self, target: str, **options: Any) -> Answer:
        """See `request`."""
        return await self.request("POST", target, **options)

    async def put(self, target: str, **options: Any) -> Answer:
        """See `request`."""
        return await self.request("PUT", target, **options)

    async def delete(self, target: str, **options: Any) -> Answer:
        """See `request`."""
        return await self.request("DELETE", target, **options)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: bytes | Sequence[bytes] | None = None,
    ) -> AsyncIterator[StreamedAnswer]:
        """The response as soon as its head is there; leaving the block disconnects. Else as `request`."""
        fields = {**self._headers, **_lower(headers)}
        if json is not None:
            body = msgspec.json.encode(json)
            fields.setdefault("content-type", "application/json")
        pieces = [body] if isinstance(body, bytes) else list(body or [b""])
        if json is not None or body:
            fields.setdefault("content-length", str(sum(len(piece) for piece in pieces if piece != CUT)))
        exchange = _Exchange(pieces)
        scope = self._scope(method, target, fields)
        running = asyncio.create_task(exchange.run(self._app, scope))
        try:
            async with asyncio.timeout(_TIMEOUT):
                start = await exchange.messages.get()
            if start is None:
                await running
                raise ConnectionError("the app returned without a response")
            yield StreamedAnswer(start, exchange.messages)
            exchange.gone.set()
            async with asyncio.timeout(_TIMEOUT):
                await running
        finally:
            exchange.gone.set()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _scope(self, method: str, target: str, fields: Mapping[str, str]) -> Message:
        raw_path, _, query = target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw_path),
            "raw_path": raw_path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
            "state": {},
            **self._extensions,
        }


class _Exchange:
    def __init__(self, pieces: list[bytes]) -> None:
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self.gone = asyncio.Event()
        self._pieces = pieces

    async def run(self, app: ASGIApp, scope: Message) -> None:
        try:
            await app(scope, self.receive, self.send)
        finally:
            self.messages.put_nowait(None)

    async def receive(self) -> Message:
        if not self._pieces:
            await self.gone.wait()
        if not self._pieces or self._pieces[0] == CUT:
            return {"type": "http.disconnect"}
        piece = self._pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}

    async def send(self, message: Message) -> None:
        if self.gone.is_set():
            raise OSError("the client has gone")
        self.messages.put_nowait(message)


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}
