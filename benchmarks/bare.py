"""The other side of the comparisons: one JSON route, plain Starlette."""

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def hello(request):
    """Answer a small JSON object."""
    return JSONResponse({"hello": "world"})


app = Starlette(routes=[Route("/", hello)])
