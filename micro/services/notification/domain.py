"""Notifications: what they say, where they may go, and what comes of trying to deliver one. Times are RFC 3339 UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

LOG, EMAIL, WEBHOOK = "log", "email", "webhook"
PENDING, SENT, FAILED = "pending", "sent", "failed"

ATTEMPTS = 12
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 1800.0

_ADDRESS = re.compile(r"[^\s\x00-\x20\x7f@<>()\[\]\\,;:\"]+@[^\s\x00-\x20\x7f@<>()\[\]\\,;:\"]+")
_URL = re.compile(
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:[/?][!-\[\]-~]*)?", re.IGNORECASE
)
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Denied(Exception):
    """The actor may not do this."""


class DeliveryFailed(Exception):
    """A channel did not take a notification; says why. When `final`, trying again can't help."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        self.final = final
        super().__init__(reason)


class BadTarget(DeliveryFailed):
    """A channel can't deliver to such a target; says why."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks."""

    id: str
    admin: bool = False

    def must_be(self, user_id: str) -> None:
        """Raise `Denied` unless the actor is that user, or an admin."""
        if not self.admin and self.id != user_id:
            raise Denied("This is somebody else's.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Something that one user is told."""

    id: str
    user_id: str
    channel: str
    target: str | None = None
    subject: str
    body: str
    status: str = PENDING
    created_at: str
    sent_at: str | None = None
    due_at: str | None = None
    """When the worker takes it, or takes it over from a sender that has died; nothing: it waits for `send`."""
    claim: str | None = None
    """The lease of whoever delivers it at this moment; it runs out at `due_at`."""
    attempts: int = 0
    automatic: int = 0
    """1: an event caused it, so it goes by e-mail where that is set up, and to the log otherwise."""
    context: str = ""
    """The request or event on whose behalf it is delivered, as `micro.save_context` writes it."""
    error: str | None = None
    """Why the last attempt failed."""

    def sent(self, now: str) -> Notification:
        """After a channel took it."""
        return replace(self, status=SENT, sent_at=now, due_at=None, error=None)

    def refused(self, failure: DeliveryFailed, retry_at: str) -> Notification:
        """After a failed attempt: due again, or given up."""
        if failure.final or self.attempts >= ATTEMPTS:
            return replace(self, status=FAILED, due_at=None, error=str(failure))
        return replace(self, due_at=retry_at, error=str(failure))


def pause(attempts: int, chance: float) -> float:
    """Seconds to wait after that many attempts: exponential with full jitter, `chance` in [0, 1).

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return chance * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempts)


def one_line(text: str) -> str:
    """`text` with spaces for line breaks and other control characters, as a subject needs it."""
    return " ".join(_NOT_IN_A_LINE.sub(" ", text).split())


def check_target(channel: str, target: str | None) -> None:
    """Raise `BadTarget` for what that channel can't deliver to, by its form alone."""
    if channel == WEBHOOK and not _URL.fullmatch(target or ""):
        raise BadTarget("Must be an http or https URL in ASCII, without user name and spaces.", final=True)
    if channel == EMAIL and target is not None and not (_ADDRESS.fullmatch(target) and len(target) <= 254):
        raise BadTarget("Must be one e-mail address, or null for the user's own.", final=True)
