"""HTTP for the stock: plain Starlette."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def show(request: Request) -> JSONResponse:
    """How much of one thing is left."""
    sku = request.path_params["sku"]
    rows = await request.state.micro.query("select quantity from stock where sku = ?", sku)
    return JSONResponse({"sku": sku, "quantity": rows[0]["quantity"] if rows else 0})


app = Starlette(routes=[Route("/stock/{sku}", show)])
