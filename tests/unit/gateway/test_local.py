"""The local upstream: a service's app, called in the request's own task."""

from __future__ import annotations

import asyncio

import pytest

from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route


async def test_the_app_gets_a_scope_of_its_own(bench, echo):
    bench.serve(echo)
    changes = {
        "root_path": "/theirs",
        "extensions": {"http.response.pathsend": {}},
        "state": {"gateway": 1},
        "scheme": "https",
    }
    await bench.ask("PUT", "/a%20b?x=1", headers=[("x-a", "1")], **changes)
    scope = echo.scopes[0]
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0"
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("PUT", "/a b", b"/a%20b")
    assert (scope["query_string"], scope["scheme"], scope["http_version"]) == (b"x=1", "https", "1.1")
    assert (scope["client"], scope["server"]) == (("203.0.113.7", 50123), ("127.0.0.1", 8000))
    assert (scope["root_path"], scope["state"]) == ("", {})
    assert scope["extensions"] == {}
    assert (b"x-a", b"1") in scope["headers"]
    assert echo.sent("x-forwarded-proto") == ["https"]


async def test_links_that_the_app_makes_have_the_scheme_that_the_client_used(bench, echo):
    """TLS ends at the proxy before the gateway; its word counts, a stranger's doesn't."""
    bench.serve(echo, trusted_proxies=("10.0.0.1",))
    said = [("x-forwarded-proto", "https")]
    await bench.ask("GET", headers=said, client=("10.0.0.1", 1))
    await bench.ask("GET", client=("10.0.0.1", 1))
    await bench.ask("GET", headers=said)
    assert [scope["scheme"] for scope in echo.scopes] == ["https", "http", "http"]


async def test_the_context_of_the_request_is_handed_over(bench, echo):
    answer = await bench.serve(echo).ask("GET")
    context = echo.scopes[0]["micro.context"]
    assert context.request_id == context.causation_id == context.correlation_id == answer["x-request-id"]
    assert context.traceparent == echo.sent("traceparent")[0]
    assert context.traceparent[3:35] == bench.log[0].trace_id


async def test_the_app_runs_in_the_requests_own_task(bench):
    tasks = []

    async def app(scope, receive, send):
        tasks.append(asyncio.current_task())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    wire = bench.serve(app).open("GET")
    await wire.end()
    assert tasks == [wire.task]


async def test_two_requests_share_no_state(bench, echo):
    bench.serve(echo)
    await bench.ask("GET")
    echo.scopes[0]["state"]["x"] = 1
    echo.scopes[0]["headers"].append((b"x", b"y"))
    await bench.ask("GET")
    assert echo.scopes[1]["state"] == {}
    assert echo.sent("x") == []


async def test_an_apps_own_list_of_headers_is_not_changed(bench, make_echo):
    echo = make_echo([("x-a", "1")])
    bench.serve(echo)
    for _ in range(3):
        answer = await bench.ask("GET")
    assert echo.headers == [(b"x-a", b"1")]
    assert len(answer.all("x-request-id")) == 1


async def test_names_in_capitals_are_written_small(bench, make_echo):
    answer = await bench.serve(make_echo([("X-A", "1"), ("Content-Length", "5"), ("Keep-Alive", "x")])).ask(
        "GET"
    )
    assert (answer["x-a"], answer["content-length"]) == ("1", "5")
    assert "keep-alive" not in answer


async def test_a_head_without_headers_is_one(bench):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    answer = await bench.serve(app).ask("GET")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


@pytest.fixture
def slow():
    """An app that answers when it is told to."""

    class Slow:
        def __init__(self):
            self.go_on = asyncio.Event()
            self.entered = asyncio.Event()

        async def __call__(self, scope, receive, send):
            self.entered.set()
            await self.go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"old"})

    return Slow()


async def test_a_replaced_app_finishes_what_it_began(bench, slow, make_echo):
    upstream = LocalUpstream(slow)
    bench.serve(upstreams={"app": upstream})
    wire = bench.open("GET")
    async with asyncio.timeout(60):
        await slow.entered.wait()
    before = upstream.replace(make_echo(body=b"new"))
    assert (await bench.ask("GET")).body == b"new"
    drained = asyncio.create_task(before.drained())
    await bench.clock.advance(0)
    assert (before.active, drained.done()) == (1, False)
    slow.go_on.set()
    assert (await wire.end()).body == b"old"
    async with asyncio.timeout(60):
        await drained


async def test_an_app_that_answers_nothing_is_drained_at_once(make_echo):
    upstream = LocalUpstream(make_echo())
    async with asyncio.timeout(60):
        await upstream.replace(make_echo()).drained()


async def test_draining_waits_for_every_request_and_for_failing_ones(bench, caplog):
    events = [asyncio.Event(), asyncio.Event()]

    async def app(scope, receive, send):
        await events[int(scope["path"][1:])].wait()
        raise RuntimeError("no")

    upstream = LocalUpstream(app)
    bench.serve(upstreams={"app": upstream})
    wires = [bench.open("GET", f"/{number}") for number in range(2)]
    await bench.clock.advance(0)
    waits = [asyncio.create_task(upstream._generation.drained()) for _ in range(2)]
    events[0].set()
    await wires[0].end()
    await bench.clock.advance(0)
    assert not any(wait.done() for wait in waits)
    events[1].set()
    await wires[1].end()
    async with asyncio.timeout(60):
        await asyncio.gather(*waits)
    assert upstream._generation.active == 0


async def test_an_app_can_be_called_with_a_scope_of_the_callers_own(make_echo):
    echo, sent = make_echo(), []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await LocalUpstream(echo).call({"type": "http", "x": 1}, receive, send)
    assert echo.scopes == [{"type": "http", "x": 1}]
    assert len(sent) == 2


async def test_routes_lead_to_their_services(bench, make_echo):
    shop, site = make_echo(body=b"shop"), make_echo(body=b"site")
    bench.serve(
        upstreams={"shop": LocalUpstream(shop), "site": LocalUpstream(site)},
        routes=[Route(path="/orders", service="shop"), Route(path="/", service="site")],
    )
    assert (await bench.ask("GET", "/orders/1")).body == b"shop"
    assert (await bench.ask("GET", "/ordersheet")).body == b"site"
    assert [record.upstream for record in bench.log] == ["shop", "site"]
