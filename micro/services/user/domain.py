"""Users, who may do what to them, and how long they stay logged in. Times are RFC 3339 UTC."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar
from unicodedata import normalize

from micro.services.user.events import UserEvent

E = TypeVar("E", bound=UserEvent)

USER = "user"

ACCESS_SECONDS = 15 * 60
SESSION_SECONDS = 30 * 24 * 3600


class Denied(Exception):
    """The actor may not do this."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks."""

    id: str
    admin: bool = False

    def must_be_admin(self) -> None:
        """Raise `Denied` unless the actor is an admin."""
        if not self.admin:
            raise Denied("Only an admin may do this.")

    def must_be(self, user_id: str) -> None:
        """Raise `Denied` unless the actor is that user, or an admin."""
        if not self.admin and self.id != user_id:
            raise Denied("This is somebody else's.")


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account. `version` grows by one with each change."""

    id: str
    email: str
    name: str
    role: str
    created_at: str
    updated_at: str
    version: int = 1

    @property
    def email_key(self) -> str:
        """What makes the e-mail unique."""
        return email_key(self.email)

    def replaced(self, actor: Actor, *, email: str, name: str, role: str | None, now: str) -> User:
        """With other fields; the very same object where nothing differs. Raises `Denied`: only admins change roles."""
        actor.must_be(self.id)
        role = role or self.role
        if role != self.role:
            actor.must_be_admin()
        after = replace(self, email=email, name=name, role=role)
        return replace(after, updated_at=now, version=self.version + 1) if after != self else self

    def changed_since(self, before: User) -> list[str]:
        """Names of the fields that differ, sorted."""
        return [name for name in ("email", "name", "role") if getattr(self, name) != getattr(before, name)]

    def announce(self, kind: type[E], **more: Any) -> E:
        """The event of that kind about this user."""
        facts = asdict(self) | more
        del facts["version"]
        return kind(user_id=facts.pop("id"), **facts)


def email_key(email: str) -> str:
    """The form in which two spellings of one e-mail address are equal: composed, without case."""
    return normalize("NFC", normalize("NFC", email).casefold())
