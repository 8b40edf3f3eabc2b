"""Declares the stock service, and what it does when an order is placed."""

from micro import CloudEvent, Service, Transaction
from stock.web import app

service = Service("stock", app=app, routes=["/stock"], port=8010, migrations="migrations")


@service.on("OrderPlaced", topic="order.events")
async def take_from_shelf(event: CloudEvent, tx: Transaction) -> None:
    """Runs once per order, whatever crashes: the inbox row commits with this write."""
    await tx.execute(
        "update stock set quantity = quantity - ? where sku = ?", event.data["quantity"], event.data["sku"]
    )
