"""A real gateway on a real socket, in an event loop of a thread of its own, between a scripted client and origin."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import uvloop
from rig.client import Client
from rig.end import LIMIT
from rig.origin import Origin
from rig.written import get

from micro.cache.memory import MemoryCache
from micro.clock import SystemClock
from micro.errors import TokenError
from micro.gateway.app import Gateway
from micro.gateway.deadlines import Wheel
from micro.runtime.server import Servers
from micro.runtime.sockets import bind
from micro.service import Identity
from micro.spec.gateway import GatewaySpec, Route
from micro.spec.upstream import RetrySpec, UpstreamSpec
from micro.telemetry.metrics import Metrics
from micro.testing import FakeClock

TURNS = 50
"""Turns of the loop within which everything that has come on a socket is dealt with."""


ONCE = UpstreamSpec(retry=RetrySpec(attempts=1))
"""How instances are treated unless a test says otherwise: what fails once has failed."""


class Loop:
    """The thread in which gateways run."""

    def __init__(self):
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway")
        self._thread.start()
        self.failures = []

    def run(self, work):
        """What the coroutine `work` returns, run over there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    def call(self, function, *args):
        """What a function returns, called over there."""
        return self.run(_called(function, args))

    def settle(self):
        """Let everything happen that has come on a socket."""
        self.run(_turns())

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()


async def _called(function, args):
    return function(*args)


async def _turns():
    for _ in range(TURNS):
        await asyncio.sleep(0)  # noqa: TID251 # no time passes: what is ready takes its turn


class Log(list):
    """Keeps access records as `AccessLog` is given them."""

    def write(self, record):
        self.append(record)

    async def close(self):
        """Nothing is written."""


class Tokens:
    """A verifier that knows the tokens `good` and `weak`, the latter without any scope."""

    def __init__(self):
        self.known = {
            name: Identity(subject="ann", role="user", issuer="micro:user", expires=1e12)
            for name in ("good", "weak")
        }

    def cached(self, token):
        return self.known.get(token)

    async def verify(self, token):
        raise TokenError("The token has expired.")


class World:
    """What one test works with. Made by the fixture `world`, once for every combination that can do what it needs."""

    def __init__(self, loop, combination):
        self._loop = loop
        self.combination = combination
        self.clock = FakeClock()
        self.origin = Origin()
        self.log = Log()
        self.metrics = Metrics()
        self.states = {"app": "healthy"}
        self.tokens = Tokens()
        self.own_faults = 0
        """How many answers with status 500 the test expects."""
        self.gateway = None
        self.address = None
        self.upstreams = {}
        self._servers = None

    @property
    def is_network(self):
        return self.combination.place == "network"

    @property
    def cluster(self):
        """The instances, where there are some."""
        return self.upstreams["app"].cluster

    def serve(self, *routes, app=None, upstream=ONCE, urls=None, **spec):
        """Put a gateway with these settings before the origin, or before `app`, an ASGI app, or other `urls`."""
        self.app, self.instances, self.urls = app, upstream, urls or [self.origin.url]
        if not routes:
            routes = (Route(path="/", service="app"),)
        spec.setdefault("rate_limit", None)
        spec.setdefault("adapter", self.combination.adapter)
        self._loop.run(self._serve(GatewaySpec(routes=routes, **spec)))
        return self

    async def _serve(self, spec):
        self.wheel = Wheel(self.clock)
        self.upstreams = {"app": self.combination.upstream(self)}
        self.gateway = Gateway(
            spec,
            upstreams=self.upstreams,
            verifier=self.tokens,
            window=MemoryCache("memory:", clock=self.clock),
            clock=self.clock,
            access_log=self.log,
            health=lambda: self.states,
            documents=_no_documents,
            metrics=self.metrics,
            **({"wheel": self.wheel} if "wheel" in Gateway.__dataclass_fields__ else {}),
        )
        sock = bind("gateway", "127.0.0.1", 0)
        self.address = sock.getsockname()
        self._servers = Servers(clock=self.clock, spec=spec)
        self._servers.add(self.gateway, sock, gateway=self.gateway)
        await self._servers.start()
        self._running = asyncio.create_task(self._servers.run())

    def connect(self, **options):
        """A client's connection."""
        if self.gateway is None:
            self.serve()
        self.origin.clients.append(Client(self.address, **options))
        return self.origin.clients[-1]

    def ask(self, data, *, method=b"GET"):
        """Send a request to be answered by the origin: the client, and what the origin got."""
        client = self.connect()
        client.send(data)
        return client, self.origin.request()

    def ask_then_send(self, data, body):
        """Send the head of a request that waits for 100, then its body: the client, and what the origin got."""
        client, got = self.ask(data)
        if b"expect" in got:
            got.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.head().status == 100
        client.send(body)
        assert got.body() == body
        return client, got

    def again(self, client, line=None, *, fields=()):
        """Whether the next exchange on `client` goes well, and, given `line`, takes that connection to the origin."""
        client.send(get(b"/again", *fields))
        got = self.origin.request()
        assert got.target == b"/again"
        got.answer(body=b"again")
        answer = client.answer()
        reused = line is None or not self.is_network or got.line is line
        return answer.status == 200 and answer.body == b"again" and reused

    def is_silent(self):
        """Whether nothing has reached the origin that the test has not taken."""
        self.settle()
        return self.origin.silent()

    def got_nothing_whole(self):
        """Whether at most one request has reached the origin, and broke off there."""
        self.settle()
        return self.origin.silent() or (self.origin.request().breaks_off() and self.is_silent())

    def held(self):
        """How many bytes the gateway holds for its clients and instances, besides what the kernel does."""
        return self._loop.call(self._held)

    def waiting(self):
        """How many bytes the gateway has read of its clients and not looked at."""
        return self._loop.call(lambda: sum(len(each.kept) for each in self._clients()))

    def _clients(self):
        return [one for server, _ in self._servers._servers for one in server.server_state.connections]

    def _held(self):
        ends = self._clients()
        if self.is_network:
            ends += [one for each in self.cluster.instances if each.pool for one in each.pool.connections]
        return sum(end.transport.get_write_buffer_size() for end in ends)

    def settle(self):
        """Let everything happen that has come on a socket."""
        self._loop.settle()

    def advance(self, seconds):
        """Let time pass."""
        self._loop.run(self.clock.advance(seconds))

    def call_async(self, function, *args):
        """What a coroutine function returns, called where the gateway runs."""
        return self._loop.run(function(*args))

    def until(self, condition):
        """Return once `condition()` holds; everything that happens in the meantime is the gateway's own doing."""
        clock = SystemClock()
        end = clock.monotonic() + LIMIT
        while not condition():
            assert clock.monotonic() < end, "it did not happen"
            self.settle()

    def stop(self):
        """Begin to stop, as a stack does: what is in hand may be finished."""
        self._stopping = self._loop.call(lambda: asyncio.ensure_future(self._servers.drain(LIMIT)))

    def close(self):
        try:
            for client in self.origin.clients:
                client.close()
            self.origin.close()
            if self.gateway is not None:
                self.settle()
                self._loop.run(self._end())
            assert not self._loop.failures, list(self._loop.failures)
            faults = [record for record in self.log if record.status == 500]
            assert len(faults) == self.own_faults, faults
        finally:
            self._loop.failures.clear()

    async def _end(self):
        await self._servers.abort()
        for upstream in self.upstreams.values():
            if hasattr(upstream, "close"):
                await upstream.close()
        await self.gateway.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*left, return_exceptions=True)


async def _no_documents():
    return {}
