"""PUT, DELETE and complete: who may, what changes, and how lost updates are prevented."""

from __future__ import annotations

import asyncio

import pytest


async def change(client, how, task, *, etag=None, title="Buy tea"):
    """Make one of the three changes."""
    headers = {"if-match": etag} if etag else {}
    path = f"/tasks/{task['id']}"
    if how == "PUT":
        return await client.put(path, json={"title": title}, headers=headers)
    if how == "DELETE":
        return await client.delete(path, headers=headers)
    return await client.post(f"{path}/complete", headers=headers)


CHANGES = pytest.mark.parametrize("how", ["PUT", "DELETE", "complete"])


@CHANGES
@pytest.mark.parametrize("who", ["ana", "root"])
async def test_the_owner_and_an_admin_may_change_a_task(harness, make, how, who):
    """Ana owns it; root is an admin."""
    task = await make.task(harness.as_user("ana"))
    client = harness.as_user(who, role="admin" if who == "root" else "user")
    assert (await change(client, how, task)).status in {200, 204}


@CHANGES
@pytest.mark.parametrize("who", ["ben", "eve"])
async def test_nobody_else_may_not_even_the_assignee(harness, make, how, who):
    """403, nothing changes, nothing is emitted."""
    ana = harness.as_user("ana")
    task = await make.task(ana, assignee_id="ben")
    assert (await change(harness.as_user(who), how, task)).status == 403
    assert (await ana.get(f"/tasks/{task['id']}")).headers["etag"] == task["etag"]
    assert [event.type for event in await harness.emitted()] == ["TaskCreatedEvent"]


async def test_put_replaces_all_that_a_person_may_set(ana, make):
    """What is left out goes back to its default; the rest of the task stays."""
    category = await make.category(ana)
    task = await make.task(
        ana,
        description="Two litres",
        category_id=category["id"],
        assignee_id="ben",
        due_at="2026-02-01T12:00:00Z",
    )
    after = (await change(ana, "PUT", task)).json()
    assert after == {
        "id": task["id"],
        "title": "Buy tea",
        "description": "",
        "status": "open",
        "category_id": None,
        "assignee_id": None,
        "owner_id": "ana",
        "due_at": None,
        "created_at": task["created_at"],
        "updated_at": "2026-01-01T00:00:02.000Z",
        "completed_at": None,
    }
    assert (await ana.get(f"/tasks/{task['id']}")).json() == after


async def test_put_takes_what_get_gave(ana, make):
    """Read, edit, write back: members that nobody may set are not looked at."""
    task = await make.task(ana, description="Two litres")
    read = (await ana.get(f"/tasks/{task['id']}")).json()
    after = (
        await ana.put(f"/tasks/{task['id']}", json=read | {"title": "Buy tea", "status": "completed"})
    ).json()
    assert (after["title"], after["description"], after["status"]) == ("Buy tea", "Two litres", "open")


async def test_put_emits_the_task_and_what_changed(harness, ana, make):
    """So that a subscriber knows without having kept the task."""
    task = await make.task(ana, description="Two litres")
    await change(ana, "PUT", task)
    (event,) = await harness.emitted("TaskUpdatedEvent")
    assert (event.topic, event.key) == ("task.events", task["id"])
    assert event.data["changed"] == ["description", "title"]
    assert (event.data["title"], event.data["owner_id"]) == ("Buy tea", "ana")


async def test_put_of_the_same_changes_and_emits_nothing(harness, ana, make):
    """The version stays, so nobody's If-Match fails for it."""
    task = await make.task(ana)
    answer = await change(ana, "PUT", task, title="Buy milk")
    assert (answer.status, answer.headers["etag"]) == (200, task["etag"])
    assert answer.json()["updated_at"] == task["updated_at"]
    assert await harness.emitted("TaskUpdatedEvent") == []


async def test_put_with_an_unknown_category_changes_nothing(harness, ana, make, nowhere):
    """422 with a pointer."""
    task = await make.task(ana)
    answer = await ana.put(f"/tasks/{task['id']}", json={"title": "x", "category_id": nowhere})
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] == "/category_id"
    assert (await ana.get(f"/tasks/{task['id']}")).json()["title"] == "Buy milk"
    assert await harness.emitted("TaskUpdatedEvent") == []


async def test_a_completed_task_can_still_be_replaced(ana, make):
    """It stays completed."""
    task = await make.task(ana)
    done = (await change(ana, "complete", task)).json()
    after = (await change(ana, "PUT", task)).json()
    assert (after["title"], after["status"], after["completed_at"]) == (
        "Buy tea",
        "completed",
        done["completed_at"],
    )


async def test_completing_says_when(harness, ana, make):
    """And emits the completed task."""
    task = await make.task(ana, assignee_id="ben")
    answer = await change(ana, "complete", task)
    done = answer.json()
    assert answer.status == 200
    assert (done["status"], done["completed_at"]) == ("completed", "2026-01-01T00:00:01.000Z")
    (event,) = await harness.emitted("TaskCompletedEvent")
    assert event.key == task["id"]
    assert {name: event.data[name] for name in ("title", "owner_id", "assignee_id", "completed_at")} == {
        "title": "Buy milk",
        "owner_id": "ana",
        "assignee_id": "ben",
        "completed_at": "2026-01-01T00:00:01.000Z",
    }


async def test_completing_again_answers_the_same_and_emits_nothing(harness, ana, make):
    """Idempotent, however much later."""
    task = await make.task(ana)
    first = await change(ana, "complete", task)
    await harness.clock.advance(600)
    second = await change(ana, "complete", task)
    assert (second.status, second.body, second.headers["etag"]) == (
        first.status,
        first.body,
        first.headers["etag"],
    )
    assert len(await harness.emitted("TaskCompletedEvent")) == 1


async def test_ten_at_once_complete_it_once(harness, ana, make):
    """All answer the same; one event."""
    task = await make.task(ana)
    answers = await asyncio.gather(*(change(ana, "complete", task) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(await harness.emitted("TaskCompletedEvent")) == 1


async def test_a_deleted_task_is_gone(harness, ana, make):
    """204, then 404; the event tells what it was."""
    task = await make.task(ana)
    answer = await change(ana, "DELETE", task)
    assert (answer.status, answer.body) == (204, b"")
    assert (await change(ana, "DELETE", task)).status == 404
    assert (await ana.get(f"/tasks/{task['id']}")).status == 404
    (event,) = await harness.emitted("TaskDeletedEvent")
    assert (event.key, event.data["task_id"], event.data["title"]) == (task["id"], task["id"], "Buy milk")


async def test_two_at_once_delete_it_once(harness, ana, make):
    """One 204, one 404, one event."""
    task = await make.task(ana)
    answers = await asyncio.gather(change(ana, "DELETE", task), change(ana, "DELETE", task))
    assert sorted(answer.status for answer in answers) == [204, 404]
    assert len(await harness.emitted("TaskDeletedEvent")) == 1


@CHANGES
@pytest.mark.parametrize("etag", ["current", "*", '"0", {}'])
async def test_with_the_right_tag_the_change_is_taken(ana, make, how, etag):
    """The task's own, any, or a list that holds it."""
    task = await make.task(ana)
    etag = task["etag"] if etag == "current" else etag.format(task["etag"])
    assert (await change(ana, how, task, etag=etag)).status in {200, 204}


@CHANGES
@pytest.mark.parametrize("etag", ['"0"', 'W/"2"', "2", '""'])
async def test_with_a_wrong_tag_nothing_changes(harness, make, how, etag):
    """412: stale, weak, or malformed."""
    ana = harness.as_user("ana")
    task = await make.task(ana)
    await change(ana, "PUT", task)
    assert (await change(ana, how, task, etag=etag, title="Buy wine")).status == 412
    now = await ana.get(f"/tasks/{task['id']}")
    assert (now.json()["title"], now.headers["etag"]) == ("Buy tea", '"2"')
    assert [event.type for event in await harness.emitted()] == ["TaskCreatedEvent", "TaskUpdatedEvent"]


@CHANGES
async def test_who_may_not_change_a_task_learns_nothing_of_its_version(ben, ana, make, how):
    """403 comes before 412."""
    task = await make.task(ana)
    answer = await change(ben, how, task, etag='"7"')
    assert answer.status == 403
    assert "etag" not in answer.headers


async def test_every_change_gives_a_new_tag(ana, make):
    """Two different states never share one."""
    task = await make.task(ana)
    first = await change(ana, "PUT", task, title="a")
    second = await change(ana, "PUT", task, title="b")
    third = await change(ana, "complete", task)
    assert len({task["etag"], *(answer.headers["etag"] for answer in (first, second, third))}) == 4


async def test_of_two_who_read_the_same_one_wins(harness, ana, root, make):
    """With If-Match no update is lost: the second gets 412 and looks again."""
    task = await make.task(ana)
    answers = await asyncio.gather(
        change(ana, "PUT", task, etag=task["etag"], title="Ana's"),
        change(root, "PUT", task, etag=task["etag"], title="Root's"),
    )
    assert sorted(answer.status for answer in answers) == [200, 412]
    winner = next(answer for answer in answers if answer.status == 200)
    assert (await ana.get(f"/tasks/{task['id']}")).json() == winner.json()
    assert len(await harness.emitted("TaskUpdatedEvent")) == 1


async def test_without_a_tag_all_changes_are_taken_one_after_the_other(harness, ana, make):
    """Twenty at once: each is applied to what the one before left, and each is told of."""
    task = await make.task(ana)
    answers = await asyncio.gather(*(change(ana, "PUT", task, title=f"Title {n}") for n in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert (await ana.get(f"/tasks/{task['id']}")).headers["etag"] == '"21"'
    events = await harness.emitted("TaskUpdatedEvent")
    assert len(events) == 20
    assert events[-1].data["title"] == (await ana.get(f"/tasks/{task['id']}")).json()["title"]
