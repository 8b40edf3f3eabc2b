"""What people do with their notifications, and what events lead to: rows, which `delivery` takes from there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from msgspec import Meta, Struct, convert, structs

from micro import new_id, rfc3339
from micro.ids import id_at
from micro.services.notification.domain import FAILED, LOG, SENT, Actor, Notification, check_target, one_line

if TYPE_CHECKING:
    from micro import Clock, CloudEvent
    from micro.services.notification.delivery import Post

NEWEST = "~"  # sorts after every id
ChannelName = Literal["log", "email", "webhook"]
# One line, not blank. The look-ahead keeps Python's `$` from taking a final newline.
Line = Annotated[str, Meta(max_length=200, pattern=r"^(?=.*\S)[^\x00-\x1f\x7f]+$(?!\n)")]


class Unknown(Exception):
    """There is no such thing."""


class NotDelivered(Exception):
    """A notification could not be delivered now; says why."""


class Draft(Struct, frozen=True):
    """What a person writes. `target` is the webhook's URL, or an e-mail address where it is not the user's own."""

    user_id: Annotated[str, Meta(max_length=128)]
    channel: ChannelName
    subject: Line
    body: Annotated[str, Meta(max_length=10_000)]
    target: Annotated[str, Meta(max_length=2048)] | None = None


class Shelf(Protocol):
    """Stored notifications. Each call is its own transaction."""

    async def add(self, notification: Notification) -> None:
        """Store a new one."""

    async def find(self, id: str) -> Notification | None:
        """One of them."""

    async def page(self, user_id: str | None, before: str, limit: int) -> list[Notification]:
        """Up to `limit` of one user's, or of all, with ids below `before`, the highest first: ids grow with time."""

    async def remove(self, id: str) -> None:
        """Forget one."""


@dataclass(frozen=True, slots=True)
class Notices:
    """The use cases. They raise `Unknown` and `Denied`."""

    shelf: Shelf
    post: Post
    clock: Clock

    async def write(self, actor: Actor, draft: Draft) -> Notification:
        """A pending notification, which waits for `send`. Raises `BadTarget`."""
        actor.must_be(draft.user_id)
        check_target(draft.channel, draft.target)
        now = rfc3339(self.clock.now())
        notification = Notification(id=new_id(self.clock), created_at=now, **structs.asdict(draft))
        await self.shelf.add(notification)
        return notification

    async def read(self, actor: Actor, id: str) -> Notification:
        """One notification."""
        found = await self.shelf.find(id)
        if found is None:
            raise Unknown
        actor.must_be(found.user_id)
        return found

    async def page(self, actor: Actor, before: str, limit: int) -> list[Notification]:
        """The actor's own, or everybody's for an admin; see `Shelf.page`."""
        return await self.shelf.page(None if actor.admin else actor.id, before, limit)

    async def delete(self, actor: Actor, id: str) -> None:
        """Forget one; what is being sent at this moment may still arrive."""
        await self.read(actor, id)
        await self.shelf.remove(id)

    async def send(self, actor: Actor, id: str) -> Notification:
        """Deliver one now, if it was not sent yet. Raises `NotDelivered`; the worker then tries again if that may help."""
        await self.read(actor, id)
        if claimed := await self.post.claim(id):
            await self.post.deliver(claimed)
        found = await self.read(actor, id)
        if found.status == SENT:
            return found
        if found.claim:
            raise NotDelivered("It is being sent at this moment.")
        outlook = "given up" if found.status == FAILED else "to be tried again"
        raise NotDelivered(f"Not delivered, {outlook}: {found.error}.")


class UserFacts(Struct, frozen=True):
    """What is read from the user service's events."""

    user_id: str
    email: str
    name: str


class TaskFacts(Struct, frozen=True):
    """What is read from the task service's events."""

    title: str
    owner_id: str
    assignee_id: str | None


def address_in(event: CloudEvent) -> tuple[str, str, str]:
    """Whose e-mail address a user event tells, the address, and since when."""
    user = convert(event.data, UserFacts)
    return user.user_id, user.email, _time(event)


def welcome(event: CloudEvent) -> Notification:
    """What a new user is told."""
    user = convert(event.data, UserFacts)
    return _notice(event, user.user_id, "Welcome", f"Welcome, {user.name}. Your account is ready.")


def completion(event: CloudEvent) -> list[Notification]:
    """What the owner and the assignee of a completed task are told, once where they are the same."""
    task = convert(event.data, TaskFacts)
    title = one_line(task.title)
    people = sorted({task.owner_id, task.assignee_id or task.owner_id})
    return [_notice(event, id, f"Completed: {title}", f"The task “{title}” was completed.") for id in people]


def _notice(event: CloudEvent, user_id: str, subject: str, body: str) -> Notification:
    # The same event gives the same id, so that a replay writes to nobody twice.
    noise = int.from_bytes(hashlib.sha256(f"{event.id} {user_id}".encode()).digest())
    now = _time(event)
    return Notification(
        id=id_at(datetime.fromisoformat(now), noise),
        user_id=user_id,
        channel=LOG,
        subject=subject,
        body=body,
        created_at=now,
        due_at=now,
        automatic=1,
    )


def _time(event: CloudEvent) -> str:
    return rfc3339(datetime.fromisoformat(event.time))
