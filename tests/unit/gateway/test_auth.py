"""Bearer tokens at the gateway: RFC 6750."""

from __future__ import annotations

from dataclasses import replace

import pytest

from micro.errors import CallError, TokenError
from micro.spec.gateway import Route


def serve(bench, echo, rule):
    return bench.serve(echo, routes=[Route(path="/", service="app", auth=rule)])


def bearer(token, scheme="Bearer"):
    return [("authorization", f"{scheme} {token}")]


async def test_a_known_token_passes_at_once(bench, echo):
    answer = await serve(bench, echo, "required").ask("GET", headers=bearer("good"))
    assert answer.status == 200
    assert bench.tokens.verified == []


async def test_a_token_that_was_never_seen_is_verified(bench, echo):
    answer = await serve(bench, echo, "required").ask("GET", headers=bearer("fresh"))
    assert answer.status == 200
    assert bench.tokens.verified == ["fresh"]


@pytest.mark.parametrize("token", ["good", "fresh"])
async def test_the_token_goes_on_to_the_service(bench, echo, token):
    await serve(bench, echo, "required").ask("GET", headers=bearer(token))
    assert echo.sent("authorization") == [f"Bearer {token}"]


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "BeArEr"])
async def test_the_scheme_is_compared_without_case(bench, echo, scheme):
    assert (await serve(bench, echo, "required").ask("GET", headers=bearer("fresh", scheme))).status == 200


async def test_no_token_is_401_with_a_bare_challenge(bench, echo):
    answer = await serve(bench, echo, "required").ask("GET")
    assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["title"] == "Unauthorized"
    assert echo.scopes == []


@pytest.mark.parametrize("rule", ["required", "optional"])
async def test_a_bad_token_is_401_and_says_so(bench, echo, rule):
    answer = await serve(bench, echo, rule).ask("GET", headers=bearer("expired"))
    assert (answer.status, answer["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert answer.json()["detail"] == "The token has expired."
    assert answer["proxy-status"] == "micro; error=http_request_error"
    assert echo.scopes == []


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer a b", "Bearer \xe4", "Basic dTpw", "", "good", "Bearer, good"]
)
async def test_a_malformed_field_is_401_where_a_token_is_required(bench, echo, value):
    answer = await serve(bench, echo, "required").ask("GET", headers=[("authorization", value)])
    assert answer.status == 401
    assert answer["www-authenticate"].startswith("Bearer")
    assert bench.tokens.verified == []


async def test_two_tokens_are_401(bench, echo):
    answer = await serve(bench, echo, "required").ask("GET", headers=[*bearer("good"), *bearer("good")])
    assert answer.status == 401
    assert bench.tokens.verified == []


async def test_an_optional_token_may_be_absent(bench, echo):
    assert (await serve(bench, echo, "optional").ask("GET")).status == 200


@pytest.mark.parametrize("value", ["Basic dTpw", "Digest x", "Bearer"])
async def test_where_a_token_is_optional_another_scheme_is_the_services_business(bench, echo, value):
    assert (await serve(bench, echo, "optional").ask("GET", headers=[("authorization", value)])).status == 200
    assert echo.sent("authorization") == [value]


async def test_an_optional_token_that_is_there_is_checked(bench, echo):
    assert (await serve(bench, echo, "optional").ask("GET", headers=bearer("good"))).status == 200
    assert (await bench.ask("GET", headers=bearer("a b"))).status == 401


async def test_an_open_route_looks_at_no_token(bench, echo):
    answer = await serve(bench, echo, "none").ask("GET", headers=bearer("expired"))
    assert answer.status == 200
    assert bench.tokens.verified == []


async def test_keys_out_of_reach_are_503_and_worth_another_try(bench, echo, caplog):
    bench.tokens.failure = CallError("user: no answer from 10.0.0.5")
    answer = await serve(bench, echo, "required").ask("GET", headers=bearer("new"))
    assert (answer.status, answer["retry-after"]) == (503, "1")
    assert answer["proxy-status"] == "micro; error=destination_unavailable"
    assert b"10.0.0.5" not in answer.body
    assert "10.0.0.5" in caplog.text


async def test_the_identity_is_kept_in_the_exchange(bench, echo):
    from micro.gateway.exchange import Exchange
    from micro.gateway.policies.auth import Authentication

    policy = Authentication(bench.tokens, required=True)
    exchange = Exchange("GET", b"/", [(b"authorization", b"Bearer good")])
    exchange.started = 0.0
    assert policy.on_request(exchange) is None
    assert exchange.identity.subject == "ann"
    exchange = Exchange("GET", b"/", [(b"authorization", b"Bearer fresh")])
    assert await policy.on_request(exchange) is None
    assert exchange.identity.subject == "bob"


async def test_a_field_that_was_just_accepted_is_asked_about_again_after_a_moment(bench, echo):
    serve(bench, echo, "required")
    assert (await bench.ask("GET", headers=bearer("good"))).status == 200
    bench.tokens.known = {}
    bench.tokens.failure = TokenError("The token has expired.")
    assert (await bench.ask("GET", headers=bearer("good"))).status == 200
    await bench.clock.advance(0.1)
    assert (await bench.ask("GET", headers=bearer("good"))).status == 401
    assert (await bench.ask("GET", headers=bearer("good"))).status == 401


async def test_what_one_field_was_accepted_for_says_nothing_of_another(bench, echo):
    serve(bench, echo, "required")
    assert (await bench.ask("GET", headers=bearer("good"))).status == 200
    assert (await bench.ask("GET", headers=bearer("goo"))).status == 401
    assert (await bench.ask("GET", headers=bearer("fresh", "bearer"))).status == 200
    assert bench.tokens.verified == ["goo", "fresh"]


async def test_many_tokens_are_each_whose_they_are(bench, echo):
    """Beyond what is remembered, too."""
    good = bench.tokens.known["good"]
    names = [f"user{number}" for number in range(600)]
    bench.tokens.known = {name: replace(good, subject=name) for name in names}
    serve(bench, echo, "required")
    for name in (*names, *names[:5]):
        assert (await bench.ask("GET", headers=bearer(name))).status == 200
    assert [record.subject for record in bench.log] == [*names, *names[:5]]


async def test_below_a_route_that_requires_a_token_401_comes_before_the_services_answer(bench, make_echo):
    bench.serve(make_echo(status=404), routes=[Route(path="/a", service="app", auth="required")])
    assert (await bench.ask("PATCH", "/a/unknown")).status == 401
    assert (await bench.ask("PATCH", "/a/unknown", headers=bearer("good"))).status == 404


async def test_a_refused_token_leaves_nothing_behind(bench, echo):
    serve(bench, echo, "required")
    bench.tokens.failure = TokenError("The token is malformed.")
    for _ in range(3):
        assert (await bench.ask("GET", headers=bearer("junk"))).status == 401
    assert bench.tokens.verified == ["junk"] * 3


async def test_a_flood_of_tokens_that_nobody_made_is_not_remembered(bench):
    from micro.gateway.exchange import Exchange
    from micro.gateway.policies.auth import Authentication

    policy = Authentication(bench.tokens, required=True)
    bench.tokens.failure = TokenError("The token is malformed.")
    for number in range(300):
        exchange = Exchange("GET", b"/", [(b"authorization", b"Bearer %d" % number)])
        exchange.request_id = ""
        assert (await policy.on_request(exchange)).status == 401
    assert policy._fields == {}
