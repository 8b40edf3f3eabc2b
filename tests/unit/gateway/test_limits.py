"""The size of a request's body."""

from __future__ import annotations

import asyncio

import pytest

from micro.gateway.flow import GRACE
from micro.spec.gateway import Route


async def test_an_announced_body_that_is_too_large_is_413_before_a_byte_is_read(bench, echo):
    bench.serve(echo, max_body=10)
    answer = await bench.ask("POST", body=b"x" * 11)
    assert answer.status == 413
    assert answer["content-type"] == "application/problem+json"
    assert "10 bytes" in answer.json()["detail"]
    assert bench.wires[0].asked == 0
    assert echo.scopes == []


async def test_a_body_of_exactly_the_limit_passes(bench, echo):
    bench.serve(echo, max_body=10)
    assert (await bench.ask("POST", body=b"x" * 10)).status == 200
    wire = bench.open("POST", headers=[("transfer-encoding", "chunked")], chunks=[b"x" * 9])
    wire.push(b"x", last=True)
    assert (await wire.end()).status == 200


async def test_a_body_without_a_length_is_counted_while_it_comes(bench, echo):
    bench.serve(echo, max_body=10)
    wire = bench.open(
        "POST", headers=[("transfer-encoding", "chunked")], chunks=[b"x" * 6, b"x" * 6, b"x" * 6]
    )
    answer = await wire.end()
    assert (answer.status, answer.complete, answer.broken) == (413, True, False)
    assert wire.asked == 2
    assert bench.log[0].status == 413
    assert len(bench.log) == 1


async def test_a_server_that_lets_more_through_than_was_announced_is_caught(bench, echo):
    wire = bench.serve(echo, max_body=10).open("POST", headers=[("content-length", "3")], chunks=[b"x" * 11])
    assert (await wire.end()).status == 413


async def test_the_app_is_told_that_the_client_left_and_what_it_says_is_dropped(bench):
    seen = []

    async def app(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            seen.append(message["body"])
        seen.append(message["type"])
        seen.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"confused"})
        raise RuntimeError("so I give up")

    wire = bench.serve(app, max_body=3).open(
        "POST", headers=[("transfer-encoding", "chunked")], chunks=[b"ab", b"cd"]
    )
    answer = await wire.end()
    assert (answer.status, answer.broken) == (413, False)
    assert seen == [b"ab", "http.disconnect", "http.disconnect"]


async def test_an_app_that_does_not_notice_is_cancelled_after_a_grace(bench):
    cancelled = asyncio.Event()

    async def app(scope, receive, send):
        try:
            await receive()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    wire = bench.serve(app, max_body=1).open(
        "POST", headers=[("transfer-encoding", "chunked")], chunks=[b"ab"]
    )
    await wire.until(lambda: wire.answer.complete)
    assert wire.answer.status == 413
    await bench.clock.advance(GRACE - 1)
    assert not cancelled.is_set()
    await bench.clock.advance(2)
    assert cancelled.is_set()
    assert not (await wire.end()).broken


async def test_an_answer_that_began_while_the_body_grew_too_large_is_broken_off(bench, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await send({"type": "http.response.body", "body": b"never sent"})

    wire = bench.serve(app, max_body=1).open(
        "POST", headers=[("transfer-encoding", "chunked")], chunks=[b"ab"]
    )
    answer = await wire.end()
    assert (answer.status, answer.body, answer.broken) == (200, b"", True)
    assert "broke its answer off" in caplog.text


@pytest.mark.parametrize(("size", "status"), [(4, 200), (5, 413)])
async def test_a_route_has_a_limit_of_its_own(bench, echo, size, status):
    bench.serve(echo, routes=[Route(path="/", service="app", max_body=4)])
    assert (await bench.ask("POST", body=b"x" * size)).status == status


async def test_a_limit_of_nothing_takes_no_body(bench, echo):
    bench.serve(echo, max_body=0)
    assert (await bench.ask("POST", body=b"x")).status == 413
    assert (await bench.ask("POST")).status == 200


async def test_the_size_is_looked_at_before_address_and_token(bench, echo):
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")], max_body=1)
    assert (await bench.ask("POST", body=b"xx")).status == 413
