"""Connections of the server without a network: what a client sends is given to them, what they write is kept."""

from __future__ import annotations

import asyncio

import pytest

from micro.testing import FakeClock
from micro.web.server.limits import Limits
from micro.web.server.port import Port
from micro.web.server.protocol import HttpProtocol
from micro.web.server.room import Room

DATE = (b"date", b"Thu, 01 Jan 2026 00:00:00 GMT")
DEADLINE = 60.0


class Config:
    """As much of uvicorn's as a protocol class reads."""

    def __init__(self, app):
        self.loaded_app = app
        self.root_path = ""
        self.ws_protocol_class = None


class State:
    """As much of uvicorn's server state."""

    def __init__(self):
        self.connections = set()
        self.tasks = set()
        self.default_headers = [DATE]


class FakeSocket:
    def __init__(self):
        self.options = []

    def setsockopt(self, *option):
        self.options.append(option)


class Transport:
    """Keeps what was written, and what was done, in order; `written` are the bytes alone."""

    def __init__(self, *, tls=False):
        self.writes = []
        self.state = "open"
        self.reading = True
        self.buffered = 0
        self.tls = tls
        self.socket = FakeSocket()
        self.protocol = None

    @property
    def written(self):
        return b"".join(self.writes)

    def get_extra_info(self, name, default=None):
        known = {"peername": ("192.0.2.1", 5000), "sockname": ("192.0.2.9", 80), "socket": self.socket}
        if self.tls:
            known["sslcontext"] = object()
        return known.get(name, default)

    def write(self, data):
        assert self.state == "open", f"written after it was {self.state}"
        self.writes.append(bytes(data))

    def can_write_eof(self):
        return not self.tls

    def write_eof(self):
        self.state = "half closed"

    def close(self):
        self.state = "closed"

    def abort(self):
        self.state = "aborted"

    def is_closing(self):
        return self.state in {"closed", "aborted"}

    def get_write_buffer_size(self):
        return self.buffered

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def set_protocol(self, protocol):
        self.protocol = protocol


class Client:
    """One connection from the client's side."""

    def __init__(self, port, config, state, *, tls=False):
        self.transport = Transport(tls=tls)
        self.port = port
        self.protocol = port(config=config, server_state=state, app_state={"shared": 1})
        self.protocol.connection_made(self.transport)

    def send(self, data):
        self.protocol.data_received(data)

    async def turn(self):
        """Let the event loop do what is due."""
        for _ in range(6):
            passed = asyncio.Event()
            asyncio.get_running_loop().call_soon(passed.set)
            await passed.wait()

    async def ask(self, data):
        """What the connection writes by the time that nothing is left to do."""
        before = len(self.transport.written)
        self.send(data)
        await self.turn()
        return self.transport.written[before:]

    def leave(self):
        """The connection is lost."""
        self.transport.state = "closed"
        self.protocol.connection_lost(None)

    def seconds(self, count):
        for _ in range(count):
            self.port.look()


class Server:
    """A port with an app behind it."""

    def __init__(self, app, *, most=100, make=HttpProtocol, **limits):
        self.config = Config(app)
        self.state = State()
        self.room = Room(most)
        self.port = Port(Limits(**limits), clock=FakeClock(), room=self.room, make=make)

    def connect(self, *, tls=False):
        return Client(self.port, self.config, self.state, tls=tls)

    async def close(self):
        for task in tuple(self.state.tasks):
            task.cancel()
        await asyncio.gather(*self.state.tasks, return_exceptions=True)


@pytest.fixture
async def serve():
    """`serve(app, …)` is a server of that app."""
    servers = []

    def make(app, **options):
        servers.append(Server(app, **options))
        return servers[-1]

    yield make
    for server in servers:
        await server.close()


class Script:
    """An app that notes its requests and does what the test says: it waits where it is told to."""

    def __init__(self):
        self.scopes = []
        self.bodies = []
        self.messages = []
        self.errors = []
        self.answer = [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]},
            {"type": "http.response.body", "body": b"hello"},
        ]
        self.reads = True
        self.until = None
        """An event to wait for in front of the last message."""

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        body, more = b"", self.reads
        while more:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        for number, message in enumerate(self.answer):
            if self.until is not None and number == len(self.answer) - 1:
                await self.until.wait()
            await send(message)


@pytest.fixture
def script():
    return Script()


@pytest.fixture
async def client(serve, script):
    return serve(script).connect()
