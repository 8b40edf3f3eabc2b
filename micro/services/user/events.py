"""What the user service publishes on `user.events`, keyed by the user's id. Other services read the JSON, not this."""

from __future__ import annotations

from micro import Event


class UserEvent(Event, topic="user.events"):
    """The whole user as they were right after the change. Times are RFC 3339 UTC."""

    user_id: str
    email: str
    name: str
    role: str
    created_at: str
    updated_at: str


class UserCreatedEvent(UserEvent, topic="user.events"):
    """Somebody registered."""


class UserUpdatedEvent(UserEvent, topic="user.events"):
    """E-mail, name or role changed. Not sent when nothing did."""

    changed: list[str]
    """Names of the fields that differ from before, sorted."""
