"""Declares the orders service."""

from micro import Service
from orders.events import OrderPlaced
from orders.web import app

service = Service(
    "orders", app=app, routes=["/orders"], port=8011, migrations="migrations", publishes=[OrderPlaced]
)
