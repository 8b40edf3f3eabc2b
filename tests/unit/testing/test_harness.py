"""The harness for one service."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import Struct
from starlette.requests import Request  # noqa: TC002 # handlers' annotations are read at run time

from micro import Event, Service
from micro.errors import CallError, ConfigurationError, TokenError
from micro.store.sqlite import SqliteStore
from micro.testing import FakeCaller, FakeClock, FakeVerifier, ServiceHarness
from micro.web.api import Api


class OrderPlaced(Event, topic="order.events"):
    """An event for these tests."""

    order_id: str


class Order(Struct):
    """A body for these tests."""

    order_id: str


async def place(request: Request, body: Order) -> Order:
    async with request.state.micro.transaction() as tx:
        await tx.execute(
            "insert into orders (id, owner) values (?, ?)", body.order_id, request.state.identity.subject
        )
        tx.emit(OrderPlaced(order_id=body.order_id), key=body.order_id)
    return body


def shop() -> Service:
    api = Api("shop", version="1")
    api.post("/orders", status=201)(place)
    service = Service("shop", app=api.app, publishes=[OrderPlaced])

    @service.on("UserCreatedEvent", topic="user.events")
    async def note(event, tx):
        await tx.execute("insert into orders (id, owner) values (?, ?)", event.id, event.data["user_id"])
        tx.emit(OrderPlaced(order_id=event.id), key=event.id)

    return service


@pytest.fixture
def migrations(tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_orders.sql").write_text(
        "create table orders (id text primary key, owner text not null) strict;"
    )
    return folder


@pytest.fixture
async def harness(tmp_path, migrations):
    async with ServiceHarness(shop(), tmp_path, migrations=migrations) as made:
        yield made


async def test_a_request_reaches_the_app_and_the_database(harness):
    """Through the wrapper, with a token, on migrated tables."""
    answer = await harness.as_user("ana").post("/orders", json={"order_id": "7"})
    assert answer.status == 201
    assert "x-request-id" in answer.headers
    assert [tuple(row) for row in await harness.micro.query("select id, owner from orders")] == [("7", "ana")]


async def test_emitted_events_can_be_looked_at(harness):
    """As they would go out, with their cause."""
    answer = await harness.as_user("ana").post("/orders", json={"order_id": "7"})
    (event,) = await harness.emitted()
    assert (event.type, event.key, event.data) == ("OrderPlaced", "7", {"order_id": "7"})
    assert event.causation_id == answer.headers["x-request-id"]
    assert await harness.emitted("Other") == []


async def test_a_stranger_has_no_token(harness):
    """401."""
    assert (await harness.anonymous.post("/orders", json={"order_id": "7"})).status == 401


async def test_an_event_is_delivered_to_its_handlers(harness):
    """In a transaction, in which they may emit; what they emit is caused by the event."""
    sent = await harness.deliver("UserCreatedEvent", {"user_id": "ana"}, topic="user.events", key="ana")
    (emitted,) = await harness.emitted()
    assert emitted.causation_id == sent.id
    assert emitted.correlation_id == sent.correlation_id
    assert len(await harness.micro.query("select id from orders")) == 1


async def test_a_handler_that_fails_leaves_nothing_behind(harness):
    """The transaction is rolled back, and the test sees the error."""
    with pytest.raises(KeyError):
        await harness.deliver("UserCreatedEvent", {}, topic="user.events")
    assert await harness.emitted() == []


async def test_an_event_that_nobody_handles_is_an_error(harness):
    """A test that delivers nothing proves nothing."""
    with pytest.raises(LookupError, match="no handler for Other"):
        await harness.deliver("Other", {}, topic="user.events")


async def test_an_unknown_replacement_is_refused(tmp_path):
    """A typo would leave the real thing in place."""
    with pytest.raises(TypeError, match="verifer"):
        ServiceHarness(shop(), tmp_path, verifer=object())
    with pytest.raises(TypeError, match="name"):
        ServiceHarness(shop(), tmp_path, name="other")


async def test_dependencies_can_be_replaced(tmp_path, migrations):
    """Each by its name in `Resources`."""
    clock, caller = FakeClock(seed=7), FakeCaller()
    async with ServiceHarness(
        shop(), tmp_path, migrations=migrations, clock=clock, caller=caller, env={"A": "b"}
    ) as harness:
        assert harness.clock is harness.micro.clock is clock
        assert harness.micro.caller is caller
        assert harness.micro.env == {"A": "b"}


async def test_a_store_that_is_passed_in_stays_open(tmp_path, migrations):
    """It is the test's."""
    store = SqliteStore(f"sqlite:{tmp_path / 'own.db'}", clock=FakeClock())
    await store.open()
    try:
        async with ServiceHarness(shop(), tmp_path, migrations=migrations, store=store) as harness:
            assert harness.micro.store is store
        assert await store.query("select 1")
    finally:
        await store.close()


async def test_nothing_stays_open_when_the_start_fails(tmp_path, migrations):
    """The file can be used at once."""
    (migrations / "0002_broken.sql").write_text("create nonsense;")
    with pytest.raises(Exception, match="0002_broken"):
        async with ServiceHarness(shop(), tmp_path, migrations=migrations):
            pass
    (migrations / "0002_broken.sql").unlink()
    async with ServiceHarness(shop(), tmp_path, migrations=migrations):
        pass


async def test_migrations_are_found_beside_the_module_that_holds_the_service(tmp_path):
    """As the stack finds them."""
    from micro.services.user.service import service

    async with ServiceHarness(service, tmp_path) as harness:
        assert await harness.micro.query("select count(*) from users")


async def test_migrations_that_cannot_be_found_are_asked_for(tmp_path):
    """By the name of the argument."""
    with pytest.raises(ConfigurationError, match="migrations="):
        ServiceHarness(Service("lost", migrations="migrations"), tmp_path)


async def test_an_absolute_folder_of_migrations_is_taken(tmp_path, migrations):
    """As the loader leaves it."""
    service = shop()
    service.migrations = str(migrations)
    async with ServiceHarness(service, tmp_path) as harness:
        assert await harness.micro.query("select count(*) from orders")


async def test_a_service_without_tables_needs_none(tmp_path):
    """Only micro's own are there."""
    service = shop()
    async with ServiceHarness(service, tmp_path) as harness:
        assert (await harness.anonymous.get("/health")).status == 200


async def test_an_app_by_name_is_refused(tmp_path):
    """The harness doesn't import for the test."""
    with pytest.raises(ConfigurationError, match="needs the app itself"):
        async with ServiceHarness(Service("shop", app="shop.web:app"), tmp_path):
            pass


async def test_other_services_answer_what_they_are_told(harness):
    """And the calls are kept."""
    harness.caller.answer("user", "GET", "/users/1", json={"id": "1"}, headers={"etag": '"1"'})
    reply = await harness.micro.call("user", "GET", "/users/1")
    assert (reply.status, reply.json(), reply.headers["etag"]) == (200, {"id": "1"}, '"1"')
    assert [call.path for call in harness.caller.calls] == ["/users/1"]
    with pytest.raises(CallError, match="no answer is told"):
        await harness.micro.call("user", "GET", "/users/2")


async def test_a_fake_verifier_knows_its_own_tokens():
    """For their time, and no others."""
    clock = FakeClock()
    verifier = FakeVerifier(clock)
    token = verifier.token("ana", role="admin", kind="service", seconds=60)
    identity = await verifier.verify(token)
    assert (identity.subject, identity.role, identity.kind) == ("ana", "admin", "service")
    await clock.advance(60)
    for unknown in (token, "other"):
        assert verifier.cached(unknown) is None
        with pytest.raises(TokenError):
            await verifier.verify(unknown)


def test_importing_the_package_imports_no_backend():
    """Names are loaded when they are first used."""
    import subprocess
    import sys

    code = "import sys, micro.testing; sys.exit('aiosqlite' in sys.modules or 'pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert Path(sys.executable).exists()
