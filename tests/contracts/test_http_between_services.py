"""What a person carries from one service to another by HTTP: ids, tokens and tags."""

from __future__ import annotations

from micro.ids import is_id


async def test_ids_have_one_form_in_all_services(user, task, notification, register):
    """UUIDs in lower case; an id of one service is well-formed in another."""
    ana = await register()
    made = (await task.as_user(ana.id).post("/tasks", json={"title": "x", "assignee_id": ana.id})).json()
    form = {"user_id": ana.id, "channel": "log", "target": None, "subject": "x", "body": "x"}
    written = (await notification.as_user(ana.id).post("/notifications", json=form)).json()
    assert all(map(is_id, (ana.id, made["id"], written["id"])))
    assert (await task.as_user(ana.id).get(f"/tasks?assignee_id={ana.id}")).json()["items"] == [made]


async def test_lists_have_one_shape_in_all_services(user, task, notification):
    """Items and a cursor; the same limits; newest first."""
    for harness, path in (
        (user, "/users"),
        (task, "/tasks"),
        (task, "/categories"),
        (notification, "/notifications"),
    ):
        root = harness.as_user("root", role="admin")
        assert (await root.get(path)).json() == {"items": [], "next_cursor": None}
        for bad in ("limit=0", "limit=201", "cursor=x"):
            assert (await root.get(f"{path}?{bad}")).status == 422, path


async def test_errors_have_one_shape_in_all_services(user, task, notification):
    """Problem bodies with the request id."""
    for harness, path in ((user, "/users"), (task, "/tasks"), (notification, "/notifications")):
        answer = await harness.as_user("root", role="admin").get(f"{path}/x")
        assert answer.status == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_times_have_one_form_in_all_services(user, task, notification, register):
    """RFC 3339 in UTC with milliseconds."""
    ana = await register()
    form = {"user_id": ana.id, "channel": "log", "target": None, "subject": "x", "body": "x"}
    things = [
        (await ana.client.get(f"/users/{ana.id}")).json(),
        (await task.as_user(ana.id).post("/tasks", json={"title": "x"})).json(),
        (await notification.as_user(ana.id).post("/notifications", json=form)).json(),
    ]
    assert [thing["created_at"] for thing in things] == [
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:01.000Z",
        "2026-01-01T00:00:01.000Z",
    ]
