"""Delivers notifications, at least once: each attempt under a lease, failed ones again later. Part of the application."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from micro import new_id, restore_context, rfc3339
from micro.clock import uniform
from micro.services.notification.domain import EMAIL, DeliveryFailed, Notification, pause
from micro.services.notification.events import NotificationSentEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro import Clock

logger = logging.getLogger("micro.service.notification")

LIMIT = 30.0  # seconds that one attempt may take
LEASE = 60.0  # seconds after which a sender that has not reported back is taken for dead
POLL = 0.5  # seconds between looking for what is due
AT_ONCE = 16


class Outgoing(Protocol):
    """Notifications on their way. Each call is its own transaction. Safe with several senders on several machines."""

    async def claim(self, claim: str, *, now: str, until: str, id: str | None) -> Notification | None:
        """Count an attempt and take one of those due, or that one: unless it was sent, or another has it.

        Without a target of its own it comes with the e-mail address that the user's events told, if any.
        """

    async def settle(self, after: Notification, event: NotificationSentEvent | None) -> bool:
        """Give it back as it is now, with `event`; false, and nothing done, when the claim is another's by now."""


class Channel(Protocol):
    """A way out. Safe to call concurrently."""

    async def deliver(self, notification: Notification) -> None:
        """Return once it was taken; otherwise raise `DeliveryFailed`.

        May be called again for the same notification, so what goes out carries its id for the receiver to know it by.
        """


@dataclass(frozen=True, slots=True)
class Post:
    """Attempts to deliver."""

    outgoing: Outgoing
    channels: Mapping[str, Channel]
    clock: Clock

    async def claim(self, id: str | None = None) -> Notification | None:
        """The notification, or one that is due, claimed; nothing where there is nothing to do."""
        return await self.outgoing.claim(new_id(self.clock), now=self._in(0), until=self._in(LEASE), id=id)

    async def deliver(self, claimed: Notification) -> Notification:
        """Make one attempt and note what came of it: sent, due again, or failed."""
        if claimed.automatic and EMAIL in self.channels:
            claimed = replace(claimed, channel=EMAIL)
        event = None
        try:
            await self._hand_over(claimed)
        except DeliveryFailed as failure:
            after = claimed.refused(failure, self._in(pause(claimed.attempts, uniform(self.clock))))
            logger.warning("notification %s: %s by %s: %s", after.id, after.status, after.channel, failure)
        else:
            now = self._in(0)
            after = claimed.sent(now)
            event = NotificationSentEvent(
                notification_id=after.id, user_id=after.user_id, channel=after.channel, sent_at=now
            )
        if not await self.outgoing.settle(after, event):
            logger.warning("notification %s: deleted, or taken over, while it was being sent", after.id)
        return after

    async def _hand_over(self, claimed: Notification) -> None:
        channel = self.channels.get(claimed.channel)
        if channel is None:
            raise DeliveryFailed(f"the channel {claimed.channel} is not set up", final=True)
        try:
            async with asyncio.timeout(LIMIT):
                await channel.deliver(claimed)
        except DeliveryFailed:
            raise
        except TimeoutError as error:
            raise DeliveryFailed("it took too long") from error
        except Exception as error:  # a fault of ours costs this one an attempt, not the others their worker
            logger.exception("notification %s", claimed.id)
            raise DeliveryFailed("an unexpected error") from error

    def _in(self, seconds: float) -> str:
        return rfc3339(self.clock.now() + timedelta(seconds=seconds))


async def deliver_due(post: Post) -> None:
    """Deliver what becomes due, until cancelled; several at once, so that a slow receiver holds up nobody else."""
    free = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as attempts:
        while True:
            await free.acquire()
            if claimed := await post.claim():
                with restore_context(claimed.context):  # the task inherits it
                    attempts.create_task(post.deliver(claimed)).add_done_callback(lambda _: free.release())
            else:
                free.release()
                await post.clock.sleep(POLL)
