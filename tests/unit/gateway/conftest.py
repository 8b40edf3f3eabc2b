"""An ASGI client in this process, and a gateway in front of apps that the tests write."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from micro.cache.memory import MemoryCache
from micro.errors import TokenError
from micro.gateway.app import Gateway
from micro.gateway.upstream.local import LocalUpstream
from micro.service import Identity
from micro.spec.gateway import GatewaySpec, Route
from micro.telemetry.metrics import Metrics
from micro.testing import FakeClock
from micro.web.server.turn import BrokenOff

PEER = ("203.0.113.7", 50123)
DEADLINE = 60.0
"""Seconds after which a test that waits has failed."""


@dataclass
class Answer:
    """What a client has received."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    broken: bool = False
    """Whether the gateway made the server break the connection off."""

    def all(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.headers if key == name.encode()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Wire:
    """One connection of a client to an ASGI app, with what was sent on it so far."""

    def __init__(self, app, scope, body=()):
        self.answer = Answer()
        self.messages: list[dict[str, Any]] = []
        self.asked = 0
        """How often the app asked for a message."""
        self._body = list(body)
        self._more = asyncio.Event()
        self._gone = False
        self._news = asyncio.Event()
        self.failing = False
        """Whether sending fails, as ASGI 2.4 wants it when the client is gone."""
        self.taking = asyncio.Event()
        self.taking.set()
        self.task = asyncio.create_task(app(scope, self.receive, self.send))

    def push(self, chunk: bytes, *, last: bool) -> None:
        """Send a part of the body."""
        self._body.append((chunk, not last))
        self._more.set()

    def leave(self) -> None:
        """Close the connection."""
        self._gone = True
        self._more.set()

    async def receive(self):
        self.asked += 1
        self._news.set()
        while not self._body and not self._gone:
            self._more.clear()
            await self._more.wait()
        if self._gone:
            return {"type": "http.disconnect"}
        chunk, more = self._body.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": more}

    async def send(self, message) -> None:
        if self.failing:
            raise OSError("the client is gone")
        await self.taking.wait()
        self.messages.append(dict(message))
        answer = self.answer
        if message["type"] == "http.response.start":
            assert not answer.status, "two heads"
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            assert message["type"] == "http.response.body", message
            assert answer.status, "a body before the head"
            assert not answer.complete, "a body after the end"
            answer.body += message.get("body", b"")
            answer.complete = not message.get("more_body", False)
        self._news.set()

    async def until(self, condition) -> None:
        """Return once `condition()` holds; it is asked again whenever something happened."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                waiting = asyncio.create_task(self._news.wait())
                await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self.task.done() and not condition():
                    raise AssertionError("the app is done, and it has not happened")

    async def end(self) -> Answer:
        """The whole answer, once the app is done."""
        async with asyncio.timeout(DEADLINE):
            try:
                await self.task
            except BrokenOff:
                self.answer.broken = True
        return self.answer


def scope_of(method: str, target: str | bytes, headers=None, **changes) -> dict[str, Any]:
    raw = target.encode("latin-1") if isinstance(target, str) else target
    path, _, query = raw.partition(b"?")
    pairs = [(b"host", b"localhost")] if headers is None or not _has_host(headers) else []
    for name, value in headers or ():
        pairs.append((_bytes(name).lower(), _bytes(value)))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [pair for pair in pairs if pair[1] != b"(none)"],
        "client": PEER,
        "server": ("127.0.0.1", 8000),
        "state": {},
    } | changes


def _has_host(headers) -> bool:
    return any(_bytes(name).lower() == b"host" for name, _ in headers)


def _bytes(text) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


class Log(list):
    """Keeps access records as `AccessLog` is given them."""

    def write(self, record) -> None:
        self.append(record)


class Tokens:
    """A verifier that knows the token `good` and meets every other one for the first time."""

    def __init__(self):
        self.verified: list[str] = []
        self.known = {"good": Identity(subject="ann", role="user", issuer="micro:user", expires=1e12)}
        self.failure: Exception = TokenError("The token has expired.")

    def cached(self, token):
        return self.known.get(token)

    async def verify(self, token):
        self.verified.append(token)
        if token == "fresh":
            return replace(self.known["good"], subject="bob")
        raise self.failure


class Bench:
    """A gateway with everything that it is given, and a client for it."""

    def __init__(self, clock):
        self.clock = clock
        self.log = Log()
        self.tokens = Tokens()
        self.window = MemoryCache("memory:", clock=clock)
        self.metrics = Metrics()
        self.states = {"app": "healthy"}
        self.documents: dict[str, dict[str, Any]] = {}
        self.wires: list[Wire] = []
        self.gateway: Gateway = None
        self.source = ""
        self.signer = None

    def serve(self, app=None, *, routes=None, upstreams=None, **spec) -> Bench:
        """Put `app` behind `/`, or any routes in front of any upstreams."""
        upstreams = {"app": LocalUpstream(app)} if upstreams is None else upstreams
        routes = (Route(path="/", service="app"),) if routes is None else tuple(routes)
        spec.setdefault("rate_limit", None)
        self.gateway = Gateway(
            GatewaySpec(routes=routes, **spec),
            upstreams=upstreams,
            verifier=self.tokens,
            window=self.window,
            clock=self.clock,
            access_log=self.log,
            health=lambda: self.states,
            documents=self._documents,
            metrics=self.metrics,
            source=self.source,
            signer=self.signer,
        )
        return self

    async def _documents(self):
        return self.documents

    def open(self, method, target="/", *, headers=None, body=b"", chunks=None, **changes) -> Wire:
        """Begin a request. `chunks` come one by one and say when they end; `body` comes at once, announced."""
        headers = list(headers or ())
        if chunks is None:
            pieces = [(body, False)]
            if body and not any(name == "content-length" for name, _ in headers):
                headers.append(("content-length", str(len(body))))
        else:
            pieces = [(chunk, True) for chunk in chunks]
        wire = Wire(self.gateway, scope_of(method, target, headers, **changes), pieces)
        self.wires.append(wire)
        return wire

    async def ask(self, method, target="/", **request) -> Answer:
        """One request and its whole answer."""
        return await self.open(method, target, **request).end()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def bench(clock):
    bench = Bench(clock)
    yield bench
    for wire in bench.wires:
        wire.task.cancel()
        await asyncio.gather(wire.task, return_exceptions=True)
    if bench.gateway is not None:
        await bench.gateway.close()


class Echo:
    """An app that remembers what it was given and answers 200."""

    def __init__(self, headers=(), body=b"hello", status=200):
        self.scopes: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers = [(_bytes(name), _bytes(value)) for name, value in headers]
        self.body = body
        self.status = status

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        body, more = b"", scope["type"] == "http"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})

    def sent(self, name: str) -> list[str]:
        """The values of a field that the last request brought."""
        return [value.decode("latin-1") for key, value in self.scopes[-1]["headers"] if key == name.encode()]


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def make_echo():
    return Echo
