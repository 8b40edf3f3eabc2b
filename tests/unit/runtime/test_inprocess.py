"""One question to an app of this process is asked as a server would ask it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from micro.errors import CallError
from micro.runtime.inprocess import ask


async def echo(request: Any) -> JSONResponse:
    body = (await request.body()).decode()
    raw = request.scope["raw_path"].decode()
    answer = JSONResponse(
        {
            "path": request.url.path,
            "raw": raw,
            "query": request.url.query,
            "body": body,
            "host": request.headers["host"],
        }
    )
    answer.raw_headers += [(b"Vary", b"a"), (b"vary", b"b")]
    return answer


async def stream(request: Any) -> StreamingResponse:
    async def parts() -> Any:
        yield b"o"
        yield b"k"

    return StreamingResponse(parts())


async def stuck(request: Any) -> None:
    await asyncio.Event().wait()


async def huge(request: Any) -> PlainTextResponse:
    return PlainTextResponse(b"x" * ((10 << 20) + 1))


app = Starlette(
    routes=[
        Route("/echo/{rest:path}", echo, methods=["GET", "POST"]),
        Route("/stream", stream),
        Route("/stuck", stuck),
        Route("/huge", huge),
    ]
)


async def test_path_query_and_body_arrive_as_over_the_network() -> None:
    reply = await ask(app, "POST", "/echo/a%20b?x=1", body=b"hello")
    assert reply.status == 200
    assert reply.json() == {
        "path": "/echo/a b",
        "raw": "/echo/a%20b",
        "query": "x=1",
        "body": "hello",
        "host": "localhost",
    }


async def test_fields_that_come_twice_are_joined() -> None:
    assert (await ask(app, "GET", "/echo/")).headers["vary"] == "a, b"


async def test_given_headers_win() -> None:
    given = [(b"host", b"shop.test"), (b"content-length", b"2")]
    assert (await ask(app, "POST", "/echo/", headers=given, body=b"hi")).json()["host"] == "shop.test"


async def test_a_streamed_answer_is_gathered() -> None:
    assert (await ask(app, "GET", "/stream")).body == b"ok"


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    with pytest.raises(CallError, match=r"no answer within 0\.01 s"):
        await ask(app, "GET", "/stuck", timeout=0.01)


async def test_an_answer_too_large_to_hold_is_refused() -> None:
    with pytest.raises(CallError, match="10 MiB"):
        await ask(app, "GET", "/huge")


async def test_an_app_that_returns_without_an_answer_gave_none() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return None

    with pytest.raises(CallError, match="GET /: no answer"):
        await ask(silent, "GET", "/")
