"""What one can do with accounts and sessions, and what that needs of a database and of a password hash."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from micro.clock import rfc3339
from micro.ids import new_id
from micro.security.tokens import Grant, issue
from micro.services.user.domain import ACCESS_SECONDS, SESSION_SECONDS, USER, User, email_key
from micro.services.user.events import UserCreatedEvent, UserEvent, UserUpdatedEvent

if TYPE_CHECKING:
    from micro import Clock
    from micro.security.rotation import RotatingKeys
    from micro.services.user.domain import Actor

ISSUER = "micro:user"
NEWEST = "~"
"""Sorts after every id."""
TRIES = 10

_REFRESH_TOKEN = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})\Z")


class Unknown(Exception):
    """There is no such user."""


class EmailTaken(Exception):
    """Another account has this e-mail address, perhaps in another case."""


class Contended(Exception):
    """Others changed the same user each time this change was tried."""


class Refused(Exception):
    """The credentials are not (or no longer) good."""


class Overloaded(Exception):
    """Too many passwords wait to be checked."""


class Users(Protocol):
    """Everybody with an account. What is written and the event about it commit together."""

    async def add(self, user: User, password_hash: str, event: UserEvent) -> None:
        """Store a new user. Raises `EmailTaken`."""
        ...

    async def swap(self, before: User, after: User, event: UserEvent) -> bool:
        """Put `after` in the place of `before`; false when the user is no longer that. Raises `EmailTaken`."""
        ...

    async def find(self, id: str) -> User | None:
        """One user."""
        ...

    async def page(self, limit: int, before: str) -> list[User]:
        """Up to `limit` users with an id below `before`, the highest first: ids grow with time, so the newest."""
        ...


class Sessions(Protocol):
    """Who is logged in. A session has one good refresh token at a time, of which only a hash is kept."""

    async def account(self, email_key: str) -> tuple[User, str] | None:
        """The user with that e-mail, and the hash of the password."""
        ...

    async def begin(self, id: str, user_id: str, secret_hash: str, expires: int) -> None:
        """Store a new session that ends at `expires`."""
        ...

    async def renew(self, id: str, old_hash: str, *, new_hash: str, now: int, expires: int) -> User | None:
        """Exchange the session's token, in one step. For a token that is not the good one: end the session, if any."""
        ...

    async def end(self, id: str, secret_hash: str, *, now: int) -> bool:
        """End a session; false when that was not its good token, or it had ended."""
        ...


class Passwords(Protocol):
    """A slow hash. Both methods raise `Overloaded`."""

    async def hash(self, password: str) -> str:
        """A salted hash in text form."""
        ...

    async def matches(self, password: str, hash: str | None) -> bool:
        """Whether `hash` is of that password. Without a hash: false, after just as long."""
        ...


class Tokens(Struct, frozen=True):
    """An access token, and the refresh token for the next one; `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 # a scheme, not a secret
    expires_in: int = ACCESS_SECONDS


@dataclass(frozen=True, slots=True)
class Accounts:
    """The use cases on users. They raise `Unknown`, `Denied`, `Contended`, and as `Users` does."""

    users: Users
    passwords: Passwords
    clock: Clock

    async def register(self, email: str, name: str, password: str) -> User:
        """A new user, who is no admin."""
        password_hash = await self.passwords.hash(password)
        now = rfc3339(self.clock.now())
        user = User(new_id(self.clock), email, name, USER, now, now)
        await self.users.add(user, password_hash, user.announce(UserCreatedEvent))
        return user

    async def user(self, actor: Actor, id: str) -> User:
        """One user: oneself, or anybody for an admin."""
        actor.must_be(id)
        found = await self.users.find(id)
        if found is None:
            raise Unknown
        return found

    async def list(self, actor: Actor, limit: int, *, before: str = NEWEST) -> list[User]:
        """Everybody, for an admin."""
        actor.must_be_admin()
        return await self.users.page(limit, before)

    async def replace(self, actor: Actor, id: str, *, email: str, name: str, role: str | None) -> User:
        """Other fields for oneself, or for anybody by an admin; without a role it stays."""
        for _ in range(TRIES):
            before = await self.user(actor, id)
            now = rfc3339(self.clock.now())
            after = before.replaced(actor, email=email, name=name, role=role, now=now)
            if after is before:
                return before
            event = after.announce(UserUpdatedEvent, changed=after.changed_since(before))
            if await self.users.swap(before, after, event):
                return after
        raise Contended("Others changed this user at the same time.")


@dataclass(frozen=True, slots=True)
class Entrance:
    """Logging in and out."""

    sessions: Sessions
    passwords: Passwords
    keys: RotatingKeys
    clock: Clock

    async def log_in(self, email: str, password: str) -> Tokens:
        """A new session. Raises `Refused`, an unknown e-mail taking as long as a wrong password."""
        account = await self.sessions.account(email_key(email))
        user, password_hash = account or (None, None)
        if not await self.passwords.matches(password, password_hash) or user is None:
            raise Refused("E-mail or password is wrong.")
        id, secret = f"{self.clock.randbits(128):032x}", self._secret()
        await self.sessions.begin(id, user.id, _hash(secret), self._now() + SESSION_SECONDS)
        return await self._tokens(user, id, secret)

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a session. Raises `Refused`; a token used before ends its session: one of two has stolen it."""
        id, old = _parts(refresh_token)
        secret, now = self._secret(), self._now()
        user = await self.sessions.renew(
            id, _hash(old), new_hash=_hash(secret), now=now, expires=now + SESSION_SECONDS
        )
        if user is None:
            raise Refused("The refresh token is not valid any more.")
        return await self._tokens(user, id, secret)

    async def log_out(self, refresh_token: str) -> None:
        """End a session. Raises `Refused`."""
        id, secret = _parts(refresh_token)
        if not await self.sessions.end(id, _hash(secret), now=self._now()):
            raise Refused("The refresh token is not valid any more.")

    async def _tokens(self, user: User, id: str, secret: str) -> Tokens:
        ring = await self.keys.ring()
        grant = Grant(issuer=ISSUER, subject=user.id, role=user.role, ttl=ACCESS_SECONDS)
        return Tokens(issue(ring, grant, clock=self.clock), f"{id}.{secret}")

    def _secret(self) -> str:
        return urlsafe_b64encode(self.clock.randbits(256).to_bytes(32, "big")).rstrip(b"=").decode()

    def _now(self) -> int:
        return int(self.clock.now().timestamp())


def _parts(refresh_token: str) -> tuple[str, str]:
    match = _REFRESH_TOKEN.match(refresh_token)
    if match is None:
        raise Refused("The refresh token is not valid.")
    return match[1], match[2]


def _hash(secret: str) -> str:
    """Fast on purpose: the secret has 256 random bits, nothing can be guessed."""
    return sha256(secret.encode()).hexdigest()
