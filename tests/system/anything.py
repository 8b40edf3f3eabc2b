"""An app behind the gateway that does what the tests of raw HTTP need: nothing of it is micro's own."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

left = asyncio.Event()


async def echo(request):
    body = await request.body()
    return JSONResponse({"length": len(body), "headers": request.headers.items(), "query": request.url.query})


async def early(request):
    """Answers without a look at the body."""
    return PlainTextResponse("no", 403)


async def stream(request):
    """Never ends by itself."""

    async def parts():
        try:
            while True:
                yield b"part of an answer\n"
                await asyncio.sleep(0)  # noqa: TID251 # lets others run; no time passes
        finally:
            left.set()

    left.clear()
    return StreamingResponse(parts())


async def gone(request):
    """Answers once the client of `stream` was noticed to have gone."""
    await left.wait()
    return PlainTextResponse("gone")


app = Starlette(
    routes=[
        Route("/echo", echo, methods=["GET", "POST"]),
        Route("/early", early, methods=["POST"]),
        Route("/stream", stream),
        Route("/gone", gone),
        Route("/limited", echo),
        Route("/slow", echo, methods=["POST"]),
    ]
)
