"""What one service emits is what the other reads: the very JSON, through the very handlers."""

from __future__ import annotations


async def told(harness, user_id):
    """Subjects of somebody's notifications, the newest first."""
    answer = await harness.as_user(user_id).get("/notifications")
    return [item["subject"] for item in answer.json()["items"]]


async def address(harness, user_id):
    """The e-mail address that the notification service knows."""
    rows = await harness.micro.query("select email from addresses where user_id = ?", user_id)
    return rows[0]["email"] if rows else None


async def test_who_registers_is_welcomed_by_name(user, notification, register, carry):
    """User → notification: UserCreatedEvent."""
    ana = await register(name="Ana María")
    assert await carry(user, notification) == ["UserCreatedEvent"]
    (item,) = (await notification.as_user(ana.id).get("/notifications")).json()["items"]
    assert (item["subject"], item["user_id"]) == ("Welcome", ana.id)
    assert "Ana María" in item["body"]
    assert await address(notification, ana.id) == "ana@example.com"


async def test_a_new_address_is_known_to_whoever_writes_to_it(user, notification, register, carry):
    """User → notification: UserUpdatedEvent."""
    ana = await register()
    form = {"email": "ana@new.example", "name": "Ana"}
    assert (await ana.client.put(f"/users/{ana.id}", json=form)).status == 200
    assert await carry(user, notification) == ["UserCreatedEvent", "UserUpdatedEvent"]
    assert await address(notification, ana.id) == "ana@new.example"
    assert await told(notification, ana.id) == ["Welcome"]


async def test_owner_and_assignee_hear_of_a_completed_task(task, notification, carry):
    """Task → notification: TaskCompletedEvent; the other events of a task concern nobody there."""
    ana = task.as_user("ana")
    made = (await ana.post("/tasks", json={"title": "Buy milk", "assignee_id": "ben"})).json()
    await ana.put(f"/tasks/{made['id']}", json={"title": "Buy tea", "assignee_id": "ben"})
    await ana.post(f"/tasks/{made['id']}/complete")
    await ana.delete(f"/tasks/{made['id']}")
    assert [event.type for event in await task.emitted()] == [
        "TaskCreatedEvent",
        "TaskUpdatedEvent",
        "TaskCompletedEvent",
        "TaskDeletedEvent",
    ]
    assert await carry(task, notification) == ["TaskCompletedEvent"]
    for person in ("ana", "ben"):
        assert await told(notification, person) == ["Completed: Buy tea"]


async def test_a_task_without_assignee_is_told_to_its_owner(task, notification, carry):
    """Task → notification: a null where there is nobody."""
    ana = task.as_user("ana")
    made = (await ana.post("/tasks", json={"title": "Buy milk"})).json()
    await ana.post(f"/tasks/{made['id']}/complete")
    await carry(task, notification)
    assert await told(notification, "ana") == ["Completed: Buy milk"]


async def test_a_person_is_the_same_in_all_services(user, task, notification, register, carry):
    """The user's id is the token's subject, the task's owner and the notification's user."""
    ana = await register()
    client = task.as_user(ana.id)
    made = (await client.post("/tasks", json={"title": "Buy milk"})).json()
    await client.post(f"/tasks/{made['id']}/complete")
    await carry(user, notification)
    await carry(task, notification)
    assert sorted(await told(notification, ana.id)) == ["Completed: Buy milk", "Welcome"]


async def test_events_that_come_twice_tell_once(user, task, notification, register, carry):
    """A replay of everything: the rows are there already."""
    ana = await register()
    client = task.as_user(ana.id)
    made = (await client.post("/tasks", json={"title": "Buy milk"})).json()
    await client.post(f"/tasks/{made['id']}/complete")
    for _ in range(3):
        await carry(user, notification)
        await carry(task, notification)
    assert len(await told(notification, ana.id)) == 2


async def test_a_title_of_any_kind_arrives(task, notification, carry):
    """What the producer lets in, the consumer can tell."""
    title = "«Größe» 🎉 \u2028 \x1b[31m'\"\\ <b>" + "x" * 170
    ana = task.as_user("ana")
    made = (await ana.post("/tasks", json={"title": title})).json()
    await ana.post(f"/tasks/{made['id']}/complete")
    await carry(task, notification)
    (subject,) = await told(notification, "ana")
    assert subject.startswith("Completed: «Größe» 🎉 [31m'\"\\ <b>xxx")
    (item,) = (await notification.as_user("ana").get("/notifications")).json()["items"]
    sent = await notification.as_user("ana").post(f"/notifications/{item['id']}/send")
    assert sent.json()["status"] == "sent"
