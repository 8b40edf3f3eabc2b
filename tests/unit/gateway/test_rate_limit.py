"""The limit per address, and what clients are told of it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from micro.cache.ports import Hit
from micro.gateway.exchange import Exchange
from micro.gateway.policies.rate_limit import RateLimit
from micro.gateway_spec import Route
from micro.terms import Rate

# One member of a List of RFC 9651: a quoted string, and parameters that are whole numbers.
ITEM = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"((?:;[a-z]+=\d{1,15})*)')


def item(value):
    """A structured field that holds one item: its string and its parameters."""
    match = ITEM.fullmatch(value)
    assert match, value
    return match[1], {name: int(number) for name, number in re.findall(r";([a-z]+)=(\d+)", match[2])}


async def test_requests_beyond_the_limit_are_429_until_the_window_has_moved_on(bench, echo):
    bench.serve(echo, rate_limit=Rate(3, 60.0))
    assert [(await bench.ask("GET")).status for _ in range(5)] == [200, 200, 200, 429, 429]
    await bench.clock.advance(59)
    assert (await bench.ask("GET")).status == 429
    await bench.clock.advance(1)
    assert (await bench.ask("GET")).status == 200
    assert len(echo.scopes) == 4


async def test_every_answer_says_what_is_left(bench, echo):
    bench.serve(echo, rate_limit=Rate(3, 60.0))
    for left in (2, 1, 0):
        answer = await bench.ask("GET")
        assert item(answer["ratelimit-policy"]) == ("default", {"q": 3, "w": 60})
        assert item(answer["ratelimit"]) == ("default", {"r": left, "t": 60})
        assert "retry-after" not in answer


async def test_a_refusal_says_when_to_come_back_and_its_fields_agree(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    await bench.ask("GET")
    await bench.clock.advance(12.5)
    answer = await bench.ask("GET")
    assert answer.status == 429
    assert answer["content-type"] == "application/problem+json"
    assert answer["retry-after"] == "48"
    assert item(answer["ratelimit"]) == ("default", {"r": 0, "t": 48})
    assert answer["cache-control"] == "no-store"
    assert answer["proxy-status"] == "micro; error=http_request_error"


async def test_a_refusal_never_says_to_come_back_at_once(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    bench.window.hit = lambda key, limit, period: Hit(False, 0, 0.0)
    answer = await bench.ask("GET")
    assert (answer["retry-after"], item(answer["ratelimit"])[1]["t"]) == ("1", 1)


async def test_addresses_are_counted_apart(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    assert (await bench.ask("GET", client=("192.0.2.1", 1))).status == 200
    assert (await bench.ask("GET", client=("192.0.2.1", 2))).status == 429
    assert (await bench.ask("GET", client=("192.0.2.2", 1))).status == 200


async def test_one_ipv6_network_of_64_bits_is_one_client(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    assert (await bench.ask("GET", client=("2001:db8:0:1::1", 1))).status == 200
    assert (await bench.ask("GET", client=("2001:db8:0:1:ffff::2", 1))).status == 429
    assert (await bench.ask("GET", client=("2001:db8:0:2::1", 1))).status == 200


async def test_an_ipv4_mapped_address_is_the_same_client(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    assert (await bench.ask("GET", client=("192.0.2.1", 1))).status == 200
    assert (await bench.ask("GET", client=("::ffff:192.0.2.1", 1))).status == 429


async def test_a_stranger_cannot_choose_whom_it_is_counted_as(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    statuses = [
        (await bench.ask("GET", headers=[("x-forwarded-for", f"192.0.2.{number}")])).status
        for number in range(3)
    ]
    assert statuses == [200, 429, 429]


async def test_behind_a_trusted_proxy_its_clients_are_counted(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0), trusted_proxies=("10.0.0.1",))

    async def ask(forwarded):
        return (
            await bench.ask("GET", headers=[("x-forwarded-for", forwarded)], client=("10.0.0.1", 1))
        ).status

    assert [await ask("192.0.2.1"), await ask("6.6.6.6, 192.0.2.1"), await ask("192.0.2.2")] == [
        200,
        429,
        200,
    ]


async def test_a_route_has_a_limit_of_its_own_instead(bench, echo):
    routes = [
        Route(path="/", service="app"),
        Route(path="/login", service="app", methods=frozenset({"POST"}), rate_limit=Rate(1, 10.0)),
    ]
    bench.serve(echo, routes=routes, rate_limit=Rate(2, 60.0))
    assert [(await bench.ask("POST", "/login")).status for _ in range(2)] == [200, 429]
    answer = await bench.ask("GET", "/")
    assert item(answer["ratelimit"]) == ("default", {"r": 1, "t": 60})
    answer = await bench.ask("POST", "/login")
    assert item(answer["ratelimit-policy"]) == ("POST /login", {"q": 1, "w": 10})


async def test_routes_without_a_limit_of_their_own_share_the_gateways(bench, echo):
    routes = [Route(path="/a", service="app"), Route(path="/b", service="app")]
    bench.serve(echo, routes=routes, rate_limit=Rate(2, 60.0))
    assert [(await bench.ask("GET", path)).status for path in ("/a", "/b", "/a", "/b")] == [
        200,
        200,
        429,
        429,
    ]


async def test_only_routed_requests_count(bench, echo):
    bench.serve(echo, routes=[Route(path="/a", service="app")], rate_limit=Rate(1, 60.0))
    for target in ("/health", "/openapi.json", "/docs", "/metrics", "/nowhere"):
        answer = await bench.ask("GET", target)
        assert answer.status in {200, 403, 404}
        assert "ratelimit" not in answer
    assert (await bench.ask("GET", "/a")).status == 200


async def test_a_request_that_is_refused_later_counts_and_says_so(bench, echo):
    """A flood of bad tokens is limited like any other."""
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")], rate_limit=Rate(1, 60.0))
    answer = await bench.ask("GET")
    assert (answer.status, item(answer["ratelimit"])[1]["r"]) == (401, 0)
    assert (await bench.ask("GET")).status == 429


async def test_a_window_on_the_network_is_waited_for(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0), routes=[Route(path="/", service="app", auth="required")])
    at_once = bench.window.hit

    async def hit(key, limit, period):
        return at_once(key, limit, period)

    bench.window.hit = hit
    headers = [("authorization", "Bearer fresh")]
    assert [(await bench.ask("GET", headers=headers)).status for _ in range(2)] == [200, 429]
    assert bench.tokens.verified == ["fresh"]


async def test_without_a_limit_nothing_is_said_of_one(bench, echo):
    answer = await bench.serve(echo, rate_limit=None).ask("GET")
    assert not {"ratelimit", "ratelimit-policy"} & {name.decode() for name, _ in answer.headers}


async def test_a_services_own_fields_stand_beside_the_gateways(bench, make_echo):
    bench.serve(make_echo([("ratelimit", '"own";r=1;t=1')]), rate_limit=Rate(5, 60.0))
    answer = await bench.ask("GET")
    assert answer.all("ratelimit") == ['"own";r=1;t=1', '"default";r=4;t=60']


@given(
    limit=st.integers(1, 10**9),
    period=st.floats(0.1, 1e6),
    name=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    reset=st.floats(0, 1e6),
    allowed=st.booleans(),
)
def test_the_fields_are_well_formed_whatever_the_numbers(limit, period, name, reset, allowed):
    hit = Hit(allowed, limit - 1 if allowed else 0, reset)

    class Fixed:
        def hit(self, key, limit, period):
            return hit

    policy = RateLimit(Fixed(), Rate(limit, period), name=name)
    exchange = Exchange("GET", b"/", [])
    exchange.client, exchange.request_id, exchange.fields = "192.0.2.1", "x", []
    refusal = policy.on_request(exchange)
    assert (refusal is None) == allowed
    policy.on_response(exchange)
    fields = {key: value.decode() for key, value in exchange.fields}
    text, declared = item(fields[b"ratelimit-policy"])
    assert text.replace("\\\\", "\\").replace('\\"', '"') == name or "\\" in name
    assert declared["q"] == limit
    assert declared["w"] >= period
    assert item(fields[b"ratelimit"])[1]["r"] == hit.remaining
    if refusal is not None:
        retry = next(value for key, value in refusal.headers if key == b"retry-after")
        assert int(retry) == item(fields[b"ratelimit"])[1]["t"] >= max(1, reset)
