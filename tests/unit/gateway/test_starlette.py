"""A real framework behind the gateway: what Starlette does with a request must come out right."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route as Path

from micro.gateway.flow import GRACE
from micro.spec.gateway import Route


class Site:
    """An application, and what happened in it."""

    def __init__(self, clock):
        self.clock = clock
        self.seen = []
        routes = [
            Path("/things/{id}", self.thing, methods=["GET", "PUT"]),
            Path("/upload", self.upload, methods=["POST"]),
            Path("/count", self.count),
            Path("/ticks", self.ticks),
            Path("/later", self.later),
            Path("/broken", self.broken),
            Path("/wait", self.wait),
        ]
        self.app = Starlette(routes=routes)

    async def thing(self, request):
        return JSONResponse({"id": request.path_params["id"], "query": dict(request.query_params)})

    async def upload(self, request):
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
        except ClientDisconnect:
            self.seen.append("disconnected")
            raise
        return PlainTextResponse(str(size))

    async def count(self, request):
        async def numbers():
            for number in range(3):
                yield f"{number}\n"

        return StreamingResponse(numbers())

    async def ticks(self, request):
        async def ticks():
            try:
                while True:
                    yield b"tick\n"
                    await self.clock.sleep(1)
            finally:
                self.seen.append("ticks ended")

        return StreamingResponse(ticks(), media_type="text/plain")

    async def later(self, request):
        async def work():
            await self.clock.sleep(5)
            self.seen.append("worked")

        return Response(status_code=202, background=BackgroundTask(work))

    async def broken(self, request):
        raise RuntimeError("oops")

    async def wait(self, request):
        while not await request.is_disconnected():
            await self.clock.sleep(0.1)
        self.seen.append("noticed")
        return Response()


@pytest.fixture
def site(bench, clock):
    site = Site(clock)
    bench.serve(site.app, routes=[Route(path="/", service="app", timeout=10.0)], max_body=100)
    return site


async def test_a_route_is_found_and_its_answer_arrives(bench, site):
    answer = await bench.ask("GET", "/things/a%20b?x=1")
    assert answer.json() == {"id": "a b", "query": {"x": "1"}}
    assert (await bench.ask("HEAD", "/things/1"))["content-length"] == str(len(b'{"id":"1","query":{}}'))


async def test_its_own_errors_are_its_own(bench, site):
    assert (await bench.ask("GET", "/nowhere")).status == 404
    answer = await bench.ask("DELETE", "/things/1")
    assert (answer.status, set(answer["allow"].split(", "))) == (405, {"GET", "HEAD", "PUT"})
    assert "proxy-status" not in answer


async def test_a_failure_that_it_answers_itself_is_passed_on(bench, site, caplog):
    answer = await bench.ask("GET", "/broken")
    assert (answer.status, answer.body, answer.broken) == (500, b"Internal Server Error", False)
    assert "oops" in caplog.text


async def test_a_body_that_streams_in_is_counted_by_it(bench, site):
    wire = bench.open("POST", "/upload", headers=[("transfer-encoding", "chunked")], chunks=[b"abc"])
    wire.push(b"de", last=True)
    assert (await wire.end()).body == b"5"


async def test_a_body_that_grows_too_large_looks_to_it_like_a_client_that_left(bench, site):
    wire = bench.open(
        "POST", "/upload", headers=[("transfer-encoding", "chunked")], chunks=[b"x" * 60, b"x" * 60]
    )
    answer = await wire.end()
    assert (answer.status, answer.broken) == (413, False)
    assert site.seen == ["disconnected"]


async def test_an_answer_that_streams_arrives_in_pieces(bench, site):
    wire = bench.open("GET", "/count")
    assert (await wire.end()).body == b"0\n1\n2\n"
    assert len(wire.messages) == 5


async def test_an_endless_answer_is_broken_off_at_its_deadline(bench, site, caplog):
    wire = bench.open("GET", "/ticks")
    await bench.clock.advance(11)
    answer = await wire.end()
    assert answer.broken
    assert answer.body.count(b"tick") >= 9
    assert site.seen == ["ticks ended"]
    assert "took longer than its route allows" in caplog.text


async def test_an_endless_answer_ends_when_the_client_leaves(bench, site):
    wire = bench.open("GET", "/ticks")
    await bench.clock.advance(2.5)
    wire.leave()
    await bench.clock.advance(0)
    answer = await wire.end()
    assert not answer.broken
    assert site.seen == ["ticks ended"]
    assert bench.log[0].status == 200


async def test_background_work_goes_on_after_the_answer(bench, site):
    wire = bench.open("GET", "/later")
    await wire.until(lambda: wire.answer.complete)
    assert (wire.answer.status, site.seen) == (202, [])
    await bench.clock.advance(6)
    await wire.end()
    assert site.seen == ["worked"]


async def test_a_handler_that_asks_notices_that_the_client_left(bench, site):
    wire = bench.open("GET", "/wait")
    await bench.clock.advance(0.5)
    wire.leave()
    await bench.clock.advance(0.5)
    await wire.end()
    assert site.seen == ["noticed"]
    assert bench.log[0].status == 499


async def test_a_handler_that_waits_is_cancelled_at_its_deadline(bench, site):
    wire = bench.open("GET", "/wait")
    await bench.clock.advance(11)
    assert (await wire.end()).status == 504
    assert site.seen == []
    assert wire.task.cancelling() == 0


async def test_many_requests_at_once_do_not_disturb_each_other(bench, site):
    wires = [bench.open("GET", f"/things/{number}") for number in range(50)]
    answers = await asyncio.gather(*(wire.end() for wire in wires))
    assert [answer.json()["id"] for answer in answers] == [str(number) for number in range(50)]
    assert len({answer["x-request-id"] for answer in answers}) == 50
    await bench.clock.advance(GRACE)
