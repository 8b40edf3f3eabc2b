"""What is in force, how it is replaced, and how it is shown."""

from __future__ import annotations

import asyncio

import pytest

from micro.errors import ConfigurationError
from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Cors, GatewaySpec, Route
from micro.spec.terms import Rate


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ([Route(path="/", service="nobody")], "no service is called 'nobody'"),
        ([Route(path="a", service="app")], "not a path"),
        ([Route(path="/a/../b", service="app")], "dot segment"),
        ([Route(path="/a", service="app"), Route(path="/a/", service="app")], "two routes for /a"),
        ([Route(path="/%61", service="app"), Route(path="/a", service="app")], "two routes for /a"),
        ([Route(path="/a%2Fb", service="app"), Route(path="/a/b", service="app")], "two routes for /a/b"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_starts(bench, echo, routes, reason):
    with pytest.raises(ConfigurationError, match=reason):
        bench.serve(echo, routes=routes)


async def test_a_route_may_be_written_with_encoded_characters(bench, echo):
    bench.serve(echo, routes=[Route(path="/%7Eann/%C3%A4", service="app")])
    assert (await bench.ask("GET", "/~ann/%C3%A4")).status == 200


async def test_another_specification_takes_effect_at_once(bench, echo):
    bench.serve(echo)
    bench.gateway.reconfigure(GatewaySpec(routes=(Route(path="/b", service="app"),), max_body=1))
    assert (await bench.ask("GET", "/a")).status == 404
    assert (await bench.ask("POST", "/b", body=b"xx")).status == 413
    assert bench.gateway.spec.max_body == 1


async def test_a_specification_that_cannot_be_served_changes_nothing(bench, echo):
    bench.serve(echo)
    spec = bench.gateway.spec
    for broken in (
        GatewaySpec(routes=(Route(path="/", service="nobody"),)),
        GatewaySpec(trusted_proxies=("nonsense",)),
        GatewaySpec(cors=Cors(origins=("*",), credentials=True)),
    ):
        with pytest.raises(ConfigurationError):
            bench.gateway.reconfigure(broken, {})
    assert bench.gateway.spec is spec
    assert (await bench.ask("GET")).status == 200


async def test_other_upstreams_come_with_the_specification(bench, echo, make_echo):
    bench.serve(echo)
    upstreams = {"new": LocalUpstream(make_echo(body=b"new"))}
    bench.gateway.reconfigure(GatewaySpec(routes=(Route(path="/", service="new"),)), upstreams)
    assert (await bench.ask("GET")).body == b"new"
    bench.gateway.reconfigure(GatewaySpec(routes=(Route(path="/x", service="new"),)))
    assert (await bench.ask("GET", "/x")).body == b"new"


async def test_a_request_in_flight_finishes_by_what_it_began_with(bench):
    go_on, entered = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        entered.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"old"})

    bench.serve(app, cors=Cors(origins=("*",)), routes=[Route(path="/", service="app", timeout=10)])
    wire = bench.open("GET")
    async with asyncio.timeout(60):
        await entered.wait()
    bench.gateway.reconfigure(GatewaySpec(routes=()), {})
    await bench.clock.advance(2)
    go_on.set()
    answer = await wire.end()
    assert (answer.status, answer.body, answer["access-control-allow-origin"]) == (200, b"old", "*")
    assert (await bench.ask("GET")).status == 404


async def test_what_was_counted_still_counts(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    await bench.ask("GET")
    bench.gateway.reconfigure(GatewaySpec(routes=(Route(path="/", service="app"),), rate_limit=Rate(1, 60.0)))
    assert (await bench.ask("GET")).status == 429


async def test_a_lifespan_is_completed(bench, echo):
    bench.serve(echo)
    incoming = asyncio.Queue()
    for kind in ("startup", "shutdown"):
        incoming.put_nowait({"type": f"lifespan.{kind}"})
    sent = []

    async def send(message):
        sent.append(message["type"])

    await bench.gateway({"type": "lifespan"}, incoming.get, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_gateway_may_be_closed_before_and_after_use(bench, echo):
    bench.serve(echo)
    await bench.gateway.close()
    assert (await bench.ask("GET")).status == 200
    await bench.gateway.close()
    await bench.gateway.close()
