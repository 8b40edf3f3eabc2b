"""Writing, reading, listing and deleting notifications."""

from __future__ import annotations

import pytest

from micro.ids import is_id

FORM = {"user_id": "ana", "channel": "log", "target": None, "subject": "Hello", "body": "How are you?"}


async def test_a_new_notification_waits_to_be_sent(ana):
    """Every field of the design is there, times in UTC."""
    answer = await ana.post("/notifications", json=FORM)
    notification = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/notifications/{notification['id']}"
    assert is_id(notification.pop("id"))
    assert notification == FORM | {
        "status": "pending",
        "created_at": "2026-01-01T00:00:00.000Z",
        "sent_at": None,
    }


async def test_writing_emits_nothing(harness, ana, write):
    """Nothing has been sent."""
    await write(ana)
    assert await harness.emitted() == []


async def test_the_target_may_be_left_out(ana):
    """As good as null."""
    form = {name: value for name, value in FORM.items() if name != "target"}
    assert (await ana.post("/notifications", json=form)).json()["target"] is None


async def test_one_writes_for_oneself_only(harness, ben):
    """403, and nothing is stored."""
    assert (await ben.post("/notifications", json=FORM)).status == 403
    assert (await harness.as_user("ana").get("/notifications")).json()["items"] == []


async def test_an_admin_writes_for_anybody(ana, root):
    """It is then that user's."""
    answer = await root.post("/notifications", json=FORM)
    assert answer.status == 201
    assert (await ana.get(f"/notifications/{answer.json()['id']}")).json() == answer.json()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"user_id": None}, "/user_id"),
        ({"user_id": "x" * 129}, "/user_id"),
        ({"channel": "pigeon"}, "/channel"),
        ({"subject": ""}, "/subject"),
        ({"subject": "  "}, "/subject"),
        ({"subject": "a\nBcc: eve@example.com"}, "/subject"),
        ({"subject": "a\rb"}, "/subject"),
        ({"subject": "a\n"}, "/subject"),
        ({"subject": "x" * 201}, "/subject"),
        ({"body": None}, "/body"),
        ({"body": "x" * 10_001}, "/body"),
        ({"target": 7}, "/target"),
        ({"target": "x" * 2049}, "/target"),
        ({"channel": "webhook"}, "/target"),
        ({"channel": "webhook", "target": ""}, "/target"),
        ({"channel": "webhook", "target": "hooks.example"}, "/target"),
        ({"channel": "webhook", "target": "ftp://hooks.example/"}, "/target"),
        ({"channel": "webhook", "target": "http://user:pw@hooks.example/"}, "/target"),
        ({"channel": "webhook", "target": "http://hooks.example/a b"}, "/target"),
        ({"channel": "webhook", "target": "http:///"}, "/target"),
        ({"channel": "email", "target": ""}, "/target"),
        ({"channel": "email", "target": "ana"}, "/target"),
        ({"channel": "email", "target": "ana@example.com, eve@example.com"}, "/target"),
        ({"channel": "email", "target": "Ana <ana@example.com>"}, "/target"),
        ({"channel": "email", "target": "ana@example.com\nBcc: eve@example.com"}, "/target"),
        ({"channel": "email", "target": f"{'a' * 250}@example.com"}, "/target"),
    ],
)
async def test_a_wrong_field_is_named(ana, change, pointer):
    """422 with a pointer, and nothing is stored."""
    answer = await ana.post("/notifications", json=FORM | change)
    assert answer.status == 422, answer.body
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await ana.get("/notifications")).json()["items"] == []


@pytest.mark.parametrize(
    ("channel", "target"),
    [
        ("email", None),
        ("email", "ana@example.com"),
        ("email", "ana.o'neil+x@sub.example.com"),
        ("webhook", "https://hooks.example"),
        ("webhook", "HTTP://hooks.example:8080/a?b=c%20d"),
        ("webhook", "http://[2a00::1]:8080/"),
    ],
)
async def test_every_channel_has_its_targets(ana, write, channel, target):
    """Whether a channel is set up shows when the notification is sent."""
    made = await write(ana, channel=channel, target=target)
    assert (made["channel"], made["target"], made["status"]) == (channel, target, "pending")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/notifications"),
        ("GET", "/notifications"),
        ("GET", "/notifications/x"),
        ("DELETE", "/notifications/x"),
        ("POST", "/notifications/x/send"),
    ],
)
async def test_nothing_is_open_to_strangers(harness, method, path):
    """401 with the challenge."""
    answer = await harness.anonymous.request(method, path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_each_user_sees_only_their_own(ana, ben, write):
    """403 for another's, which stays."""
    made = await write(ana)
    path = f"/notifications/{made['id']}"
    assert (await ben.get(path)).status == 403
    assert (await ben.delete(path)).status == 403
    assert (await ben.post(f"{path}/send")).status == 403
    assert (await ben.get("/notifications")).json()["items"] == []
    assert (await ana.get(path)).json() == made


async def test_an_admin_sees_and_deletes_any(ana, root, write):
    """In the list too."""
    made = await write(ana)
    assert (await root.get(f"/notifications/{made['id']}")).json() == made
    assert (await root.get("/notifications")).json()["items"] == [made]
    assert (await root.delete(f"/notifications/{made['id']}")).status == 204


async def test_a_deleted_notification_is_gone(ana, write):
    """204, then 404."""
    made = await write(ana)
    answer = await ana.delete(f"/notifications/{made['id']}")
    assert (answer.status, answer.body) == (204, b"")
    assert (await ana.get(f"/notifications/{made['id']}")).status == 404
    assert (await ana.delete(f"/notifications/{made['id']}")).status == 404


@pytest.mark.parametrize("id", ["x", "1", "00000000-0000-7000-8000-000000000000", "%00"])
async def test_an_unknown_or_malformed_id_is_not_found(ana, id):
    """404 for every operation."""
    assert (await ana.get(f"/notifications/{id}")).status == 404
    assert (await ana.delete(f"/notifications/{id}")).status == 404
    assert (await ana.post(f"/notifications/{id}/send")).status == 404


async def test_the_list_comes_in_pages_the_newest_first(ana, ben, write):
    """Each of one's own once, also while new ones are written."""
    made = [(await write(ana, subject=f"Number {n}"))["id"] for n in range(5)]
    await write(ben, user_id="ben")
    seen, cursor = [], ""
    while cursor is not None:
        page = (await ana.get(f"/notifications?limit=2{cursor and '&cursor=' + cursor}")).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        await write(ana, subject="Later")
    assert seen == made[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=x", "limit=x"])
async def test_a_bad_query_is_refused(ana, query):
    """422."""
    assert (await ana.get(f"/notifications?{query}")).status == 422


async def test_a_notification_is_not_changed_by_put(ana, write):
    """405 with what may be done."""
    made = await write(ana)
    answer = await ana.put(f"/notifications/{made['id']}", json=FORM)
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")
