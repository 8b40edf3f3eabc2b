"""What events of other services lead to: rows, which the worker delivers."""

from __future__ import annotations

import pytest
from msgspec import ValidationError

from micro.bus.message import CloudEvent
from micro.context import Context, current
from micro.ids import is_id
from micro.services.notification.service import service


async def completed(harness, **facts):
    """Have the task service tell that a task was completed."""
    task = {"task_id": "7", "title": "Buy milk", "owner_id": "ana", "assignee_id": "ben", **facts}
    return await harness.deliver("TaskCompletedEvent", task, topic="task.events", key="7")


async def apply(harness, event):
    """Apply this very event, as a replay does."""
    (handler,) = [each for each in service.handlers if each.type == event.type]
    async with harness.micro.transaction() as tx:
        await handler.handle(event, tx)


async def subjects(client):
    return [item["subject"] for item in (await client.get("/notifications")).json()["items"]]


async def test_who_registers_is_welcomed(harness, ana, registered):
    """By a pending row, made at the time of the event; nothing is sent yet."""
    await registered()
    (item,) = (await ana.get("/notifications")).json()["items"]
    assert is_id(item.pop("id"))
    assert item == {
        "user_id": "ana",
        "channel": "log",
        "target": None,
        "subject": "Welcome",
        "body": "Welcome, Ana. Your account is ready.",
        "status": "pending",
        "created_at": "2026-01-01T00:00:00.000Z",
        "sent_at": None,
    }
    assert await harness.emitted() == []


async def test_owner_and_assignee_hear_of_a_completed_task(harness, ana, ben):
    """Each by a notification of their own."""
    await completed(harness)
    for client in (ana, ben):
        (item,) = (await client.get("/notifications")).json()["items"]
        assert (item["subject"], item["body"]) == (
            "Completed: Buy milk",
            "The task “Buy milk” was completed.",
        )
    assert await subjects(harness.as_user("eve")) == []


@pytest.mark.parametrize("assignee", [None, "ana"])
async def test_who_does_their_own_task_hears_of_it_once(harness, ana, root, assignee):
    """Owner and assignee are the same, or there is no assignee."""
    await completed(harness, assignee_id=assignee)
    assert len((await root.get("/notifications")).json()["items"]) == 1


async def test_a_title_can_not_break_the_subject(harness, ana):
    """It becomes one line."""
    await completed(harness, title="Buy\r\nBcc: eve@example.com\nmilk")
    assert await subjects(ana) == ["Completed: Buy Bcc: eve@example.com milk"]


async def test_the_same_event_again_writes_to_nobody_twice(harness, ana, ben, registered):
    """A replay finds the rows that are there, sent or not."""
    events = [await registered(), await completed(harness)]
    for _ in range(2):
        for event in events:
            await apply(harness, event)
    assert await subjects(ana) == ["Completed: Buy milk", "Welcome"] or len(await subjects(ana)) == 2
    assert len(await subjects(ben)) == 1


async def test_two_events_are_two_notifications(harness, ana):
    """Only the same event is the same."""
    await completed(harness)
    await completed(harness)
    assert len(await subjects(ana)) == 2


async def test_an_address_is_known_from_the_first_event_on(harness, registered):
    """And follows the user."""
    await registered()
    assert await addresses(harness) == {"ana": "ana@example.com"}
    await harness.clock.advance(1)
    facts = {"user_id": "ana", "email": "ana@new.example", "name": "Ana", "changed": ["email"]}
    await harness.deliver("UserUpdatedEvent", facts, topic="user.events")
    assert await addresses(harness) == {"ana": "ana@new.example"}


async def test_an_earlier_event_does_not_bring_back_an_old_address(harness, registered):
    """A replay of the registration alone leaves the later address."""
    created = await registered()
    await harness.clock.advance(1)
    facts = {"user_id": "ana", "email": "ana@new.example", "name": "Ana"}
    await harness.deliver("UserUpdatedEvent", facts, topic="user.events")
    await apply(harness, created)
    assert await addresses(harness) == {"ana": "ana@new.example"}


async def test_an_update_welcomes_nobody(harness, ana):
    """It only tells the address."""
    facts = {"user_id": "ana", "email": "ana@example.com", "name": "Ana"}
    await harness.deliver("UserUpdatedEvent", facts, topic="user.events")
    assert await subjects(ana) == []


@pytest.mark.parametrize(
    ("kind", "topic", "facts"),
    [
        ("UserCreatedEvent", "user.events", {}),
        ("UserCreatedEvent", "user.events", {"user_id": "ana", "email": None, "name": "Ana"}),
        ("UserUpdatedEvent", "user.events", {"user_id": 7, "email": "a@b.c", "name": "Ana"}),
        ("TaskCompletedEvent", "task.events", {"title": "x", "owner_id": "ana"}),
    ],
)
async def test_an_event_of_another_shape_is_refused_with_its_place(harness, root, kind, topic, facts):
    """The consumer parks it with this reason; no half of it is stored."""
    with pytest.raises(ValidationError):
        await harness.deliver(kind, facts, topic=topic)
    assert await subjects(root) == []
    assert await addresses(harness) == {}


async def test_members_that_are_not_read_do_not_matter(harness, ana):
    """The other service may add what it likes."""
    await completed(harness, new_member={"a": 1}, title="x")
    assert await subjects(ana) == ["Completed: x"]


async def test_any_id_and_any_offset_of_an_event_will_do(harness, ana):
    """CloudEvents leaves the form of ids to the producer, and times may have offsets."""
    event = CloudEvent(
        id="order/7",
        source="elsewhere",
        type="UserCreatedEvent",
        topic="user.events",
        key="ana",
        time="2026-01-01T02:00:00.1234+02:00",
        version=1,
        data={"user_id": "ana", "email": "ana@example.com", "name": "Ana"},
        traceparent="",
        correlation_id="",
        causation_id="",
    )
    token = current.set(Context("c", "e", ""))
    await apply(harness, event)
    current.reset(token)
    (item,) = (await ana.get("/notifications")).json()["items"]
    assert is_id(item["id"])
    assert item["created_at"] == "2026-01-01T00:00:00.123Z"


async def addresses(harness):
    rows = await harness.micro.query("select user_id, email from addresses")
    return {row["user_id"]: row["email"] for row in rows}
