"""Connections to a gateway in front of an upstream with a short path, which the test plays; no network."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from micro.gateway.protocol import GatewayProtocol
from micro.gateway.upstream.ports import UpstreamError
from micro.spec.gateway import Route
from micro.web.server.limits import Limits
from micro.web.server.port import Port
from micro.web.server.room import Room

PLAIN = (b"content-type", b"text/plain")


class Leg:
    """What the gateway does with one exchange, in order."""

    def __init__(self, exchange, downstream, *, body):
        self.exchange = exchange
        self.downstream = downstream
        self.body = body
        self.done = []

    def feed(self, data):
        self.done.append(data)

    def end(self):
        self.done.append("end")

    def cancel(self):
        self.done.append("cancel")

    def close(self):
        self.done.append("close")

    def pause(self):
        self.done.append("pause")

    def resume(self):
        self.done.append("resume")

    def head(self, status=200, *fields, length=None):
        if length is not None:
            fields = (*fields, (b"content-length", b"%d" % length))
        self.downstream.head(status, [PLAIN, *fields], length)

    def answer(self, body=b"hello"):
        """A whole answer at once."""
        self.head(length=len(body))
        self.downstream.feed(body)
        self.downstream.end()

    def fail(self, kind="connection_terminated"):
        self.downstream.fail(UpstreamError(kind, "secret.internal:9000 is gone"))


class FakeDirect:
    """An upstream with a short path, played by the test."""

    def __init__(self):
        self.legs = []
        self.at_once = None
        """What a leg does before `start` returns."""

    def start(self, exchange, downstream, *, body):
        leg = Leg(exchange, downstream, body=body)
        self.legs.append(leg)
        downstream.leg = leg
        if self.at_once is not None:
            self.at_once(leg)

    async def serve(self, exchange, receive, send):
        raise NotImplementedError


class State:
    def __init__(self):
        self.connections = set()
        self.tasks = set()
        self.default_headers = [(b"date", b"today")]


class Config:
    root_path = ""
    ws_protocol_class = None

    def __init__(self, app):
        self.loaded_app = app


class Transport:
    """Keeps what was written and how it ended."""

    def __init__(self):
        self.writes = []
        self.state = "open"
        self.reading = True

    @property
    def written(self):
        return b"".join(self.writes)

    def get_extra_info(self, name, default=None):
        return {"peername": ("203.0.113.7", 50123), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def write(self, data):
        assert self.state == "open"
        self.writes.append(bytes(data))

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.state = "half closed"

    def close(self):
        self.state = "closed"

    def abort(self):
        self.state = "aborted"

    def is_closing(self):
        return self.state in {"closed", "aborted"}

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def set_protocol(self, protocol):
        self.protocol = protocol


class Client:
    """A connection to a gateway whose upstream is played."""

    def __init__(self, bench, upstream, config, port):
        self.bench = bench
        self.upstream = upstream
        self.port = port
        self.transport = Transport()
        self.protocol = port(config=config, server_state=port.state if port.config else State(), app_state={})
        self.protocol.connection_made(self.transport)

    @property
    def leg(self):
        return self.upstream.legs[-1]

    @property
    def log(self):
        return self.bench.log

    @property
    def written(self):
        return self.transport.written

    def send(self, data):
        self.protocol.data_received(data)
        return self.leg if self.upstream.legs else None

    async def turn(self):
        """Let the event loop do what is due."""
        for _ in range(8):
            passed = asyncio.Event()
            asyncio.get_running_loop().call_soon(passed.set)
            await passed.wait()

    async def wait(self, seconds=16.0):
        """Time passes: more than a route's, unless said otherwise."""
        await self.bench.clock.advance(seconds)
        await self.turn()

    async def next(self):
        """What was written since the last time, once nothing is left to do."""
        await self.turn()
        written, self.transport.writes = self.written, []
        return written

    @staticmethod
    def problem(data, status):
        """The problem that is the whole answer; its head."""
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        assert b"content-length: %d\r\n" % len(body) in head
        found = msgspec.json.decode(body)
        assert found["status"] == status
        assert b"x-request-id: " + found["request_id"].encode() in head
        assert b"secret" not in data
        return head


@pytest.fixture
async def gate(bench):
    """`gate(**spec)` is a client of a gateway in front of a played upstream."""
    clients = []

    def make(*, routes=None, others=None, **spec):
        upstream = FakeDirect()
        bench.serve(
            routes=routes or [Route(path="/", service="far")],
            upstreams={"far": upstream, **(others or {})},
            **spec,
        )
        port = Port(
            Limits(),
            clock=bench.clock,
            room=Room(9),
            make=lambda port: GatewayProtocol(port, bench.gateway),
            refusal_fields=bench.gateway.unread,
        )
        clients.append(Client(bench, upstream, Config(bench.gateway), port))
        return clients[-1]

    yield make
    for client in clients:
        for task in tuple(client.port.state.tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def client(gate):
    return gate()
