"""The service as declared, its upkeep, and what it answers when it is overloaded."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from micro.security.rotation import ANNOUNCED, DAY, MARGIN
from micro.services.user.api import Credentials, RefreshForm, Registration, VerifyForm
from micro.services.user.application import Contended, Overloaded
from micro.services.user.domain import ACCESS_SECONDS, SESSION_SECONDS, Actor, Denied, User, email_key
from micro.services.user.infrastructure import SqlUsers
from micro.services.user.service import UPKEEP_SECONDS, service

PASSWORD = "correct horse"


@pytest.fixture
async def upkeep(harness):
    """The service's background worker, at work."""
    (worker,) = harness.service.backgrounds
    task = asyncio.create_task(worker(harness.micro))
    async with asyncio.timeout(60):
        await harness.clock.until_sleeping()
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def a_round(harness):
    """One whole round of the upkeep, begun and ended at the present time."""
    async with asyncio.timeout(60):
        await harness.clock.until_sleeping()
        await harness.clock.advance(UPKEEP_SECONDS)
        await harness.clock.until_sleeping()


def test_the_service_is_declared_as_the_design_says():
    """Name, routes, port, and what it publishes."""
    assert (service.name, service.port, service.routes) == ("user", 8001, ("/users", "/auth"))
    assert [event.__name__ for event in service.publishes] == ["UserCreatedEvent", "UserUpdatedEvent"]
    assert {event.topic for event in service.publishes} == {"user.events"}
    assert service.handlers == []


async def test_every_operation_is_documented(harness):
    """With the problems it may answer."""
    paths = (await harness.anonymous.get("/openapi.json")).json()["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == {
        ("post", "/users"),
        ("get", "/users"),
        ("get", "/users/{id}"),
        ("put", "/users/{id}"),
        ("post", "/auth/login"),
        ("post", "/auth/refresh"),
        ("post", "/auth/logout"),
        ("post", "/auth/verify"),
        ("get", "/auth/jwks.json"),
    }
    assert {"409", "422"} <= set(paths["/users"]["post"]["responses"])
    assert "security" not in paths["/auth/login"]["post"]


async def test_the_first_key_is_made_at_the_first_start(harness, upkeep):
    """So the first log-in doesn't wait for it."""
    rows = await harness.micro.query("select generation from signing_keys")
    assert [row[0] for row in rows] == [1]


async def test_keys_are_rotated_by_age_without_downtime(harness, upkeep, register, log_in):
    """The next one is published first, then signs; the old one stays published."""
    await register(harness)
    first = jwt.get_unverified_header((await log_in(harness))["access_token"])["kid"]
    await harness.clock.advance(30 * DAY)
    await a_round(harness)
    announced = [key["kid"] for key in (await harness.anonymous.get("/auth/jwks.json")).json()["keys"]]
    assert announced[0] == first
    assert len(announced) == 2
    await harness.clock.advance(ANNOUNCED)
    second = jwt.get_unverified_header((await log_in(harness))["access_token"])["kid"]
    assert second == announced[1]


async def test_a_withdrawn_key_leaves_the_database(harness, upkeep):
    """Private part and all, once its last token has expired."""
    (first,) = [row[0] for row in await harness.micro.query("select secret from signing_keys")]
    await harness.clock.advance(30 * DAY)
    await a_round(harness)
    await harness.clock.advance(ANNOUNCED + ACCESS_SECONDS + MARGIN)
    await a_round(harness)
    rows = await harness.micro.query("select generation, secret from signing_keys")
    assert [row[0] for row in rows] == [2]
    assert rows[0][1] != first


async def test_sessions_that_have_run_out_are_forgotten(harness, upkeep, register, log_in):
    """The table doesn't grow for ever."""
    await register(harness)
    await log_in(harness)
    await harness.clock.advance(SESSION_SECONDS - 10)
    await log_in(harness)
    await a_round(harness)
    assert len(await harness.micro.query("select id from sessions")) == 1


async def test_too_many_log_ins_at_once_are_503(harness, passwords, register, monkeypatch):
    """With the time after which to try again."""
    await register(harness)

    async def overloaded(*arguments):
        raise Overloaded("Too many log-ins at this moment.")

    monkeypatch.setattr(passwords, "matches", overloaded)
    answer = await harness.anonymous.post(
        "/auth/login", json={"email": "ana@example.com", "password": PASSWORD}
    )
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_a_change_that_never_gets_through_is_409(harness, register, monkeypatch):
    """When others change the same user each time."""
    user = await register(harness)

    async def outrun(*arguments):
        return False

    monkeypatch.setattr(SqlUsers, "swap", outrun)
    answer = await harness.as_user(user["id"]).put(
        f"/users/{user['id']}", json={"email": "a@b.c", "name": "A"}
    )
    assert answer.status == 409
    assert issubclass(Contended, Exception)


async def test_a_swap_of_an_old_version_changes_nothing(harness, register):
    """Neither the row nor the events."""
    made = await register(harness)
    users = SqlUsers(harness.micro)
    now = await users.find(made["id"])
    old = User(**{**{name: getattr(now, name) for name in User.__slots__}, "version": 0})
    after = old.replaced(Actor("root", admin=True), email="x@y.z", name="X", role=None, now="later")
    event = after.announce(harness.service.publishes[1], changed=[])
    assert await users.swap(old, after, event) is False
    assert await users.find(made["id"]) == now
    assert await harness.emitted("UserUpdatedEvent") == []


@pytest.mark.parametrize(
    "form",
    [
        Registration("ana@example.com", "Ana", PASSWORD),
        Credentials("ana@example.com", PASSWORD),
        RefreshForm("secret"),
        VerifyForm("secret"),
    ],
)
def test_a_form_with_a_secret_shows_nothing_of_it(form):
    """In a log or a traceback."""
    assert repr(form) == str(form) == f"{type(form).__name__}(…)"


ANA = User("1", "ana@example.com", "Ana", "user", "then", "then")


def test_a_user_without_a_difference_is_the_same_object():
    """So nothing is written and nothing is said."""
    same = ANA.replaced(Actor("1"), email=ANA.email, name=ANA.name, role=None, now="now")
    assert same is ANA


def test_a_change_counts_the_version_and_notes_the_time():
    """And nothing else."""
    after = ANA.replaced(Actor("1"), email=ANA.email, name="Anna", role=None, now="now")
    assert (after.name, after.version, after.updated_at, after.created_at) == ("Anna", 2, "now", "then")
    assert after.changed_since(ANA) == ["name"]


@pytest.mark.parametrize(
    ("actor", "role"), [(Actor("2"), None), (Actor("1"), "admin"), (Actor("2"), "user"), (Actor(""), None)]
)
def test_a_change_that_is_not_allowed(actor, role):
    """Somebody else, or a role by oneself."""
    with pytest.raises(Denied):
        ANA.replaced(actor, email="a@b.c", name="A", role=role, now="now")


@pytest.mark.parametrize(
    ("one", "other"),
    [("A@B.c", "a@b.C"), ("STRASSE@x.y", "straße@x.y"), ("\u0130@x", "i\u0307@x"), ("\u212a@x", "k@x")],
)
def test_addresses_that_are_the_same(one, other):
    """Without case, by Unicode's folding."""
    assert email_key(one) == email_key(other)


def test_folding_is_final():
    """The key of a key is the key."""
    for text in ("ǅ@x", "ΐ@x", "ŉ@x", "\u1e9e@x", "ﬁ@x"):
        assert email_key(email_key(text)) == email_key(text)
