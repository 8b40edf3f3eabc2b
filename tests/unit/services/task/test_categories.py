"""Categories: everybody reads them, the owner or an admin changes them, and none goes while tasks name it."""

from __future__ import annotations

import asyncio

import pytest

from micro.ids import is_id


async def test_a_new_category_belongs_to_its_creator(ana):
    """Every field of the design, with Location and ETag."""
    answer = await ana.post("/categories", json={"name": "Shopping"})
    category = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/categories/{category['id']}"
    assert answer.headers["etag"] == '"1"'
    assert is_id(category.pop("id"))
    assert category == {
        "name": "Shopping",
        "owner_id": "ana",
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z",
    }


@pytest.mark.parametrize("form", [{}, {"name": ""}, {"name": "  "}, {"name": None}, {"name": "x" * 201}])
async def test_a_category_needs_a_name(ana, form):
    """422 with a pointer."""
    answer = await ana.post("/categories", json=form)
    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (422, "/name")


async def test_everybody_reads_all_categories(ana, ben, make):
    """One by one, and in the list, the newest first."""
    first, second = await make.category(ana, "First"), await make.category(ben, "Second")
    assert (await ben.get(f"/categories/{first['id']}")).json()["name"] == "First"
    listed = (await ben.get("/categories")).json()
    assert [item["id"] for item in listed["items"]] == [second["id"], first["id"]]
    assert listed["next_cursor"] is None


async def test_the_list_comes_in_pages(ana, make):
    """Each category once."""
    made = [(await make.category(ana, f"Number {n}"))["id"] for n in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = (await ana.get(f"/categories?limit=2{cursor and '&cursor=' + cursor}")).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == made[::-1]


async def test_the_owner_renames_it(ana, make):
    """With a new version and time."""
    category = await make.category(ana)
    answer = await ana.put(f"/categories/{category['id']}", json={"name": "Errands"})
    after = answer.json()
    assert (answer.status, answer.headers["etag"]) == (200, '"2"')
    assert (after["name"], after["updated_at"]) == ("Errands", "2026-01-01T00:00:01.000Z")
    assert (await ana.get(f"/categories/{category['id']}")).json() == after


async def test_the_same_name_again_changes_nothing(ana, make):
    """The version stays."""
    category = await make.category(ana)
    answer = await ana.put(f"/categories/{category['id']}", json={"name": "Shopping"})
    assert (answer.status, answer.headers["etag"]) == (200, category["etag"])


async def test_an_admin_may_change_anybody_s(ana, root, make):
    """Rename and delete."""
    category = await make.category(ana)
    assert (await root.put(f"/categories/{category['id']}", json={"name": "x"})).status == 200
    assert (await root.delete(f"/categories/{category['id']}")).status == 204


async def test_nobody_else_may(ana, ben, make):
    """403, and it stays as it is."""
    category = await make.category(ana)
    assert (await ben.put(f"/categories/{category['id']}", json={"name": "x"})).status == 403
    assert (await ben.delete(f"/categories/{category['id']}")).status == 403
    assert (await ben.get(f"/categories/{category['id']}")).json()["name"] == "Shopping"


async def test_a_stale_tag_is_refused(ana, make):
    """412 for rename and delete; the right one is taken."""
    category = await make.category(ana)
    path = f"/categories/{category['id']}"
    assert (await ana.put(path, json={"name": "x"}, headers={"if-match": '"7"'})).status == 412
    assert (await ana.delete(path, headers={"if-match": '"7"'})).status == 412
    assert (await ana.delete(path, headers={"if-match": category["etag"]})).status == 204


@pytest.mark.parametrize("id", ["x", "00000000-0000-7000-8000-000000000000"])
async def test_an_unknown_or_malformed_id_is_not_found(ana, id):
    """404 for every operation."""
    assert (await ana.get(f"/categories/{id}")).status == 404
    assert (await ana.put(f"/categories/{id}", json={"name": "x"})).status == 404
    assert (await ana.delete(f"/categories/{id}")).status == 404


async def test_a_category_in_use_stays(ana, ben, make):
    """409, also when the task is somebody else's; once the task has left it, it goes."""
    category = await make.category(ana)
    task = await make.task(ben, category_id=category["id"])
    answer = await ana.delete(f"/categories/{category['id']}")
    assert (answer.status, answer.json()["detail"]) == (409, "Tasks name this category.")
    assert (await ana.get(f"/categories/{category['id']}")).status == 200
    await ben.put(f"/tasks/{task['id']}", json={"title": "x"})
    assert (await ana.delete(f"/categories/{category['id']}")).status == 204


async def test_a_category_goes_with_the_last_task_that_named_it(ana, make):
    """Deleting the task frees it."""
    category = await make.category(ana)
    task = await make.task(ana, category_id=category["id"])
    await ana.delete(f"/tasks/{task['id']}")
    assert (await ana.delete(f"/categories/{category['id']}")).status == 204


async def test_a_category_deleted_while_tasks_are_created_is_named_by_none(ana, make):
    """Whoever comes first wins; no task is left with a category that is gone."""
    for _ in range(10):
        category = await make.category(ana)
        new = {"title": "x", "category_id": category["id"]}
        created, deleted = await asyncio.gather(
            ana.post("/tasks", json=new), ana.delete(f"/categories/{category['id']}")
        )
        assert (created.status, deleted.status) in {(201, 409), (422, 204)}


async def test_categories_emit_nothing(harness, ana, make):
    """Only tasks are told of."""
    category = await make.category(ana)
    await ana.put(f"/categories/{category['id']}", json={"name": "x"})
    await ana.delete(f"/categories/{category['id']}")
    assert await harness.emitted() == []
