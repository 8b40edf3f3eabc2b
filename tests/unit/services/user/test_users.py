"""Accounts over HTTP: registering, reading, listing, changing, and who may."""

from __future__ import annotations

import asyncio

import pytest

from micro.ids import is_id

PASSWORD = "correct horse"
NOBODY = "019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f4"


def form(**changes):
    return {"email": "ana@example.com", "name": "Ana", "password": PASSWORD, **changes}


async def test_anybody_may_register(harness):
    """201, where it is, and who one is now."""
    answer = await harness.anonymous.post("/users", json=form())
    user = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/users/{user['id']}"
    assert is_id(user["id"])
    assert user == {
        "id": user["id"],
        "email": "ana@example.com",
        "name": "Ana",
        "role": "user",
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z",
    }


async def test_registering_is_an_event(harness, register):
    """Keyed by the user, with what others need, caused by the request."""
    user = await register(harness)
    (event,) = await harness.emitted()
    assert (event.type, event.topic, event.key, event.source) == (
        "UserCreatedEvent",
        "user.events",
        user["id"],
        "user",
    )
    facts = {name: value for name, value in user.items() if name != "id"}
    assert event.data == {"user_id": user["id"], **facts}


async def test_nobody_registers_as_an_admin(harness):
    """Whatever the body says, and however early."""
    answer = await harness.anonymous.post("/users", json=form(role="admin", id=NOBODY))
    assert answer.json()["role"] == "user"
    assert answer.json()["id"] != NOBODY


async def test_the_password_is_in_no_answer_and_no_event(harness, register):
    """Nor its hash."""
    user = await register(harness)
    admin = harness.as_user("root", role="admin")
    answers = [
        (await admin.get(f"/users/{user['id']}")).body,
        (await admin.get("/users")).body,
        repr(await harness.emitted()).encode(),
    ]
    assert not any(b"horse" in answer or b"hash" in answer for answer in answers)


async def test_a_refused_password_is_not_repeated(harness):
    """An answer may be logged on the way."""
    answer = await harness.anonymous.post("/users", json=form(password="geheim"))
    assert answer.status == 422
    assert b"geheim" not in answer.body


@pytest.mark.parametrize("email", ["ana@example.com", "ANA@Example.COM", "Ana@example.com"])
async def test_an_email_address_has_one_account(harness, register, email):
    """Without case."""
    await register(harness)
    answer = await harness.anonymous.post("/users", json=form(email=email))
    assert answer.status == 409
    assert len(await harness.emitted()) == 1


async def test_two_spellings_of_one_letter_are_one_address(harness, register):
    """Composed or not, in either case."""
    await register(harness, email="j\u00f6rg@example.com")
    for email in ("jo\u0308rg@example.com", "J\u00d6RG@example.com", "JO\u0308RG@example.com"):
        assert (await harness.anonymous.post("/users", json=form(email=email))).status == 409


async def test_registrations_at_once_make_one_account(harness):
    """The database decides, not a look beforehand."""
    answers = await asyncio.gather(*(harness.anonymous.post("/users", json=form()) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9
    assert len(await harness.emitted()) == 1


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ana",
        "@example.com",
        "ana@",
        "ana@@example.com",
        "ana@example..com",
        "ana@.example.com",
        "ana@example.com.",
        "ana b@example.com",
        "ana@exa mple.com",
        "ana@example.com\n",
        "ana@example.com\nBcc: x@example.com",
        "ana@example.com, bob@example.com",
        "ana;bob@example.com",
        "<ana@example.com>",
        '"ana"@example.com',
        "a" * 65 + "@example.com",
        "ana@" + "a" * 260 + ".com",
        "ana\u2028@example.com",
        "ana\x7f@example.com",
        None,
        7,
        ["ana@example.com"],
    ],
)
async def test_what_is_no_email_address_is_422(harness, email):
    """And nothing that could end a header line or start a second recipient."""
    answer = await harness.anonymous.post("/users", json=form(email=email))
    assert answer.status == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/email"]
    assert await harness.emitted() == []


@pytest.mark.parametrize(
    "email", ["a@b", "o'brien+x.y_z@mail.example.co.uk", "ünï@exämple.com", "用户@例子.世界"]
)
async def test_unusual_addresses_are_taken(harness, email):
    """Names of other scripts included; the text stays as it was given."""
    answer = await harness.anonymous.post("/users", json=form(email=email))
    assert (answer.status, answer.json()["email"]) == (201, email)


@pytest.mark.parametrize("password", ["", "1234567", "a" * 129, None, 12345678, ["a"] * 8])
async def test_a_password_has_8_to_128_characters(harness, password):
    """422 outside of it."""
    answer = await harness.anonymous.post("/users", json=form(password=password))
    assert answer.status == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/password"]


@pytest.mark.parametrize("password", ["12345678", "a" * 128, "🔑" * 8, " " * 8])
async def test_the_ends_of_the_range_are_allowed(harness, password):
    """Characters are counted, not bytes, and any will do."""
    assert (await harness.anonymous.post("/users", json=form(password=password))).status == 201


@pytest.mark.parametrize("name", ["", " ", "\t\n", "a" * 201, None, 7])
async def test_a_name_has_1_to_200_characters_and_is_not_blank(harness, name):
    """422 otherwise."""
    assert (await harness.anonymous.post("/users", json=form(name=name))).status == 422


async def test_all_faults_of_a_registration_are_told_at_once(harness):
    """So a form can show them together."""
    answer = await harness.anonymous.post("/users", json={"email": "x", "name": ""})
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/email", "/name", "/password"]


@pytest.mark.parametrize("text", ["\x00", "a\x00b"])
async def test_text_that_no_store_keeps_is_422(harness, text):
    """In both profiles, also where only one would mind."""
    assert (await harness.anonymous.post("/users", json=form(name=text))).status == 422
    answer = await harness.anonymous.post(
        "/users",
        body=b'{"email":"a@b.c","name":"\\ud800","password":"12345678"}',
        headers={"content-type": "application/json"},
    )
    assert answer.status == 422


async def test_one_may_read_oneself(harness, register):
    """The same as at registration."""
    user = await register(harness)
    answer = await harness.as_user(user["id"]).get(f"/users/{user['id']}")
    assert (answer.status, answer.json()) == (200, user)


async def test_one_may_not_read_others(harness, register):
    """403, whether or not there is such a user: nothing is to be learned."""
    user = await register(harness)
    stranger = harness.as_user(NOBODY)
    assert (await stranger.get(f"/users/{user['id']}")).status == 403
    assert (await stranger.get("/users/019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f5")).status == 403


async def test_an_admin_may_read_anybody(harness, register):
    """And is told when there is nobody."""
    user = await register(harness)
    admin = harness.as_user("root", role="admin")
    assert (await admin.get(f"/users/{user['id']}")).json() == user
    assert (await admin.get(f"/users/{NOBODY}")).status == 404


@pytest.mark.parametrize("id", ["1", "x" * 36, NOBODY.upper(), "%00", "me"])
async def test_a_malformed_id_is_404(harness, id):
    """Nobody has such an id."""
    assert (await harness.as_user("root", role="admin").get(f"/users/{id}")).status == 404
    assert (await harness.as_user("root", role="admin").put(f"/users/{id}", json=form())).status == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/users"), ("GET", f"/users/{NOBODY}"), ("PUT", f"/users/{NOBODY}")]
)
async def test_without_a_token_it_is_401(harness, method, path):
    """With a challenge."""
    answer = await harness.anonymous.request(method, path, json={} if method == "PUT" else None)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_list_is_for_admins(harness):
    """403 for everybody else, services included."""
    assert (await harness.as_user("ana").get("/users")).status == 403
    assert (await harness.as_user("task", role="service").get("/users")).status == 403
    assert (await harness.as_user("root", role="admin").get("/users")).json() == {
        "items": [],
        "next_cursor": None,
    }


async def test_the_list_comes_in_pages_newest_first(harness, register):
    """Each user once, whatever is added meanwhile."""
    made = []
    for number in range(5):
        made.append((await register(harness, email=f"u{number}@example.com"))["id"])
        await harness.clock.advance(1)
    admin = harness.as_user("root", role="admin")
    first = (await admin.get("/users?limit=2")).json()
    await register(harness, email="later@example.com")
    second = (await admin.get(f"/users?limit=2&cursor={first['next_cursor']}")).json()
    third = (await admin.get(f"/users?limit=2&cursor={second['next_cursor']}")).json()
    ids = [user["id"] for page in (first, second, third) for user in page["items"]]
    assert ids == made[::-1]
    assert third["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=", "limit=1&limit=2"]
)
async def test_a_bad_page_is_422(harness, query):
    """And says which parameter."""
    answer = await harness.as_user("root", role="admin").get(f"/users?{query}")
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] in {"/limit", "/cursor"}


async def test_one_may_change_oneself(harness, register):
    """All fields are replaced, and the time is noted."""
    user = await register(harness)
    await harness.clock.advance(60)
    answer = await harness.as_user(user["id"]).put(
        f"/users/{user['id']}", json={"email": "new@example.com", "name": "Anna"}
    )
    changed = {"email": "new@example.com", "name": "Anna", "updated_at": "2026-01-01T00:01:00.000Z"}
    assert (answer.status, answer.json()) == (200, {**user, **changed})
    assert (await harness.as_user(user["id"]).get(f"/users/{user['id']}")).json() == {**user, **changed}


async def test_a_change_is_an_event(harness, register):
    """With the whole user as they are now, and what differs."""
    user = await register(harness)
    await harness.as_user(user["id"]).put(
        f"/users/{user['id']}", json={"email": "ana@example.com", "name": "Anna"}
    )
    (event,) = await harness.emitted("UserUpdatedEvent")
    assert event.key == event.data["user_id"] == user["id"]
    assert event.data["name"] == "Anna"
    assert event.data["changed"] == ["name"]


async def test_a_change_that_changes_nothing_is_no_event(harness, register):
    """Nor does it move the time."""
    user = await register(harness)
    await harness.clock.advance(60)
    same = {"email": user["email"], "name": user["name"]}
    answer = await harness.as_user(user["id"]).put(f"/users/{user['id']}", json=same)
    assert (answer.status, answer.json()) == (200, user)
    assert await harness.emitted("UserUpdatedEvent") == []


async def test_a_change_of_case_is_a_change(harness, register):
    """Of one's own address, which is no conflict with oneself."""
    user = await register(harness)
    answer = await harness.as_user(user["id"]).put(
        f"/users/{user['id']}", json={"email": "ANA@example.com", "name": "Ana"}
    )
    assert (answer.status, answer.json()["email"]) == (200, "ANA@example.com")


async def test_one_may_not_take_anothers_address(harness, register):
    """409, and nothing has happened."""
    await register(harness)
    bob = await register(harness, email="bob@example.com")
    answer = await harness.as_user(bob["id"]).put(
        f"/users/{bob['id']}", json={"email": "ANA@EXAMPLE.COM", "name": "Bob"}
    )
    assert answer.status == 409
    assert (await harness.as_user(bob["id"]).get(f"/users/{bob['id']}")).json() == bob
    assert await harness.emitted("UserUpdatedEvent") == []


async def test_one_may_not_change_others(harness, register):
    """403."""
    user = await register(harness)
    answer = await harness.as_user(NOBODY).put(f"/users/{user['id']}", json=form())
    assert answer.status == 403


async def test_nobody_makes_themselves_an_admin(harness, register):
    """403, and nothing else of the change is taken."""
    user = await register(harness)
    answer = await harness.as_user(user["id"]).put(
        f"/users/{user['id']}", json={"email": "ana@example.com", "name": "Anna", "role": "admin"}
    )
    assert answer.status == 403
    assert (await harness.as_user(user["id"]).get(f"/users/{user['id']}")).json() == user


async def test_ones_own_role_may_be_repeated(harness, register):
    """What was read may be sent back with another name."""
    user = await register(harness)
    answer = await harness.as_user(user["id"]).put(
        f"/users/{user['id']}", json={"email": "ana@example.com", "name": "Anna", "role": "user"}
    )
    assert answer.status == 200


async def test_an_admin_may_change_a_role(harness, register):
    """There and back, each an event."""
    user = await register(harness)
    admin = harness.as_user("root", role="admin")
    for role in ("admin", "user"):
        answer = await admin.put(f"/users/{user['id']}", json=form(role=role))
        assert answer.json()["role"] == role
    assert [event.data["changed"] for event in await harness.emitted("UserUpdatedEvent")] == [
        ["role"],
        ["role"],
    ]


async def test_a_role_that_is_left_out_stays(harness, register):
    """A change of name by an admin degrades nobody."""
    user = await register(harness)
    admin = harness.as_user("root", role="admin")
    await admin.put(f"/users/{user['id']}", json=form(role="admin"))
    answer = await admin.put(f"/users/{user['id']}", json=form(name="Anna"))
    assert (answer.json()["role"], answer.json()["name"]) == ("admin", "Anna")


@pytest.mark.parametrize("role", ["root", "", "Admin", 1, ["admin"]])
async def test_there_are_two_roles(harness, register, role):
    """422 for any other."""
    user = await register(harness)
    answer = await harness.as_user("root", role="admin").put(f"/users/{user['id']}", json=form(role=role))
    assert answer.status == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/role"]


async def test_changing_nobody_is_404(harness):
    """For an admin, who may know."""
    assert (await harness.as_user("root", role="admin").put(f"/users/{NOBODY}", json=form())).status == 404


async def test_changes_at_once_are_all_taken_one_after_the_other(harness, register):
    """No change is lost in another: every one has its event, and the last event is what is there."""
    user = await register(harness)
    me = harness.as_user(user["id"])
    answers = await asyncio.gather(
        *(
            me.put(f"/users/{user['id']}", json={"email": "ana@example.com", "name": f"Ana {number}"})
            for number in range(8)
        )
    )
    assert {answer.status for answer in answers} == {200}
    events = await harness.emitted("UserUpdatedEvent")
    assert len(events) == 8
    assert events[-1].data["name"] == (await me.get(f"/users/{user['id']}")).json()["name"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {"content-type": "application/json"}, 400),
        (b"[" * 100_000, {"content-type": "application/json"}, 400),
        (b'{"a":' * 65 + b"1" + b"}" * 65, {"content-type": "application/json"}, 400),
        (b"{}", {}, 415),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"[]", {"content-type": "application/json"}, 422),
        (b" " * ((1 << 20) + 1), {"content-type": "application/json"}, 413),
    ],
)
async def test_a_bad_body_gets_its_status(harness, body, headers, status):
    """Never a 500."""
    assert (await harness.anonymous.post("/users", body=body, headers=headers)).status == status


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/users", "GET, HEAD, POST"),
        ("POST", f"/users/{NOBODY}", "GET, HEAD, PUT"),
        ("GET", "/auth/login", "POST"),
    ],
)
async def test_another_method_is_405(harness, method, path, allow):
    """With Allow."""
    answer = await harness.anonymous.request(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
