"""What is kept of every exchange."""

from __future__ import annotations

import pytest

from micro.gateway.upstream.local import LocalUpstream
from micro.gateway_spec import Route


async def test_a_request_leaves_one_record(bench):
    async def app(scope, receive, send):
        await bench.clock.advance(0.25)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"12345"})

    answer = await bench.serve(app).ask("POST", "/a%2Fb?token=secret", headers=[("x-correlation-id", "c")])
    (record,) = bench.log
    assert record.request_id == answer["x-request-id"]
    assert (record.correlation_id, record.client) == ("c", "203.0.113.7")
    assert (record.method, record.path, record.status, record.bytes) == ("POST", "/a%2Fb", 201, 5)
    assert (record.service, record.upstream) == ("gateway", "app")
    assert record.duration_ms == 250.0
    assert record.time == bench.clock.now()
    assert len(record.trace_id) == 32


async def test_the_query_is_not_kept(bench, echo):
    await bench.serve(echo).ask("GET", "/?token=secret")
    assert "secret" not in repr(bench.log)


@pytest.mark.parametrize(
    ("target", "status", "upstream"),
    [("/a", 200, "app"), ("/b", 404, ""), ("/health", 200, ""), ("/a/..", 400, "")],
)
async def test_every_request_is_kept_and_says_who_answered(bench, echo, target, status, upstream):
    bench.serve(upstreams={"app": LocalUpstream(echo)}, routes=[Route(path="/a", service="app")])
    await bench.ask("GET", target)
    assert [(record.status, record.upstream) for record in bench.log] == [(status, upstream)]


async def test_a_refusal_on_a_route_is_counted_with_its_service(bench, echo):
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")])
    await bench.ask("GET")
    assert bench.log[0].upstream == "app"
    assert 'service="app",method="GET",status="401"} 1' in bench.metrics.render()


async def test_requests_are_counted_and_timed_by_service(bench, echo):
    bench.serve(echo, routes=[Route(path="/a", service="app")])
    for target in ("/a", "/a", "/b"):
        await bench.ask("GET", target)
    text = bench.metrics.render()
    assert 'micro_gateway_requests_total{service="app",method="GET",status="200"} 2' in text
    assert 'micro_gateway_requests_total{service="gateway",method="GET",status="404"} 1' in text
    assert 'micro_gateway_request_seconds_count{service="app"} 2' in text
    assert 'micro_gateway_errors_total{error="http_request_error"} 1' in text


async def test_invented_methods_do_not_fill_the_memory(bench, echo):
    bench.serve(echo)
    for number in range(50):
        await bench.ask(f"X{number}")
    assert 'service="app",method="other",status="200"} 50' in bench.metrics.render()
    assert bench.gateway._parts.recorder._series == {}


async def test_bytes_that_are_no_text_are_kept_readable(bench, echo):
    await bench.serve(echo).ask("GET", b"/\xe4\xb8")
    assert (bench.log[0].status, bench.log[0].path) == (400, "/\xe4\xb8")
