"""POST /tasks and GET /tasks/{id}."""

from __future__ import annotations

import pytest

from micro.ids import is_id


async def test_a_new_task_is_open_and_belongs_to_its_creator(harness, ana):
    """Every field of the design is there, times in UTC."""
    answer = await ana.post("/tasks", json={"title": "Buy milk"})
    task = answer.json()
    assert answer.status == 201
    assert is_id(task.pop("id"))
    assert task == {
        "title": "Buy milk",
        "description": "",
        "status": "open",
        "category_id": None,
        "assignee_id": None,
        "owner_id": "ana",
        "due_at": None,
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z",
        "completed_at": None,
    }


async def test_all_that_a_person_may_set_is_kept(ana, make):
    """The due time in UTC, whatever offset it came with."""
    category = await make.category(ana)
    form = {
        "title": "Buy milk",
        "description": "Two litres.\nNot the red one.",
        "category_id": category["id"],
        "assignee_id": "ben",
        "due_at": "2026-02-01T12:00:00.5+02:00",
    }
    task = await make.task(ana, **form)
    assert {name: task[name] for name in form} == form | {"due_at": "2026-02-01T10:00:00.500Z"}


async def test_the_answer_says_where_the_task_is_and_which_version(ana):
    """Location (RFC 9110 section 15.3.2) and ETag."""
    answer = await ana.post("/tasks", json={"title": "Buy milk"})
    read = await ana.get(answer.headers["location"])
    assert read.json() == answer.json()
    assert read.headers["etag"] == answer.headers["etag"] == '"1"'


async def test_creating_emits_the_whole_task_keyed_by_its_id(harness, ana, make):
    """A subscriber needs no second request."""
    task = await make.task(ana, assignee_id="ben")
    (event,) = await harness.emitted()
    assert (event.type, event.topic, event.key) == ("TaskCreatedEvent", "task.events", task["id"])
    assert event.data["task_id"] == task["id"]
    assert {name: event.data[name] for name in ("title", "owner_id", "assignee_id", "status")} == {
        "title": "Buy milk",
        "owner_id": "ana",
        "assignee_id": "ben",
        "status": "open",
    }


async def test_nobody_chooses_owner_or_status_of_a_new_task(ana, make):
    """What is not in the form is not taken from it."""
    task = await make.task(ana, owner_id="ben", status="completed", id="x", created_at="1999")
    assert (task["owner_id"], task["status"], task["created_at"][:4]) == ("ana", "open", "2026")


@pytest.mark.parametrize(
    ("form", "pointer"),
    [
        ({}, "/title"),
        ({"title": ""}, "/title"),
        ({"title": " \t "}, "/title"),
        ({"title": 7}, "/title"),
        ({"title": "x" * 201}, "/title"),
        ({"title": "x", "description": "x" * 10_001}, "/description"),
        ({"title": "x", "description": None}, "/description"),
        ({"title": "x", "category_id": "shopping"}, "/category_id"),
        ({"title": "x", "assignee_id": ""}, "/assignee_id"),
        ({"title": "x", "assignee_id": "two words"}, "/assignee_id"),
        ({"title": "x", "assignee_id": "ben\n"}, "/assignee_id"),
        ({"title": "x", "assignee_id": "b" * 129}, "/assignee_id"),
        ({"title": "x", "due_at": "tomorrow"}, "/due_at"),
        ({"title": "x", "due_at": "2026-02-01T12:00:00"}, "/due_at"),
        ({"title": "x", "due_at": "0001-01-01T00:00:00+05:00"}, "/due_at"),
        ({"title": "x", "due_at": "9999-12-31T23:59:59-05:00"}, "/due_at"),
        ({"title": "x", "due_at": "1969-12-31T23:59:59Z"}, "/due_at"),
    ],
)
async def test_a_wrong_field_is_named(harness, ana, form, pointer):
    """422 with a pointer, and nothing is stored or emitted."""
    answer = await ana.post("/tasks", json=form)
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await ana.get("/tasks")).json()["items"] == []
    assert await harness.emitted() == []


async def test_all_wrong_fields_are_named_at_once(ana):
    """A person mends the form in one go."""
    answer = await ana.post("/tasks", json={"title": "", "due_at": "x", "assignee_id": 3})
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/title", "/due_at", "/assignee_id"}


async def test_a_category_that_does_not_exist_is_named(harness, ana, nowhere):
    """422 with a pointer; the half-written task is gone with its event."""
    answer = await ana.post("/tasks", json={"title": "x", "category_id": nowhere})
    assert answer.status == 422
    assert answer.json()["errors"] == [{"pointer": "/category_id", "detail": "There is no such category."}]
    assert (await ana.get("/tasks")).json()["items"] == []
    assert await harness.emitted() == []


async def test_anybody_s_category_can_be_used(ana, ben, make):
    """Categories are everybody's to read, so everybody's to sort under."""
    category = await make.category(ben)
    assert (await make.task(ana, category_id=category["id"]))["category_id"] == category["id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/tasks"),
        ("GET", "/tasks"),
        ("GET", "/tasks/x"),
        ("PUT", "/tasks/x"),
        ("DELETE", "/tasks/x"),
        ("POST", "/tasks/x/complete"),
        ("POST", "/categories"),
        ("GET", "/categories"),
        ("GET", "/categories/x"),
        ("PUT", "/categories/x"),
        ("DELETE", "/categories/x"),
    ],
)
async def test_nothing_is_open_to_strangers(harness, method, path):
    """401 with the challenge, before anything else is looked at."""
    answer = await harness.anonymous.request(method, path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("who", ["ana", "ben", "root"])
async def test_owner_assignee_and_admin_may_read_a_task(harness, make, ana, who):
    """Ana owns it, Ben shall do it, root is an admin."""
    task = await make.task(ana, assignee_id="ben")
    reader = harness.as_user(who, role="admin" if who == "root" else "user")
    assert (await reader.get(f"/tasks/{task['id']}")).json()["title"] == "Buy milk"


async def test_nobody_else_may_read_a_task(harness, make, ana):
    """403, and the answer tells nothing of it."""
    task = await make.task(ana, title="A secret")
    answer = await harness.as_user("eve").get(f"/tasks/{task['id']}")
    assert answer.status == 403
    assert b"secret" not in answer.body


async def test_a_task_without_assignee_is_not_readable_by_a_nobody(harness, make, ana):
    """An empty subject does not match an empty assignee."""
    task = await make.task(ana)
    assert (await harness.as_user("").get(f"/tasks/{task['id']}")).status == 403


@pytest.mark.parametrize("id", ["1", "x", "not-an-id", "019B7D3C-8A00-7C4E-9F3B-2D6A51C0E7F4", "%00", "%ff"])
async def test_a_malformed_id_is_not_found(ana, id):
    """404, as of anything that is not there."""
    assert (await ana.get(f"/tasks/{id}")).status == 404


async def test_an_unknown_task_is_not_found(ana, nowhere):
    """404 for reading and for every change."""
    assert (await ana.get(f"/tasks/{nowhere}")).status == 404
    assert (await ana.put(f"/tasks/{nowhere}", json={"title": "x"})).status == 404
    assert (await ana.delete(f"/tasks/{nowhere}")).status == 404
    assert (await ana.post(f"/tasks/{nowhere}/complete")).status == 404


async def test_a_wrong_method_names_the_right_ones(ana, nowhere):
    """405 with Allow."""
    answer = await ana.request("PATCH", f"/tasks/{nowhere}")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")


async def test_text_that_no_store_could_keep_is_refused(ana):
    """NUL: 422 with a pointer, in both profiles."""
    answer = await ana.post(
        "/tasks", body=b'{"title": "a\\u0000b"}', headers={"content-type": "application/json"}
    )
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] == "/title"
