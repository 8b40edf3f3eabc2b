"""What an author of services writes, as type checkers see it. Checked by mypy, never run.

A line with `type: ignore` is a mistake that the types must catch: mypy fails when it no longer does.
"""

from __future__ import annotations

from typing import Any, assert_type

import msgspec
from starlette.requests import Request  # noqa: TC002 # as in a real service: annotations are read at run time

import micro
from micro import (
    Api,
    CallError,
    CloudEvent,
    Event,
    Id,
    Identity,
    Items,
    Page,
    Problem,
    Reply,
    Resources,
    Retry,
    Service,
    Timestamp,
    Transaction,
    UniqueViolation,
)


class OrderPlaced(Event, topic="order.events", version=1):
    """An event."""

    order_id: str
    total: int = 0


class OrderForm(msgspec.Struct):
    """A request's body."""

    item: str
    amount: int = 1


class OrderView(msgspec.Struct):
    """An answer's body."""

    id: Id
    placed_at: Timestamp


class OrderFilter(Page, frozen=True, kw_only=True):
    """A list's query."""

    item: str | None = None


def events_are_typed_dataclasses() -> None:
    event = OrderPlaced(order_id="1", total=5)
    assert_type(event.order_id, str)
    assert_type(OrderPlaced.topic, str)
    assert_type(OrderPlaced.version, int)
    OrderPlaced(order_id=1)  # type: ignore[arg-type] # a wrong type
    OrderPlaced(total=1)  # type: ignore[call-arg] # a missing field
    OrderPlaced("1", 5)  # type: ignore[call-arg] # fields go by name
    event.total = 6  # type: ignore[misc] # events are frozen


api = Api("shop", version="1", errors={KeyError: 404})


@api.post("/orders", status=201, problems=(409,))
async def place(request: Request, body: OrderForm) -> OrderView:
    """An operation with a body."""
    resources: Resources = request.state.micro
    try:
        async with resources.transaction(timeout=5.0) as tx:
            assert_type(tx, Transaction)
            assert_type(await tx.execute("insert into orders (item) values (?)", body.item), int)
            assert_type(tx.emit(OrderPlaced(order_id="1"), key="1"), str)
            tx.emit("OrderPlaced", key="1")  # type: ignore[arg-type] # an event, not its name
            tx.emit(OrderPlaced(order_id="1"))  # type: ignore[call-arg] # without a key there is no order
    except UniqueViolation as error:
        raise Problem(409, detail="There is such an order.") from error
    return OrderView(id="1", placed_at="2026-01-01T00:00:00.000Z")


@api.get("/orders")
async def browse(request: Request, query: OrderFilter) -> Items[OrderView]:
    """An operation with a query."""
    assert_type(query.limit, int)
    identity: Identity = request.state.identity
    assert_type(identity.role, str)
    rows = await request.state.micro.query("select id from orders where owner = ?", identity.subject)
    return Items(items=[OrderView(id=row["id"], placed_at="") for row in rows], next_cursor=None)


service = Service(
    "shop", app=api.app, routes=["/orders"], port=8010, migrations="migrations", publishes=[OrderPlaced]
)
Service("shop", ap=api.app)  # type: ignore[call-arg] # an unknown argument
Service("shop", app=api.app, publishes=["OrderPlaced"])  # type: ignore[list-item] # types, not names


@service.on("UserCreatedEvent", topic="user.events", replay=False, retry=Retry(attempts=3))
async def open_basket(event: CloudEvent, tx: Transaction) -> None:
    """A handler."""
    assert_type(event.data, dict[str, Any])
    assert_type(event.correlation_id, str)
    await tx.execute("insert into basket (user_id) values (?)", event.data["user_id"])


@service.on("UserCreatedEvent", topic="user.events")  # type: ignore[arg-type] # a handler is given a transaction
async def forgetful(event: CloudEvent) -> None:
    """Not a handler."""


@service.background
async def deliver(resources: Resources) -> None:
    """A worker."""
    assert_type(resources.clock.monotonic(), float)
    await resources.clock.sleep(1.0)
    try:
        reply = await resources.call("user", "GET", "/users/1", headers={"if-match": '"1"'})
    except CallError:
        return
    assert_type(reply, Reply)
    assert_type(reply.status, int)
    assert_type(await resources.cache.get("key"), bytes | None)


@service.background  # type: ignore[arg-type] # a worker is a coroutine function
def not_a_worker(resources: Resources) -> None:
    """Not a worker."""


def names_are_known() -> None:
    assert_type(micro.__version__, str)
    assert_type(micro.new_id(micro_clock()), str)
    assert_type(issubclass(micro.ConfigurationError, micro.MicroError), bool)


def micro_clock() -> micro.Clock:
    from micro.clock import SystemClock

    return SystemClock()
