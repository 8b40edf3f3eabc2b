"""The notification service: tells people what happened, by log, e-mail and webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro import Service
from micro.services.notification import application
from micro.services.notification.api import notification_api
from micro.services.notification.application import Notices
from micro.services.notification.channels import channels
from micro.services.notification.delivery import Post, deliver_due
from micro.services.notification.events import NotificationSentEvent
from micro.services.notification.infrastructure import SqlNotifications, add_once, remember

if TYPE_CHECKING:
    from micro import CloudEvent, Resources, Transaction


def post(micro: Resources) -> Post:
    """The channels that the settings open, on the service's own database."""
    return Post(SqlNotifications(micro), channels(micro.env, micro.clock), micro.clock)


def notices(micro: Resources) -> Notices:
    """The use cases on the service's own database."""
    return Notices(SqlNotifications(micro), post(micro), micro.clock)


service = Service(
    "notification",
    app=notification_api(notices),
    routes=["/notifications"],
    port=8003,
    migrations="migrations",
    publishes=[NotificationSentEvent],
)


@service.on("UserCreatedEvent", topic="user.events")
async def user_created(event: CloudEvent, tx: Transaction) -> None:
    """Greet, and remember the address."""
    await user_updated(event, tx)
    await add_once(tx, application.welcome(event))


@service.on("UserUpdatedEvent", topic="user.events")
async def user_updated(event: CloudEvent, tx: Transaction) -> None:
    """Remember the address."""
    await remember(tx, *application.address_in(event))


@service.on("TaskCompletedEvent", topic="task.events")
async def task_completed(event: CloudEvent, tx: Transaction) -> None:
    """Tell owner and assignee."""
    for notification in application.completion(event):
        await add_once(tx, notification)


@service.background
async def deliver(micro: Resources) -> None:
    """Deliver what is due."""
    await deliver_due(post(micro))
