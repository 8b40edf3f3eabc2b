"""Shedding and the route's breaker in a gateway: what they count, whatever way a request ends."""

from __future__ import annotations

import asyncio

import pytest

from micro.spec.gateway import Route
from micro.spec.terms import Rate
from micro.spec.upstream import BreakerSpec

LIMIT = 60.0
BREAKER = BreakerSpec(failure_rate=50, requests=4, open=5.0)


async def starts(send, headers=()):
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})


class Hanging:
    """An app that answers when it is told to."""

    def __init__(self):
        self.reached = 0
        self.go = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.reached += 1
        await self.go.wait()
        await starts(send)
        await send({"type": "http.response.body", "body": b"at last"})

    async def has(self, requests, bench):
        """Return once so many have come."""
        async with asyncio.timeout(LIMIT):
            while self.reached < requests:
                await bench.clock.advance(0)


async def fails(scope, receive, send):
    raise RuntimeError("broken")


async def says_nothing(scope, receive, send):
    return


async def breaks_off(scope, receive, send):
    await starts(send, [(b"content-length", b"10")])
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})
    raise RuntimeError("broken")


async def answers(scope, receive, send):
    await starts(send)
    await send({"type": "http.response.body", "body": b"ok"})


async def refuses(scope, receive, send):
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_one_more_than_the_limit_is_refused_and_health_answers_all_the_same(bench):
    app = Hanging()
    bench.serve(app, max_requests=2)
    held = [bench.open("GET", "/a"), bench.open("GET", "/b")]
    await app.has(2, bench)
    refused = await bench.ask("GET", "/c")
    assert refused.status == 503
    assert int(refused["retry-after"]) >= 1
    assert refused.json()["status"] == 503
    for _ in range(5):
        assert (await bench.ask("GET", "/health")).status == 200
    assert (await bench.ask("GET", "/nowhere-is-a-route-too")).status == 503
    app.go.set()
    assert [(await wire.end()).status for wire in held] == [200, 200]
    assert (await bench.ask("GET", "/d")).status == 200


@pytest.mark.parametrize("app", [answers, fails, says_nothing, breaks_off, refuses])
async def test_whatever_an_app_does_a_request_is_in_hand_no_more_when_it_has_ended(bench, app):
    bench.serve(app, max_requests=1)
    first = (await bench.ask("GET")).status
    assert [(await bench.ask("GET")).status for _ in range(5)] == [first] * 5
    assert "micro_gateway_shed_total 0" in bench.metrics.render()


async def test_what_later_policies_refuse_is_in_hand_no_more(bench, echo):
    routes = [Route(path="/", service="app", auth="required", max_body=3, rate_limit=Rate(3, 60.0))]
    bench.serve(echo, routes=routes, max_requests=1)
    token = [("authorization", "Bearer good")]
    seen = [
        (await bench.ask("GET")).status,
        (await bench.ask("GET", headers=[("authorization", "Bearer expired")])).status,
        (await bench.ask("POST", headers=token, body=b"too much")).status,
        (await bench.ask("POST", headers=token, chunks=[b"too", b"much"])).status,
        (await bench.ask("GET", headers=token)).status,
    ]
    assert seen == [401, 401, 413, 413, 429]
    assert "micro_gateway_shed_total 0" in bench.metrics.render()


async def test_a_policy_that_waits_and_fails_leaves_nothing_in_hand(bench, echo):
    bench.tokens.failure = RuntimeError("the keys can't be read")
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")], max_requests=1)
    for _ in range(3):
        answer = await bench.ask("GET", headers=[("authorization", "Bearer other")])
        assert answer.status == 500
    assert "micro_gateway_shed_total 0" in bench.metrics.render()


async def test_a_deadline_ends_what_was_in_hand(bench):
    app = Hanging()
    bench.serve(app, routes=[Route(path="/", service="app", timeout=1.0)], max_requests=1)
    for _ in range(3):
        wire = bench.open("GET")
        await bench.clock.advance(1.5)
        assert (await wire.end()).status == 504
    assert "micro_gateway_shed_total 0" in bench.metrics.render()


async def test_a_client_that_leaves_is_in_hand_no_more(bench):
    app = Hanging()
    bench.serve(app, max_requests=1)
    for number in (1, 2, 3):
        wire = bench.open("GET")
        await app.has(number, bench)
        wire.leave()
        await bench.clock.advance(10)
        await asyncio.wait({wire.task})
    assert "micro_gateway_shed_total 0" in bench.metrics.render()


async def test_a_request_that_the_server_cancels_is_in_hand_no_more(bench):
    app = Hanging()
    bench.serve(app, max_requests=1)
    for number in (1, 2, 3):
        wire = bench.open("GET")
        await app.has(number, bench)
        wire.task.cancel()
        await asyncio.wait({wire.task})
    assert "micro_gateway_shed_total 0" in bench.metrics.render()


@pytest.mark.parametrize(("app", "status"), [(fails, 502), (says_nothing, 502), (refuses, 503)])
async def test_a_route_that_fails_is_left_alone_and_comes_back(bench, app, status):
    calls = []

    async def service(scope, receive, send):
        calls.append(scope["path"])
        await (app if len(calls) <= 4 else answers)(scope, receive, send)

    bench.serve(service, routes=[Route(path="/", service="app", breaker=BREAKER)])
    assert [(await bench.ask("GET")).status for _ in range(4)] == [status] * 4
    refused = await bench.ask("GET")
    assert (refused.status, refused["retry-after"]) == (503, "5")
    assert refused["proxy-status"] == "micro; error=destination_unavailable"
    assert len(calls) == 4
    await bench.clock.advance(5)
    assert [(await bench.ask("GET")).status for _ in range(3)] == [200] * 3


async def test_an_answer_that_breaks_off_counts_as_a_failure(bench):
    bench.serve(breaks_off, routes=[Route(path="/", service="app", breaker=BREAKER)])
    for _ in range(4):
        assert (await bench.ask("GET")).broken
    assert (await bench.ask("GET")).status == 503


async def test_one_route_s_breaker_is_no_other_s(bench):
    async def service(scope, receive, send):
        await (refuses if scope["path"].startswith("/bad") else answers)(scope, receive, send)

    routes = [
        Route(path="/bad", service="app", breaker=BREAKER),
        Route(path="/good", service="app", breaker=BREAKER),
    ]
    bench.serve(service, routes=routes)
    for _ in range(6):
        await bench.ask("GET", "/bad")
    assert "destination_unavailable" in (await bench.ask("GET", "/bad"))["proxy-status"]
    assert (await bench.ask("GET", "/good")).status == 200


async def test_a_trial_that_is_cancelled_makes_way_for_another(bench):
    calls, hanging = [], Hanging()

    async def service(scope, receive, send):
        calls.append(scope["path"])
        app = refuses if len(calls) <= 4 else hanging if len(calls) == 5 else answers
        await app(scope, receive, send)

    bench.serve(service, routes=[Route(path="/", service="app", breaker=BREAKER)])
    for _ in range(4):
        await bench.ask("GET")
    await bench.clock.advance(5)
    trial = bench.open("GET")
    await hanging.has(1, bench)
    assert (await bench.ask("GET")).status == 503
    trial.task.cancel()
    await asyncio.wait({trial.task})
    assert (await bench.ask("GET")).status == 200
