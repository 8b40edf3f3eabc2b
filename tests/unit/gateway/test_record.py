"""What is kept of every exchange."""

from __future__ import annotations

import asyncio
import timeit
from dataclasses import replace

import pytest

from micro.clock import SystemClock
from micro.gateway.exchange import Exchange
from micro.gateway.pipeline import Pipeline
from micro.gateway.record import Recorder
from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route
from micro.telemetry.access import AccessLog
from micro.telemetry.metrics import Metrics


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


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0, 0.0), (0.0000004, 0.0), (0.0012346, 1.235), (0.25, 250.0), (3.0000006, 3000.001)],
)
async def test_times_are_rounded_to_microseconds(bench, seconds, milliseconds):
    async def app(scope, receive, send):
        await bench.clock.advance(seconds)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    await bench.serve(app, routes=[Route(path="/", service="app", timeout=0)]).ask("GET")
    assert bench.log[0].duration_ms == milliseconds


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
    assert 'micro_gateway_errors_total{service="gateway",status="404",error="http_request_error"} 1' in text


async def test_invented_methods_do_not_fill_the_memory(bench, echo):
    bench.serve(echo)
    for number in range(50):
        await bench.ask(f"X{number}")
    assert 'service="app",method="other",status="200"} 50' in bench.metrics.render()
    assert bench.gateway._parts.recorder._series == {}


async def test_bytes_that_are_no_text_are_kept_readable(bench, echo):
    await bench.serve(echo).ask("GET", b"/\xe4\xb8")
    assert (bench.log[0].status, bench.log[0].path) == (400, "/\xe4\xb8")


async def test_a_record_says_what_went_wrong_and_who_asked(bench, echo):
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")])
    await bench.ask("GET")
    await bench.ask("GET", headers=[("authorization", "Bearer good")])
    refused, passed = bench.log
    assert (refused.error, refused.subject) == ("http_request_error", "")
    assert (passed.error, passed.subject) == ("", "ann")


async def test_a_record_says_which_instance_was_asked_how_often_and_for_how_long(bench):
    """As far as the upstream wrote it into the exchange."""

    class Remote:
        async def serve(self, exchange, receive, send):
            exchange.instance, exchange.tries, exchange.upstream_seconds = "10.0.0.5:9000", 2, 0.0125
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    await bench.serve(upstreams={"app": Remote()}).ask("GET")
    await bench.ask("GET", "/health")
    remote, own = bench.log
    assert (remote.instance, remote.tries, remote.upstream_ms) == ("10.0.0.5:9000", 2, 12.5)
    assert (own.instance, own.tries, own.upstream_ms) == ("", 0, None)


async def test_the_bytes_of_both_bodies_are_counted(bench, echo):
    await bench.serve(echo).ask("POST", body=b"123")
    wire = bench.open("POST", chunks=[b"45"], headers=[("transfer-encoding", "chunked")])
    wire.push(b"6789", last=True)
    await wire.end()
    assert [(record.received, record.bytes) for record in bench.log] == [(3, 5), (6, 5)]
    text = bench.metrics.render()
    assert 'micro_gateway_received_bytes_total{service="app"} 9' in text
    assert 'micro_gateway_sent_bytes_total{service="app"} 10' in text


async def test_what_is_under_way_is_counted(bench):
    arrived, going = asyncio.Semaphore(0), asyncio.Event()

    async def app(scope, receive, send):
        arrived.release()
        await going.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    bench.serve(app)
    wires = [bench.open("GET") for _ in range(3)]
    async with asyncio.timeout(60):
        for _ in wires:
            await arrived.acquire()
    assert "micro_gateway_in_flight 3\n" in bench.metrics.render()
    going.set()
    for wire in wires:
        await wire.end()
    assert "micro_gateway_in_flight 0\n" in bench.metrics.render()


async def test_every_way_to_end_is_counted_once(bench, echo):
    """Refused before and after the route, broken off, or well: nothing stays under way."""

    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    routes = [Route(path="/a", service="app", auth="required"), Route(path="/b", service="broken")]
    bench.serve(upstreams={"app": LocalUpstream(echo), "broken": LocalUpstream(broken)}, routes=routes)
    for target in ("/a", "/b", "/c", "/a/..", "/health"):
        await bench.ask("GET", target)
    assert len(bench.log) == 5
    assert "micro_gateway_in_flight 0\n" in bench.metrics.render()
    text = bench.metrics.render()
    assert 'errors_total{service="app",status="401",error="http_request_error"} 1' in text
    assert 'errors_total{service="broken",status="200",error="http_response_incomplete"} 1' in text


async def test_the_access_log_can_be_switched_off_and_on_again(bench, echo):
    bench.serve(echo, access_log=False)
    await bench.ask("GET")
    assert bench.log == []
    assert 'status="200"} 1' in bench.metrics.render()
    bench.gateway.reconfigure(replace(bench.gateway.spec, access_log=True))
    await bench.ask("GET")
    assert len(bench.log) == 1


class Hook:
    """A policy that wants to know how exchanges end."""

    def __init__(self, failure=None):
        self.failure = failure
        self.ended = []

    def on_end(self, exchange):
        self.ended.append((exchange.status, exchange.error))
        if self.failure:
            raise self.failure


def recorded(log, clock, *, hooks=(), route=True, **attributes):
    """A recorder that has recorded one exchange."""
    recorder = Recorder(log, Metrics(), clock)
    exchange = Exchange("GET", b"/", [])
    exchange.started, exchange.client, exchange.traceparent = (
        clock.monotonic(),
        "192.0.2.1",
        b"00-" + b"1" * 32,
    )
    exchange.request_id = exchange.correlation_id = "r"
    for name, value in attributes.items():
        setattr(exchange, name, value)
    ends = tuple(hook.on_end for hook in hooks)
    if route:
        exchange.pipeline = Pipeline((), hooks, upstream=None, service="app", timeout=1.0)
        recorder.record(exchange)
    else:
        recorder.record(exchange, ends)
    return recorder


@pytest.mark.parametrize("route", [True, False])
def test_policies_are_told_once_that_an_exchange_has_ended(clock, route):
    """Those of its route, or those of the plan where it found none."""
    hooks = [Hook(), Hook()]
    recorded(None, clock, hooks=hooks, route=route, status=502, error="connection_refused")
    assert [hook.ended for hook in hooks] == [[(502, "connection_refused")]] * 2


def test_a_policy_that_fails_at_the_end_keeps_nobody_else_from_it(clock, caplog):
    log, hooks = [], [Hook(RuntimeError("broken")), Hook()]
    log = type("Log", (list,), {"write": list.append})()
    recorded(log, clock, hooks=hooks, status=200)
    assert hooks[1].ended == [(200, "")]
    assert len(log) == 1
    assert "a policy failed at the end of a request" in caplog.text


def test_a_record_takes_little_time(tmp_path):
    """It stands on the way of every request. Generous: shared machines are slow at times."""
    clock = SystemClock()
    recorder = recorded(AccessLog(tmp_path / "a", clock=clock, capacity=100), clock, status=200)
    exchange = Exchange("GET", b"/orders/17", [(b"host", b"localhost")])
    exchange.started, exchange.client, exchange.traceparent = (
        clock.monotonic(),
        "192.0.2.1",
        b"00-" + b"1" * 52,
    )
    exchange.request_id = exchange.correlation_id = "r" * 36
    exchange.pipeline = Pipeline((), (), upstream=None, service="app", timeout=1.0)
    exchange.status, exchange.sent = 200, 17
    least = min(timeit.repeat(lambda: recorder.record(exchange), number=500, repeat=20)) / 500
    assert least < 20e-6
