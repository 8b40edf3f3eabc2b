"""What the orders service tells others."""

from micro import Event


class OrderPlaced(Event, topic="order.events", version=1):
    """Somebody ordered something."""

    order_id: str
    sku: str
    quantity: int
