"""API keys: known by their digest, never sent on, and exchanged for a token that services verify."""

from __future__ import annotations

import logging

import pytest

from micro.errors import ConfigurationError
from micro.gateway.policies.api_keys import REUSED, TTL
from micro.security.api_keys import digest_of, new_api_key
from micro.security.keys import SigningKey
from micro.security.stack_key import StackIssuer
from micro.security.tokens import TokenVerifier
from micro.spec.gateway import ApiKey, RateRule, Route
from micro.spec.terms import Rate
from micro.testing import FakeClock

KEY = new_api_key(FakeClock())
OTHER = new_api_key(FakeClock(seed=1))
KEYS = {
    "ci": ApiKey(hash=digest_of(KEY), role="bot", scopes=frozenset({"orders:read"})),
    "partner": ApiKey(hash=digest_of(OTHER)),
}


class Signer(StackIssuer):
    """The stack's issuer, counting the tokens that it makes."""

    def __init__(self, clock):
        super().__init__(SigningKey.generate(clock), clock=clock)
        self.issued = 0

    def token(self, subject, **said):
        self.issued += 1
        return super().token(subject, **said)


@pytest.fixture
def signer(bench, clock):
    bench.signer = Signer(clock)
    return bench.signer


@pytest.fixture
def serve(bench, echo, signer):
    def serve(accept=("api_key",), auth="required", **settings):
        route = Route(path="/", service="app", auth=auth, accept=accept, **settings)
        return bench.serve(echo, routes=[route], api_keys=KEYS)

    return serve


def key(value=KEY, name="x-api-key"):
    return [(name, value)]


def bearer(token="good"):  # noqa: S107 # made up
    return [("authorization", f"Bearer {token}")]


async def test_a_known_key_passes_and_is_not_sent_on(serve, echo):
    answer = await serve().ask("GET", headers=key())
    assert answer.status == 200
    assert echo.sent("x-api-key") == []
    assert not any(KEY.encode() in value for _, value in echo.scopes[0]["headers"])


async def test_the_service_gets_a_token_that_it_can_verify(serve, echo, signer, clock):
    """For the key's name, with its role and scopes, signed by the stack."""
    await serve().ask("GET", headers=key())
    (field,) = echo.sent("authorization")
    identity = await TokenVerifier([signer], clock=clock).verify(field.removeprefix("Bearer "))
    assert (identity.subject, identity.role, identity.kind) == ("ci", "bot", "api_key")
    assert (identity.scopes, identity.issuer) == ({"orders:read"}, "micro:stack")
    assert identity.expires == clock.now().timestamp() + TTL


async def test_a_token_is_used_again_for_thirty_seconds(bench, serve, echo, signer, clock):
    """So that services find it among the verified ones. Each key has its own."""
    serve()
    for _ in range(3):
        await bench.ask("GET", headers=key())
    assert signer.issued == 1
    first = echo.sent("authorization")
    await bench.ask("GET", headers=key(OTHER))
    assert (signer.issued, echo.sent("authorization") != first) == (2, True)
    await clock.advance(REUSED)
    await bench.ask("GET", headers=key())
    assert signer.issued == 3
    assert echo.sent("authorization") != first


@pytest.mark.parametrize(
    "wrong", ["", "x", KEY[:-1], KEY + "x", KEY.upper(), digest_of(KEY), "\xe4", f"{KEY}, {KEY}"]
)
async def test_an_unknown_key_is_401(serve, echo, signer, wrong):
    answer = await serve().ask("GET", headers=key(wrong))
    assert (answer.status, answer["www-authenticate"]) == (401, "ApiKey")
    assert answer.json()["detail"] == "The API key is not known."
    assert answer["proxy-status"] == "micro; error=http_request_error"
    assert (echo.scopes, signer.issued) == ([], 0)


@pytest.mark.parametrize(
    ("accept", "challenge"), [(("api_key",), "ApiKey"), (("token", "api_key"), "Bearer, ApiKey")]
)
async def test_no_credential_is_401_and_says_which_are_taken(serve, accept, challenge):
    answer = await serve(accept).ask("GET")
    assert (answer.status, answer["www-authenticate"]) == (401, challenge)


async def test_a_key_sent_twice_is_none(serve):
    assert (await serve().ask("GET", headers=[*key(), *key()])).status == 401


@pytest.mark.parametrize("name", ["x_api_key", "x-api_key", "x_api-key"])
async def test_another_spelling_is_no_key_and_is_not_sent_on(serve, bench, echo, name):
    """Servers that read a hyphen as an underscore can't tell them apart."""
    assert (await serve().ask("GET", headers=key(name=name))).status == 401
    assert (await bench.ask("GET", headers=[*key(), *key(OTHER, name=name)])).status == 200
    assert echo.sent(name) == []


async def test_a_route_may_take_both(serve, bench, echo):
    serve(("token", "api_key"))
    assert (await bench.ask("GET", headers=key())).status == 200
    assert (await bench.ask("GET", headers=bearer())).status == 200
    assert echo.sent("authorization") == ["Bearer good"]
    assert (await bench.ask("GET", headers=bearer("fresh"))).status == 200
    assert (await bench.ask("GET", headers=bearer("bad"))).status == 401


async def test_two_credentials_at_once_are_400(serve, echo):
    """RFC 6750 section 3.1: they may speak for two senders."""
    answer = await serve(("token", "api_key")).ask("GET", headers=[*key(), *bearer()])
    assert (answer.status, answer["www-authenticate"]) == (400, 'Bearer error="invalid_request"')
    assert echo.scopes == []


async def test_a_token_is_nothing_where_only_keys_are_taken(serve, bench):
    assert (await serve().ask("GET", headers=bearer())).status == 401
    assert bench.tokens.verified == []


async def test_an_optional_key_may_be_absent_but_not_wrong(serve, bench):
    serve(auth="optional")
    assert (await bench.ask("GET")).status == 200
    assert (await bench.ask("GET", headers=key())).status == 200
    assert (await bench.ask("GET", headers=key("wrong"))).status == 401


@pytest.mark.parametrize(
    "settings", [{"accept": ("token",)}, {"accept": ("token", "api_key"), "auth": "none"}]
)
async def test_where_no_keys_are_taken_they_end_at_the_gateway_too(serve, echo, settings):
    """A key sent to the wrong route must not reach a service that could use it elsewhere."""
    answer = await serve(**({"auth": "optional"} | settings)).ask(
        "GET", headers=[*key(), *key("a", "x_api_key")]
    )
    assert answer.status == 200
    assert echo.sent("x-api-key") == echo.sent("x_api_key") == []


async def test_without_keys_of_the_gateway_the_field_is_the_services_business(bench, echo):
    await bench.serve(echo).ask("GET", headers=key("theirs"))
    assert echo.sent("x-api-key") == ["theirs"]


async def test_keys_are_counted_by_their_name(serve, bench):
    rules = (RateRule(limit=Rate(1, 60.0), by="api_key"), RateRule(limit=Rate(1, 60.0), by="user"))
    serve(("token", "api_key"), rate_limits=rules)
    assert [(await bench.ask("GET", headers=key())).status for _ in range(2)] == [200, 429]
    assert (await bench.ask("GET", headers=key(OTHER))).status == 200
    assert [(await bench.ask("GET", headers=bearer())).status for _ in range(2)] == [200, 429]


async def test_a_key_has_the_scopes_and_the_role_of_its_table(serve, bench):
    serve(scopes=frozenset({"orders:read"}), roles=frozenset({"bot"}))
    assert (await bench.ask("GET", headers=key())).status == 200
    assert (await bench.ask("GET", headers=key(OTHER))).status == 403


async def test_a_key_is_in_no_log(serve, bench, caplog):
    with caplog.at_level(logging.DEBUG):
        await serve().ask("GET", headers=key())
        await bench.ask("GET", headers=key("micro_" + "x" * 43))
    assert KEY not in caplog.text + repr(bench.log)
    assert [record.subject for record in bench.log] == ["ci", ""]


def test_a_route_that_takes_keys_needs_some(bench, echo, signer):
    route = Route(path="/", service="app", auth="required", accept=("api_key",))
    with pytest.raises(ConfigurationError, match="micro token NAME --api-key"):
        bench.serve(echo, routes=[route])


def test_keys_need_somebody_who_signs(bench, echo):
    route = Route(path="/", service="app", auth="required", accept=("api_key",))
    with pytest.raises(ConfigurationError, match=r"gateway\.api_keys"):
        bench.serve(echo, routes=[route], api_keys=KEYS)


def test_one_key_under_two_names_is_refused(bench, echo, signer):
    """Nobody could tell which role it has."""
    route = Route(path="/", service="app", auth="required", accept=("api_key",))
    twice = {"a": KEYS["ci"], "b": ApiKey(hash=KEYS["ci"].hash)}
    with pytest.raises(ConfigurationError, match="two names have the same hash"):
        bench.serve(echo, routes=[route], api_keys=twice)


def test_a_route_that_takes_no_credential_at_all_is_refused(bench, echo):
    with pytest.raises(ConfigurationError, match="accept names no credential"):
        bench.serve(echo, routes=[Route(path="/", service="app", auth="required", accept=())])


async def test_what_a_route_takes_is_explained(serve, bench):
    serve(("token", "api_key"))
    assert "auth: a bearer token or an API key is required" in bench.gateway.explain("GET", "/")["policies"]
    serve(auth="optional")
    assert "auth: an API key is optional" in bench.gateway.explain("GET", "/")["policies"]
    serve(("token",), auth="none")
    assert "api keys: not taken here, and not sent on" in bench.gateway.explain("GET", "/")["policies"]
