"""Logging in and out, refresh tokens, access tokens and their keys."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from micro.services.user.domain import ACCESS_SECONDS, SESSION_SECONDS

PASSWORD = "correct horse"


async def refresh(harness, token):
    return await harness.anonymous.post("/auth/refresh", json={"refresh_token": token})


async def log_out(harness, token):
    return await harness.anonymous.post("/auth/logout", json={"refresh_token": token})


async def test_logging_in_gives_tokens(harness, register, log_in):
    """Of the form that RFC 6749 section 5.1 gives them."""
    await register(harness)
    tokens = await log_in(harness)
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 900)


async def test_tokens_are_never_cached(harness, register):
    """RFC 6749 section 5.1."""
    await register(harness)
    answer = await harness.anonymous.post(
        "/auth/login", json={"email": "ana@example.com", "password": PASSWORD}
    )
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("email", ["ANA@EXAMPLE.COM", "Ana@example.com"])
async def test_the_address_has_no_case(harness, register, log_in, email):
    """As at registration."""
    await register(harness)
    assert await log_in(harness, email=email)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ana@example.com", "wrong horse"),
        ("ana@example.com", ""),
        ("ana@example.com", PASSWORD.upper()),
        ("ana@example.com", PASSWORD + " "),
        ("bob@example.com", PASSWORD),
        ("", PASSWORD),
        ("not an address", PASSWORD),
    ],
)
async def test_wrong_credentials_are_401(harness, register, passwords, email, password):
    """The same answer whichever is wrong, after the same work: nothing tells who has an account."""
    await register(harness)
    answer = await harness.anonymous.post("/auth/login", json={"email": email, "password": password})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["detail"] == "E-mail or password is wrong."
    assert passwords.checked == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"email": "ana@example.com"}, {"email": 1, "password": PASSWORD}, {"email": "a", "password": None}],
)
async def test_credentials_of_the_wrong_shape_are_422(harness, body):
    """With the places."""
    assert (await harness.anonymous.post("/auth/login", json=body)).status == 422


async def test_an_access_token_says_who_and_for_how_long(genuine, register, log_in):
    """Signed with a published key, for this stack, 15 minutes."""
    user = await register(genuine)
    token = (await log_in(genuine))["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    now = int(genuine.clock.now().timestamp())
    assert (claims["sub"], claims["role"], claims["kind"]) == (user["id"], "user", "user")
    assert (claims["iss"], claims["aud"]) == ("micro:user", "micro")
    assert (claims["iat"], claims["exp"]) == (now, now + ACCESS_SECONDS)
    header = jwt.get_unverified_header(token)
    published = (await genuine.anonymous.get("/auth/jwks.json")).json()["keys"]
    assert header["alg"] == "EdDSA"
    assert header["kid"] in {key["kid"] for key in published}


async def test_an_access_token_opens_what_is_ones_own(genuine, register, log_in):
    """From registration to the first request, with nothing faked."""
    user = await register(genuine)
    token = (await log_in(genuine))["access_token"]
    answer = await genuine.anonymous.get(f"/users/{user['id']}", headers={"authorization": f"Bearer {token}"})
    assert answer.json() == user


async def test_an_access_token_expires(genuine, register, log_in):
    """After its 15 minutes and the half minute for clocks that differ."""
    user = await register(genuine)
    headers = {"authorization": f"Bearer {(await log_in(genuine))['access_token']}"}
    await genuine.clock.advance(ACCESS_SECONDS + 30)
    answer = await genuine.anonymous.get(f"/users/{user['id']}", headers=headers)
    assert (answer.status, answer.json()["detail"]) == (401, "The token has expired.")


async def test_verify_tells_whom_a_token_speaks_for(genuine, register, log_in):
    """From the body or from the header."""
    user = await register(genuine)
    token = (await log_in(genuine))["access_token"]
    expected = {
        "active": True,
        "sub": user["id"],
        "role": "user",
        "exp": int(genuine.clock.now().timestamp()) + ACCESS_SECONDS,
    }
    headers = {"authorization": f"Bearer {token}"}
    in_body = await genuine.anonymous.post("/auth/verify", json={"token": token})
    in_header = await genuine.anonymous.post("/auth/verify", headers=headers)
    with_both = await genuine.anonymous.post("/auth/verify", json={}, headers=headers)
    assert [in_body.json(), in_header.json(), with_both.json()] == [expected] * 3


async def test_the_body_wins_over_the_header(genuine, register, log_in):
    """It is the one that was asked about."""
    await register(genuine)
    token = (await log_in(genuine))["access_token"]
    answer = await genuine.anonymous.post(
        "/auth/verify", json={"token": "forged"}, headers={"authorization": f"Bearer {token}"}
    )
    assert answer.status == 401


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "é", "a" * 10_000])
async def test_a_bad_token_is_401(genuine, token):
    """With a challenge; an inactive token has no other answer."""
    answer = await genuine.anonymous.post("/auth/verify", json={"token": token})
    assert answer.status == 401
    assert "www-authenticate" in answer.headers


async def test_verify_without_any_token_is_401(genuine):
    """Neither body nor header."""
    assert (await genuine.anonymous.post("/auth/verify")).status == 401
    assert (await genuine.anonymous.post("/auth/verify", json={"token": None})).status == 401


async def test_the_published_keys_may_be_kept_for_a_while(harness):
    """And none has its private part."""
    answer = await harness.anonymous.get("/auth/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}


async def test_refreshing_gives_new_tokens(harness, register, log_in):
    """Both of them, and the old refresh token is spent."""
    await register(harness)
    first = await log_in(harness)
    answer = await refresh(harness, first["refresh_token"])
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["refresh_token"] != first["refresh_token"]
    assert answer.json()["access_token"] != first["access_token"]


async def test_a_chain_of_refreshes_goes_on(harness, register, log_in):
    """For as long as it is used."""
    await register(harness)
    token = (await log_in(harness))["refresh_token"]
    for _ in range(5):
        await harness.clock.advance(SESSION_SECONDS - 1)
        answer = await refresh(harness, token)
        assert answer.status == 200
        token = answer.json()["refresh_token"]


async def test_a_refresh_token_runs_out(harness, register, log_in):
    """Unused for its time."""
    await register(harness)
    token = (await log_in(harness))["refresh_token"]
    await harness.clock.advance(SESSION_SECONDS)
    assert (await refresh(harness, token)).status == 401


async def test_a_reused_refresh_token_ends_its_family(harness, register, log_in):
    """Two have it, so one has stolen it: neither goes on."""
    await register(harness)
    first = (await log_in(harness))["refresh_token"]
    second = (await refresh(harness, first)).json()["refresh_token"]
    third = (await refresh(harness, second)).json()["refresh_token"]
    assert (await refresh(harness, first)).status == 401
    assert (await refresh(harness, third)).status == 401


async def test_other_sessions_of_the_user_go_on(harness, register, log_in):
    """Another device is another family."""
    await register(harness)
    stolen = (await log_in(harness))["refresh_token"]
    other = (await log_in(harness))["refresh_token"]
    await refresh(harness, stolen)
    await refresh(harness, stolen)
    assert (await refresh(harness, other)).status == 200


async def test_of_two_refreshes_at_once_one_wins_and_the_family_ends(harness, register, log_in):
    """The exchange is one step in the database."""
    await register(harness)
    token = (await log_in(harness))["refresh_token"]
    answers = await asyncio.gather(*(refresh(harness, token) for _ in range(2)))
    assert sorted(answer.status for answer in answers) == [200, 401]
    (winner,) = [answer for answer in answers if answer.status == 200]
    assert (await refresh(harness, winner.json()["refresh_token"])).status == 401


async def test_a_refresh_shows_the_present_role(genuine, register, log_in):
    """Not the one at the time of the log-in."""
    user = await register(genuine)
    token = (await log_in(genuine))["refresh_token"]
    async with genuine.micro.transaction() as tx:
        await tx.execute("update users set role = 'admin' where id = ?", user["id"])
    access = (await refresh(genuine, token)).json()["access_token"]
    assert jwt.decode(access, options={"verify_signature": False})["role"] == "admin"


async def test_refresh_tokens_are_stored_as_hashes(harness, register, log_in):
    """Whoever reads the database can't use them."""
    await register(harness)
    secret = (await log_in(harness))["refresh_token"].partition(".")[2]
    rows = await harness.micro.query("select id, secret_hash from sessions")
    assert len(rows) == 1
    assert secret not in str([tuple(row) for row in rows])


async def test_logging_out_ends_the_session(harness, register, log_in):
    """204, and the token is dead."""
    await register(harness)
    token = (await log_in(harness))["refresh_token"]
    answer = await log_out(harness, token)
    assert (answer.status, answer.body) == (204, b"")
    assert (await refresh(harness, token)).status == 401
    assert (await log_out(harness, token)).status == 401


async def test_a_spent_token_logs_nobody_out_politely(harness, register, log_in):
    """401, and as a reused one it ends the family too."""
    await register(harness)
    first = (await log_in(harness))["refresh_token"]
    second = (await refresh(harness, first)).json()["refresh_token"]
    assert (await log_out(harness, first)).status == 401
    assert (await refresh(harness, second)).status == 401


async def test_an_expired_session_cannot_be_logged_out(harness, register, log_in):
    """It has ended already."""
    await register(harness)
    token = (await log_in(harness))["refresh_token"]
    await harness.clock.advance(SESSION_SECONDS)
    assert (await log_out(harness, token)).status == 401


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "0" * 32 + ".", "0" * 32 + "." + "a" * 43, "G" * 32 + "." + "a" * 43, "a" * 1_000],
)
async def test_an_invented_refresh_token_is_401(harness, token):
    """With a challenge, and the same answer whatever is wrong with it."""
    for path in ("/auth/refresh", "/auth/logout"):
        answer = await harness.anonymous.post(path, json={"refresh_token": token})
        assert answer.status == 401
        assert "www-authenticate" in answer.headers


@pytest.mark.parametrize("body", [{}, {"refresh_token": None}, {"refresh_token": 7}])
async def test_a_refresh_of_the_wrong_shape_is_422(harness, body):
    """With the place."""
    for path in ("/auth/refresh", "/auth/logout"):
        answer = await harness.anonymous.post(path, json=body)
        assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/refresh_token"]


async def test_an_access_token_refreshes_nothing(harness, register, log_in):
    """The two kinds aren't taken for one another."""
    await register(harness)
    assert (await refresh(harness, (await log_in(harness))["access_token"])).status == 401


async def test_logging_in_is_no_event(harness, register, log_in):
    """Nothing that another service would need to know."""
    await register(harness)
    await log_in(harness)
    assert [event.type for event in await harness.emitted()] == ["UserCreatedEvent"]
