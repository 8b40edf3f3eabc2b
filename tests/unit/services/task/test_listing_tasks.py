"""GET /tasks: who sees what, filters, and pages that stay right while tasks come and go."""

from __future__ import annotations

import pytest


async def ids(client, query=""):
    """The ids in one page."""
    answer = await client.get(f"/tasks{query}")
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.json()["items"]]


async def walk(client, query="limit=2", *, between=None):
    """The ids of all pages, in order; `between` is awaited after each page."""
    seen, cursor = [], ""
    while cursor is not None:
        page = (await client.get(f"/tasks?{query}{cursor and '&cursor=' + cursor}")).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if between:
            await between()
    return seen


async def test_a_list_holds_what_one_owns_or_is_assigned_to(ana, ben, harness, make):
    """The newest first, each once, and nobody else's."""
    hers = await make.task(ana)
    shared = await make.task(ana, assignee_id="ben")
    his = await make.task(ben)
    both = await make.task(ben, assignee_id="ben")
    assert await ids(ana) == [shared["id"], hers["id"]]
    assert await ids(ben) == [both["id"], his["id"], shared["id"]]
    assert await ids(harness.as_user("eve")) == []


async def test_an_admin_sees_all(ana, ben, root, make):
    """The newest first."""
    made = [await make.task(ana), await make.task(ben), await make.task(ana)]
    assert await ids(root) == [task["id"] for task in reversed(made)]


async def test_items_are_as_single_tasks_are(ana, make):
    """The same members."""
    task = await make.task(ana, description="Two litres", assignee_id="ben")
    (item,) = (await ana.get("/tasks")).json()["items"]
    assert item == (await ana.get(f"/tasks/{task['id']}")).json()


async def test_an_empty_list_has_no_next_page(ana):
    """The shape of every list."""
    assert (await ana.get("/tasks")).json() == {"items": [], "next_cursor": None}


async def test_filter_by_status(ana, make):
    """Open or completed."""
    first, second = await make.task(ana), await make.task(ana)
    await ana.post(f"/tasks/{first['id']}/complete")
    assert await ids(ana, "?status=open") == [second["id"]]
    assert await ids(ana, "?status=completed") == [first["id"]]


async def test_filter_by_category(ana, make, nowhere):
    """One category, whoever owns it."""
    category = await make.category(ana)
    await make.task(ana)
    task = await make.task(ana, category_id=category["id"])
    assert await ids(ana, f"?category_id={category['id']}") == [task["id"]]
    assert await ids(ana, f"?category_id={nowhere}") == []


async def test_filter_by_assignee(ana, make):
    """Of the tasks that one may see."""
    await make.task(ana)
    task = await make.task(ana, assignee_id="ben")
    await make.task(ana, assignee_id="eve")
    assert await ids(ana, "?assignee_id=ben") == [task["id"]]


async def test_a_filter_shows_nobody_more_than_they_may_see(ana, ben, harness, make):
    """An assignee sees what they are assigned to; a stranger nothing."""
    task = await make.task(ana, assignee_id="ben")
    assert await ids(ben, "?assignee_id=ben") == [task["id"]]
    assert await ids(harness.as_user("eve"), "?assignee_id=ben") == []


async def test_filters_together(ana, root, make):
    """All must hold; for an admin too."""
    category = await make.category(ana)
    await make.task(ana, category_id=category["id"])
    await make.task(ana, assignee_id="ben")
    task = await make.task(ana, assignee_id="ben", category_id=category["id"])
    query = f"?assignee_id=ben&category_id={category['id']}&status=open"
    assert await ids(ana, query) == await ids(root, query) == [task["id"]]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=many", "/limit"),
        ("limit=", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("status=done", "/status"),
        ("status=", "/status"),
        ("category_id=shopping", "/category_id"),
        ("assignee_id=", "/assignee_id"),
        ("assignee_id=a%20b", "/assignee_id"),
        ("cursor=", "/cursor"),
        ("cursor=garbage", "/cursor"),
        ("cursor=WyJhIiwiYiJd", "/cursor"),
    ],
)
async def test_a_bad_query_is_refused(ana, query, pointer):
    """422 with a pointer to the parameter."""
    answer = await ana.get(f"/tasks?{query}")
    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
async def test_pages_hold_each_task_once(ana, make, count):
    """Also where the last page is full."""
    made = [(await make.task(ana))["id"] for _ in range(count)]
    assert await walk(ana) == made[::-1]


async def test_the_usual_page_has_fifty(ana, harness):
    """And a limit of 200 is taken."""
    for _ in range(51):
        await ana.post("/tasks", json={"title": "x"})
    first = (await ana.get("/tasks")).json()
    assert (len(first["items"]), first["next_cursor"] is None) == (50, False)
    assert len((await ana.get("/tasks?limit=200")).json()["items"]) == 51


async def test_tasks_created_meanwhile_neither_shift_nor_repeat_anything(ana, make):
    """A reader who began before sees what was there when they began."""
    made = [(await make.task(ana))["id"] for _ in range(5)]
    assert await walk(ana, between=lambda: make.task(ana)) == made[::-1]


async def test_tasks_deleted_meanwhile_hide_no_other(ana, make):
    """The cursor is a place, not a count; the task it was made from may be gone."""
    made = [(await make.task(ana))["id"] for _ in range(5)]
    page = (await ana.get("/tasks?limit=2")).json()
    await ana.delete(f"/tasks/{made[3]}")
    await ana.delete(f"/tasks/{made[4]}")
    rest = await ids(ana, f"?limit=200&cursor={page['next_cursor']}")
    assert rest == [made[2], made[1], made[0]]


async def test_pages_of_one_s_own_and_shared_tasks_mix(ana, ben, make):
    """Two indexes are read, one order comes out."""
    made = []
    for n in range(7):
        client, other = (ana, "ben") if n % 2 else (ben, "ana")
        made.append(await make.task(client, assignee_id=other if n % 3 else None))
    visible = [task["id"] for task in made if "ana" in {task["owner_id"], task["assignee_id"]}]
    assert await walk(ana) == visible[::-1]


async def test_pages_keep_the_filter(ana, make):
    """The cursor does not widen it."""
    made = []
    for n in range(6):
        task = await make.task(ana)
        if n % 2:
            await ana.post(f"/tasks/{task['id']}/complete")
            made.append(task["id"])
    assert await walk(ana, "limit=2&status=completed") == made[::-1]


async def test_a_page_is_read_by_index_however_many_tasks_there_are(harness, ana, make, plan):
    """The plan of the very statement: no scan of the table, no sorting of all that somebody owns."""
    statements = []
    query = harness.micro.store.query

    async def spy(sql, *parameters):
        statements.append((sql, parameters))
        return await query(sql, *parameters)

    harness.micro.store.query = spy
    await ana.get("/tasks?limit=2")
    sql, parameters = statements[-1]
    steps = await plan(sql, *parameters)
    assert any("tasks_by_owner" in step for step in steps)
    assert any("tasks_by_assignee" in step for step in steps)
    assert not any(step == "SCAN tasks" or "Seq Scan" in step for step in steps)
