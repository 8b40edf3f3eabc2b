"""Notifications over HTTP. Lists show the newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, convert
from starlette.requests import Request  # noqa: TC002 # handlers' annotations are read at run time

from micro import Api, Id, Items, JsonResponse, Page, Timestamp
from micro.services.notification.application import NEWEST, ChannelName, Draft, NotDelivered, Notices, Unknown
from micro.services.notification.domain import Actor, BadTarget, Denied
from micro.web.auth import resources_of
from micro.web.pagination import decode_cursor, page_of
from micro.web.problems import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro import Resources
    from micro.services.notification.domain import Notification

ERRORS: dict[type[Exception], int] = {Denied: 403, Unknown: 404, NotDelivered: 409}


class NotificationView(Struct, frozen=True):
    """A notification, as people see it."""

    id: Id
    user_id: str
    channel: ChannelName
    target: str | None
    subject: str
    body: str
    status: Literal["pending", "sent", "failed"]
    created_at: Timestamp
    sent_at: Timestamp | None


def notification_api(notices: Callable[[Resources], Notices]) -> Api:
    """The service's API, on the use cases that `notices` makes for each request."""
    api = Api("notification", version="1", description="What users are told, and how.", errors=ERRORS)
    notifications = Notifications(notices)
    api.post("/notifications", status=201, problems=(403,))(notifications.create_notification)
    api.get("/notifications")(notifications.list_notifications)
    api.get("/notifications/{id}", problems=(403, 404))(notifications.read_notification)
    api.delete("/notifications/{id}", status=204, problems=(403, 404))(notifications.delete_notification)
    api.post("/notifications/{id}/send", problems=(403, 404, 409))(notifications.send_notification)
    return api


@dataclass(frozen=True, slots=True)
class Notifications:
    """Everything below `/notifications`."""

    notices: Callable[[Resources], Notices]

    async def create_notification(self, request: Request, body: Draft) -> NotificationView | JsonResponse:
        """Write a notification for oneself; an admin, for anybody. It waits until it is sent by /send."""
        try:
            made = await self.notices(resources_of(request.scope)).write(_actor(request), body)
        except BadTarget as error:
            raise invalid("/target", str(error)) from error
        return JsonResponse(_view(made), 201, headers={"Location": f"/notifications/{made.id}"})

    async def list_notifications(self, request: Request, query: Page) -> Items[NotificationView]:
        """List the caller's notifications; for an admin, all."""
        (before,) = decode_cursor(query.cursor) or (NEWEST,)
        found = await self.notices(resources_of(request.scope)).page(_actor(request), before, query.limit + 1)
        return page_of([_view(each) for each in found], query.limit, lambda notification: (notification.id,))

    async def read_notification(self, request: Request, id: Id) -> NotificationView:
        """Read one notification, as its user or an admin."""
        return _view(await self.notices(resources_of(request.scope)).read(_actor(request), id))

    async def delete_notification(self, request: Request, id: Id) -> None:
        """Delete a notification, as its user or an admin."""
        await self.notices(resources_of(request.scope)).delete(_actor(request), id)

    async def send_notification(self, request: Request, id: Id) -> NotificationView:
        """Deliver a notification now, as its user or an admin, if it was not sent yet. 409 says why it could not be."""
        return _view(await self.notices(resources_of(request.scope)).send(_actor(request), id))


def _actor(request: Request) -> Actor:
    identity = request.scope["state"]["identity"]
    return Actor(identity.subject, identity.role == "admin")


def _view(notification: Notification) -> NotificationView:
    return convert(notification, NotificationView, from_attributes=True)
