"""Two services that call each other, for stacks of many processes."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from micro import Service
from micro.context import current


def about(request):
    """Who answers, and what it knows of the request."""
    context = current.get()
    return {
        "pid": os.getpid(),
        "request_id": context.request_id,
        "trace": context.traceparent[3:35],
        "user": request.headers.get("x-user-id"),
        "client": request.client.host,
    }


async def near(request):
    return JSONResponse(about(request))


async def far(request):
    """This instance's word, and what the other service says when it is called."""
    reply = await request.state.micro.call("many", "GET", "/many/near")
    return JSONResponse({"here": about(request), "there": reply.json()}, reply.status)


many = Service(
    "many", app=Starlette(routes=[Route("/many/near", near, methods=["GET", "POST"])]), routes=["/many"]
)
caller = Service("caller", app=Starlette(routes=[Route("/caller/far", far)]), routes=["/caller"])
