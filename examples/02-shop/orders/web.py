"""HTTP for orders: plain Starlette."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from micro import new_id
from orders.events import OrderPlaced


async def place(request: Request) -> JSONResponse:
    """Ask the stock service, then store the order and its event in one transaction."""
    micro = request.state.micro
    order = await request.json()
    shelf = await micro.call("stock", "GET", f"/stock/{order['sku']}")
    if shelf.status != 200 or shelf.json()["quantity"] < order["quantity"]:
        return JSONResponse({"detail": "not in stock"}, status_code=409)
    order_id = new_id(micro.clock)
    async with micro.transaction() as tx:
        await tx.execute(
            "insert into orders (id, sku, quantity) values (?, ?, ?)",
            order_id,
            order["sku"],
            order["quantity"],
        )
        event = OrderPlaced(order_id=order_id, sku=order["sku"], quantity=order["quantity"])
        tx.emit(event, key=order["sku"])
    return JSONResponse({"id": order_id}, status_code=201)


app = Starlette(routes=[Route("/orders", place, methods=["POST"])])
