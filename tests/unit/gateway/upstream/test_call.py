"""What is asked without a client: calls between services, documents, health checks."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from micro.gateway.extensions import Behind
from micro.gateway.upstream.ports import UpstreamError

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def scope_of(**more):
    return {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"q=1",
        "headers": [
            (b"host", b"shop"),
            (b"content-length", b"2"),
            (b"connection", b"close"),
            (b"x-request-id", b"r-9"),
            (b"traceparent", b"00-1"),
        ],
        "client": ("127.0.0.1", 0),
        "server": ("shop", None),
        **more,
    }


async def asked(there, scope):
    sent = []
    messages = [{"type": "http.request", "body": b"hi", "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    async with asyncio.timeout(60):
        await there.upstream.call(scope, receive, send)
    return sent


@pytest.mark.parametrize("pass_host", [True, False])
async def test_a_call_goes_on_as_it_is_to_the_instance_s_own_host(bench, origin, pass_host):
    there = bench(pass_host=pass_host)
    task = asyncio.create_task(asked(there, scope_of()))
    _, request = await origin.answer(OK)
    start, body = await task
    assert (start["status"], body["body"]) == (200, b"hello")
    head, _, rest = request.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    assert (line, rest) == (b"POST /a?q=1 HTTP/1.1", b"hi")
    assert sorted(fields) == sorted(
        [b"host: " + origin.name.encode(), b"content-length: 2", b"x-request-id: r-9", b"traceparent: 00-1"]
    )


async def test_what_the_gateway_has_passed_on_keeps_the_client_s_host(bench, origin):
    headers = [(b"host", b"shop.example"), (b"x-forwarded-host", b"shop.example")]
    task = asyncio.create_task(asked(bench(pass_host=True), scope_of(method="GET", headers=headers)))
    _, request = await origin.answer(OK)
    await task
    assert b"\r\nhost: shop.example\r\n" in request


async def test_a_call_raises_what_went_wrong(bench, origin):
    await origin.close()
    with pytest.raises(UpstreamError) as caught:
        await asked(bench(), scope_of(client=None))
    assert caught.value.kind == "connection_refused"


async def test_a_probe_asks_the_instance_s_own_path_over_a_connection_of_its_own(bench, origin):
    there = bench(f"{origin.url}/base")
    task = asyncio.create_task(there.upstream.probe(there.instance, "/health"))
    peer, request = await origin.answer(b"HTTP/1.1 503 Busy\r\n\r\n")
    assert await task == 503
    assert request.startswith(b"GET /base/health HTTP/1.1\r\nhost: " + origin.name.encode() + b"\r\n")
    assert await peer.end() == b""
    assert there.idle == 0


@pytest.mark.parametrize(
    ("answer", "kind"), [(b"", "connection_terminated"), (b"SSH-2.0-OpenSSH\r\n", "http_protocol_error")]
)
async def test_a_probe_raises_what_went_wrong(bench, origin, answer, kind):
    there = bench()
    task = asyncio.create_task(there.upstream.probe(there.instance, "/health"))
    peer, _ = await origin.answer(answer)
    peer.close()
    with pytest.raises(UpstreamError) as caught:
        await task
    assert caught.value.kind == kind


async def test_a_probe_that_is_cancelled_hangs_up(bench, origin):
    there = bench()
    task = asyncio.create_task(there.upstream.probe(there.instance, "/health"))
    peer = await origin.peer()
    await peer.request()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await peer.end() == b""


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://shop.example", b"shop.example"),
        ("http://shop.example:80/base", b"shop.example"),
        ("http://shop.example:8080", b"shop.example:8080"),
        ("https://shop.example", b"shop.example"),
        ("https://shop.example:80", b"shop.example:80"),
        ("http://[::1]:9000", b"[::1]:9000"),
        ("http://[::1]", b"[::1]"),
    ],
)
async def test_the_host_of_a_url_has_its_port_where_it_is_not_the_usual_one(bench, url, host):
    there = bench(url)
    pool = there.upstream.pool_of(there.instance)
    assert urlsplit(url).hostname.encode() in pool.own_host
    assert pool.own_host == b"host: " + host


# What the gateway passes on through middleware.


async def through_middleware(there, exchange, headers=()):
    """An exchange on its way through middleware that adds `headers`."""

    async def middleware(scope, receive, send):
        await there.upstream.call({**scope, "headers": [*scope["headers"], *headers]}, receive, send)

    async def receive():
        return await asyncio.Event().wait()

    async def send(message):
        pass

    async with asyncio.timeout(60):
        await Behind(middleware, None).serve(exchange, receive, send)


@pytest.fixture
def passed_on(exchange_of):
    exchange = exchange_of(timeout=15.0)
    exchange.scope, exchange.peer = scope_of(method="GET"), None
    return exchange


async def test_behind_middleware_an_instance_is_told_how_long_it_may_take(bench, origin, passed_on):
    there = bench()
    passed_on.started = there.clock.monotonic() - 5.0
    task = asyncio.create_task(through_middleware(there, passed_on))
    _, request = await origin.answer(OK)
    await task
    assert request.count(b"\r\nx-request-timeout-ms: 10000\r\n") == 1


async def test_unless_the_middleware_has_said_so(bench, origin, passed_on):
    there = bench()
    passed_on.started = there.clock.monotonic()
    task = asyncio.create_task(through_middleware(there, passed_on, [(b"x-request-timeout-ms", b"7")]))
    _, request = await origin.answer(OK)
    await task
    assert request.count(b"x-request-timeout-ms: ") == 1
    assert b"\r\nx-request-timeout-ms: 7\r\n" in request


async def test_the_gateway_knows_which_instance_was_asked(bench, origin, passed_on):
    there = bench()
    task = asyncio.create_task(through_middleware(there, passed_on))
    await origin.answer(OK)
    await task
    assert (passed_on.instance, passed_on.tries) == (origin.name, 1)


async def test_an_instance_that_lets_the_routes_time_pass_has_failed_behind_middleware_too(
    bench, origin, passed_on
):
    there = bench()
    passed_on.started = there.clock.monotonic()
    task = asyncio.create_task(through_middleware(there, passed_on))
    await origin.peer()
    await there.clock.advance(16.0)
    task.cancel()
    await asyncio.wait({task})
    assert there.instance.failures == 1
