"""The limit per address, and what clients are told of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.cache.memory import MemoryCache
from micro.cache.ports import Hit
from micro.gateway.exchange import Exchange
from micro.gateway.policies.rate_limit import Meter, RateLimit, RateLimits
from micro.service import Identity
from micro.spec.gateway import RateRule, Route
from micro.spec.terms import Rate
from micro.testing import FakeClock

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


async def test_more_clients_than_are_remembered_are_counted_each_by_itself(bench, echo):
    limiter = RateLimit(bench.window, Meter("m", Rate(2, 60.0)))
    for _ in range(2):
        for number in range(1100):
            exchange = Exchange("GET", b"/", [])
            exchange.client = f"10.0.{number >> 8}.{number & 255}"
            assert limiter.on_request(exchange) is None
    assert len(limiter._keys) <= 1024


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
    name=st.text(alphabet=st.characters(exclude_categories=["Cc"]), max_size=20),
    reset=st.floats(0, 1e6),
    allowed=st.booleans(),
)
def test_the_fields_are_well_formed_whatever_the_numbers(limit, period, name, reset, allowed):
    hit = Hit(allowed, limit - 1 if allowed else 0, reset)

    class Fixed:
        def hit(self, key, limit, period):
            return hit

    policy = RateLimit(Fixed(), Meter(name, Rate(limit, period)))
    exchange = exchange_of("192.0.2.1")
    refusal = policy.on_request(exchange)
    assert (refusal is None) == allowed
    policy.on_response(exchange)
    fields = {key: value.decode("ascii") for key, value in exchange.fields}
    text, declared = item(fields[b"ratelimit-policy"])
    if name.isascii() and "\\" not in name and name.isprintable():
        assert text.replace('\\"', '"') == name
    assert declared["q"] == limit
    assert declared["w"] >= period
    assert item(fields[b"ratelimit"])[1]["r"] == hit.remaining
    if refusal is not None:
        retry = next(value for key, value in refusal.headers if key == b"retry-after")
        assert int(retry) == item(fields[b"ratelimit"])[1]["t"] >= max(1, reset)


def exchange_of(client, identity=None):
    exchange = Exchange("GET", b"/", [])
    exchange.client, exchange.request_id, exchange.fields = client, "x", []
    exchange.identity = identity
    return exchange


# -- several limits at once --------------------------------------------------------------------------------------------


def items(value):
    """A List of RFC 9651: each member's string with its parameters."""
    members = ITEM.findall(value)
    assert ", ".join(f'"{text}"{parameters}' for text, parameters in members) == value
    return {
        text: {name: int(number) for name, number in re.findall(r";([a-z]+)=(\d+)", parameters)}
        for text, parameters in members
    }


def rule(limit, period, by="ip", burst=0):
    return RateRule(limit=Rate(limit, period), by=by, burst=burst)


def bearer(token="good"):  # noqa: S107 # made up
    return [("authorization", f"Bearer {token}")]


async def test_several_limits_are_told_as_one_list(bench, echo):
    bench.serve(echo, rate_limit=Rate(100, 60.0), rate_limits=(rule(1000, 3600.0), rule(5, 1.0)))
    answer = await bench.ask("GET")
    assert items(answer["ratelimit-policy"]) == {
        "default": {"q": 100, "w": 60},
        "ip": {"q": 1000, "w": 3600},
        "ip 2": {"q": 5, "w": 1},
    }
    assert items(answer["ratelimit"]) == {
        "default": {"r": 99, "t": 60},
        "ip": {"r": 999, "t": 3600},
        "ip 2": {"r": 4, "t": 1},
    }


async def test_the_narrowest_limit_refuses_and_the_others_do_not_count_it(bench, echo):
    bench.serve(echo, rate_limit=Rate(100, 60.0), rate_limits=(rule(2, 10.0),))
    answers = [await bench.ask("GET") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429, 429]
    assert items(answers[-1]["ratelimit"]) == {"default": {"r": 98, "t": 60}, "ip": {"r": 0, "t": 10}}
    assert answers[-1]["retry-after"] == "10"
    assert answers[-1].json()["detail"] == "At most 2 requests in 10 seconds."
    assert answers[-1]["cache-control"] == "no-store"


async def test_a_refusal_by_several_limits_says_to_wait_for_the_last_of_them(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0), rate_limits=(rule(1, 10.0),))
    await bench.ask("GET")
    await bench.clock.advance(3)
    answer = await bench.ask("GET")
    assert answer["retry-after"] == "57"
    assert items(answer["ratelimit"]) == {"default": {"r": 0, "t": 57}, "ip": {"r": 0, "t": 7}}
    await bench.clock.advance(57)
    assert (await bench.ask("GET")).status == 200


async def test_a_burst_is_what_comes_within_one_second(bench, echo):
    bench.serve(echo, rate_limits=(rule(100, 60.0, burst=2),))
    answers = [await bench.ask("GET") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2]["retry-after"] == "1"
    assert items(answers[2]["ratelimit-policy"]) == {"ip": {"q": 100, "w": 60}, "ip burst": {"q": 2, "w": 1}}
    assert items(answers[2]["ratelimit"])["ip"] == {"r": 98, "t": 60}
    await bench.clock.advance(0.999)
    assert (await bench.ask("GET")).status == 429
    await bench.clock.advance(0.001)
    assert (await bench.ask("GET")).status == 200


async def test_users_are_counted_by_who_they_are_wherever_they_come_from(bench, echo):
    bench.serve(
        echo, routes=[Route(path="/", service="app", auth="required", rate_limits=(rule(1, 60.0, "user"),))]
    )
    assert (await bench.ask("GET", headers=bearer(), client=("192.0.2.1", 1))).status == 200
    answer = await bench.ask("GET", headers=bearer(), client=("192.0.2.2", 1))
    assert (answer.status, items(answer["ratelimit"])) == (429, {"/ user": {"r": 0, "t": 60}})
    assert (await bench.ask("GET", headers=bearer("fresh"), client=("192.0.2.1", 1))).status == 200


async def test_users_of_one_name_at_two_issuers_are_two(bench, echo):
    bench.serve(
        echo, routes=[Route(path="/", service="app", auth="required", rate_limits=(rule(1, 60.0, "user"),))]
    )
    bench.tokens.known["theirs"] = replace(bench.tokens.known["good"], issuer="https://id.example")
    assert (await bench.ask("GET", headers=bearer())).status == 200
    assert (await bench.ask("GET", headers=bearer("theirs"))).status == 200
    assert (await bench.ask("GET", headers=bearer("theirs"))).status == 429


@pytest.mark.parametrize("limits", [1, 2])
async def test_a_limit_per_user_leaves_strangers_to_the_others(bench, echo, limits):
    rules = tuple(rule(1, 60.0, "user") for _ in range(limits))
    route = Route(path="/", service="app", auth="optional", rate_limits=rules)
    bench.serve(echo, routes=[route])
    for _ in range(3):
        answer = await bench.ask("GET")
        assert answer.status == 200
        assert "ratelimit" not in answer


async def test_limits_before_and_after_authentication_are_told_in_one_list(bench, echo):
    route = Route(path="/", service="app", auth="required", rate_limits=(rule(5, 10.0, "user"),))
    bench.serve(echo, routes=[route], rate_limit=Rate(9, 60.0))
    answer = await bench.ask("GET", headers=bearer())
    assert items(answer["ratelimit"]) == {"default": {"r": 8, "t": 60}, "/ user": {"r": 4, "t": 10}}
    assert len(answer.all("ratelimit")) == len(answer.all("ratelimit-policy")) == 1


async def test_a_flood_of_bad_tokens_never_reaches_the_limits_per_user(bench, echo):
    route = Route(path="/", service="app", auth="required", rate_limits=(rule(1, 60.0, "user"),))
    bench.serve(echo, routes=[route], rate_limit=Rate(2, 60.0))
    answers = [await bench.ask("GET", headers=bearer("bad")) for _ in range(4)]
    assert [answer.status for answer in answers] == [401, 401, 429, 429]
    assert bench.tokens.verified == ["bad", "bad"]
    assert items(answers[0]["ratelimit"]) == {"default": {"r": 1, "t": 60}}


async def test_a_route_s_limit_counts_everybody_together(bench, echo):
    routes = [
        Route(path="/a", service="app", rate_limits=(rule(2, 60.0, "route"),)),
        Route(path="/b", service="app"),
    ]
    bench.serve(echo, routes=routes)
    statuses = [(await bench.ask("GET", "/a", client=(f"192.0.2.{number}", 1))).status for number in range(3)]
    assert statuses == [200, 200, 429]
    assert (await bench.ask("GET", "/b")).status == 200


async def test_the_gateway_s_limit_by_route_counts_every_route_by_itself(bench, echo):
    routes = [Route(path="/a", service="app"), Route(path="/b", service="app")]
    bench.serve(echo, routes=routes, rate_limits=(rule(1, 60.0, "route"),))
    assert [(await bench.ask("GET", path)).status for path in ("/a", "/b", "/a", "/b")] == [
        200,
        200,
        429,
        429,
    ]


async def test_the_gateway_s_limits_count_the_requests_of_all_routes(bench, echo):
    routes = [
        Route(path="/a", service="app"),
        Route(path="/b", service="app", rate_limit=Rate(50, 60.0), rate_limits=(rule(50, 60.0),)),
    ]
    bench.serve(echo, routes=routes, rate_limits=(rule(2, 60.0),))
    assert [(await bench.ask("GET", path)).status for path in ("/a", "/b", "/b", "/a")] == [
        200,
        200,
        429,
        429,
    ]


async def test_routes_of_one_path_and_other_conditions_count_apart(bench, echo):
    """And what their conditions are is not told to clients."""
    routes = [
        Route(path="/", service="app", rate_limit=Rate(1, 60.0)),
        Route(path="/", service="app", rate_limit=Rate(1, 60.0), headers={"x-beta": "hidden"}),
        Route(path="/", service="app", rate_limit=Rate(1, 60.0), query={"v": "2"}),
        Route(path="/", service="app", rate_limit=Rate(1, 60.0), exact=True, host="b.localhost"),
    ]
    bench.serve(echo, routes=routes, hosts=("localhost", "b.localhost"))
    kinds = [
        {},
        {"headers": [("x-beta", "hidden")]},
        {"target": "/?v=2"},
        {"headers": [("host", "b.localhost")]},
    ]
    for expected in (200, 429):
        for kind in kinds:
            answer = await bench.ask("GET", **kind)
            assert answer.status == expected
            assert "hidden" not in answer["ratelimit-policy"]


async def test_a_window_on_the_network_counts_several_limits_exactly(bench, echo):
    """However many requests wait for it at the same time."""
    bench.serve(echo, rate_limit=Rate(10, 60.0), rate_limits=(rule(7, 30.0),))
    at_once = bench.window.hit_all
    asked = 0

    async def hit_all(quotas):
        nonlocal asked
        asked += 1
        await bench.clock.sleep(0)
        return at_once(quotas)

    bench.window.hit_all = hit_all
    answers = await asyncio.gather(*(bench.ask("GET") for _ in range(40)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [429] * 33
    assert asked == 40
    assert all(items(answer["ratelimit"])["default"]["r"] >= 3 for answer in answers)


SENDERS = [
    ("192.0.2.1", None),
    ("192.0.2.2", None),
    ("192.0.2.1", Identity(subject="ann", role="user", issuer="micro:user", expires=1e12)),
    ("192.0.2.2", Identity(subject="ann", role="user", issuer="micro:user", expires=1e12)),
    ("192.0.2.1", Identity(subject="bob", role="user", issuer="micro:user", expires=1e12)),
    ("192.0.2.2", Identity(subject="ci", role="bot", issuer="micro:stack", expires=1e12, kind="api_key")),
]
METERS = [
    Meter("by address", Rate(6, 9.0)),
    Meter("burst", Rate(2, 1.0)),
    Meter("by user", Rate(3, 7.0), by="user"),
    Meter("by key", Rate(1, 3.0), by="api_key"),
    Meter("all", Rate(9, 12.0), by="route"),
]


def subject_of(name, client, identity):
    """Whose quota it is, said once more and in other words than the policy's."""
    keyed = identity is not None and identity.kind == "api_key"
    return {
        "by address": client,
        "burst": client,
        "by user": None if identity is None or keyed else identity.subject,
        "by key": identity.subject if keyed else None,
        "all": "everybody",
    }[name]


@settings(deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(SENDERS)), max_size=60),
    meters=st.lists(st.sampled_from(METERS), min_size=2, unique=True),
)
async def test_several_limits_let_through_what_their_definition_does(requests, meters):
    """Against a list of all that was let through, counted anew for every request."""
    clock = FakeClock()
    policy = RateLimits(MemoryCache("memory:", clock=clock), meters)
    passed = []
    for wait, (client, identity) in requests:
        await clock.advance(wait * 0.25)
        now = clock.monotonic()
        exchange = exchange_of(client, identity)
        answer = policy.on_request(exchange)
        left = {}
        for meter in meters:
            name, subject = meter._name, subject_of(meter._name, client, identity)
            if subject is not None:
                count = sum(
                    subject_of(name, *sender) == subject and at > now - meter.period for at, sender in passed
                )
                left[name] = meter.limit - count
        allowed = all(left.values())
        assert (answer is None) == allowed
        policy.on_response(exchange)
        told = dict(exchange.fields).get(b"ratelimit", b"").decode()
        assert {name: told["r"] for name, told in items(told).items()} == {
            name: number - allowed for name, number in left.items()
        }
        if allowed:
            passed.append((now, (client, identity)))


@settings(deadline=None)
@given(
    waits=st.lists(st.integers(0, 3), max_size=40),
    meters=st.lists(st.sampled_from([METERS[0], METERS[1], METERS[4]]), min_size=2, unique=True),
)
async def test_who_waits_as_told_is_let_through(waits, meters):
    clock = FakeClock()
    policy = RateLimits(MemoryCache("memory:", clock=clock), meters)
    for wait in waits:
        await clock.advance(wait * 0.25)
        exchange = exchange_of("192.0.2.1")
        answer = policy.on_request(exchange)
        if answer is not None:
            retry = int(dict(answer.headers)[b"retry-after"])
            policy.on_response(exchange)
            states = items(dict(exchange.fields)[b"ratelimit"].decode()).values()
            assert max(state["t"] for state in states if state["r"] == 0) == retry
            await clock.advance(retry)
            assert policy.on_request(exchange_of("192.0.2.1")) is None


def test_limits_say_in_words_what_they_do():
    policy = RateLimits(None, [METERS[0], METERS[3], METERS[4]])
    assert str(policy) == (
        "rate limit: 6 in 9 s per address, counted as 'by address'; 1 in 3 s per API key, counted as 'by key'; "
        "9 in 12 s per route, counted as 'all'"
    )
    assert str(RateLimit(None, METERS[2])) == "rate limit: 3 in 7 s per user, counted as 'by user'"
