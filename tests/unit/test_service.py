"""What an author declares, and what a service is given to work with."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from micro.bus.message import Event
from micro.errors import ConfigurationError
from micro.service import Call, Reply, Resources, Retry, Service
from micro.testing import FakeClock


class Pinged(Event, topic="ping.events"):
    """An event for these tests."""


class RecordingStore:
    """A store that remembers what it was asked."""

    def __init__(self):
        self.asked = []

    @asynccontextmanager
    async def transaction(self, *, timeout=30.0, exclusive=False):
        self.asked.append(("begin", timeout))
        yield self
        self.asked.append(("commit",))

    async def execute(self, sql, *parameters):
        self.asked.append((sql, *parameters))
        return 1

    async def query(self, sql, *parameters):
        self.asked.append((sql, *parameters))
        return []


class RecordingOutbox:
    """An outbox that counts."""

    def __init__(self):
        self.added, self.woken = [], 0

    def add(self, tx, event, key):
        self.added.append((event, key))
        return "event-id"

    def wake(self):
        self.woken += 1


class RecordingCaller:
    """A caller that answers 200."""

    def __init__(self):
        self.calls: list[Call] = []

    async def call(self, call):
        self.calls.append(call)
        return Reply(200, {"content-type": "application/json"}, b'{"ok": true}')


def resources(**changes):
    """Resources on recorders."""
    parts = {
        "name": "shop", "clock": FakeClock(), "cache": None, "env": {}, "verifier": None,
        "caller": RecordingCaller(), "store": RecordingStore(), "outbox": RecordingOutbox(),
    }  # fmt: skip
    return Resources(**parts | changes)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_an_answer_that_is_no_json_that_can_be_read_is_a_value_error(body):
    with pytest.raises(ValueError, match=r"."):
        Reply(200, {}, body).json()


def test_declaring_a_service_does_nothing_else():
    """No import of the app, no file, no connection: only a record."""
    service = Service("shop", app="does.not:exist", routes=["/orders"], migrations="nowhere")
    assert (service.app, service.routes, service.handlers, service.backgrounds) == (
        "does.not:exist",
        ("/orders",),
        [],
        [],
    )


def test_a_handler_is_registered_and_stays_callable():
    """The decorator gives the function back."""
    service = Service("shop")

    @service.on("Pinged", topic="ping.events", replay=False, retry=Retry(attempts=2))
    async def handle(event, tx): ...

    [known] = service.handlers
    assert (known.type, known.topic, known.handle, known.replay, known.retry.attempts) == (
        "Pinged", "ping.events", handle, False, 2,
    )  # fmt: skip


def test_two_handlers_for_one_event_are_refused():
    """An event is applied once per subscriber, so it has one handler."""
    service = Service("shop")
    service.on("Pinged", topic="ping.events")(lambda event, tx: None)
    with pytest.raises(ConfigurationError, match="two handlers for Pinged"):
        service.on("Pinged", topic="ping.events")(lambda event, tx: None)


def test_a_background_worker_is_registered():
    """In order, and still callable."""
    service = Service("shop")

    @service.background
    async def work(micro): ...

    assert service.backgrounds == [work]


async def test_the_relay_is_woken_once_the_transaction_with_events_has_committed():
    """Not before, or it would look at nothing."""
    micro = resources()
    async with micro.transaction(timeout=3) as tx:
        assert await tx.execute("insert", 1) == 1
        assert tx.emit(Pinged(), key="a") == "event-id"
        assert micro.outbox.woken == 0
    assert micro.outbox.woken == 1
    assert micro.store.asked == [("begin", 3), ("insert", 1), ("commit",)]


async def test_a_transaction_without_events_wakes_nobody():
    """Most writes emit nothing."""
    micro = resources()
    async with micro.transaction() as tx:
        await tx.query("select 1")
    assert micro.outbox.woken == 0


async def test_an_exception_leaves_the_relay_asleep():
    """Rolled back is never published."""
    micro = resources()
    with pytest.raises(ZeroDivisionError):
        async with micro.transaction() as tx:
            tx.emit(Pinged(), key="a")
            raise ZeroDivisionError
    assert micro.outbox.woken == 0


@pytest.mark.parametrize("use", [lambda m: m.query("select 1"), lambda m: m.transaction().__aenter__()])
async def test_an_app_without_a_service_has_no_database(use):
    """And is told how to get one."""
    with pytest.raises(ConfigurationError, match="declare a Service"):
        await use(resources(store=None, outbox=None))


async def test_a_call_carries_its_sender_json_and_headers():
    """Header names are lower case bytes, as ASGI wants them."""
    micro = resources()
    reply = await micro.call("user", "POST", "/users", json={"a": 1}, headers={"If-Match": '"1"'})
    [call] = micro.caller.calls
    assert (call.source, call.target, call.method, call.path, call.body) == (
        "shop",
        "user",
        "POST",
        "/users",
        b'{"a":1}',
    )
    assert call.headers == ((b"if-match", b'"1"'), (b"content-type", b"application/json"))
    assert reply.json() == {"ok": True}


async def test_a_call_inside_a_transaction_is_refused():
    """It would hold the database open for as long as the other side takes."""
    micro = resources()
    async with micro.transaction():
        with pytest.raises(RuntimeError, match="call first, then write"):
            await micro.call("user", "GET", "/users/1")
    assert (await micro.call("user", "GET", "/users/1")).status == 200


async def test_reads_outside_a_transaction_go_to_the_store():
    """With their parameters."""
    micro = resources()
    await micro.query("select ?", 7)
    assert micro.store.asked == [("select ?", 7)]
