"""Users, sessions and signing keys in SQL, and passwords by argon2id. Columns are named after the fields they fill."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, TypeVar

from micro.errors import UniqueViolation
from micro.security.rotation import StoredKey
from micro.services.user.application import EmailTaken, Overloaded
from micro.services.user.domain import User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from micro import Resources
    from micro.services.user.events import UserEvent

COLUMNS = "id, email, name, role, created_at, updated_at, version"
FIND = f"select {COLUMNS} from users where id = ?"  # noqa: S608 # our own column names
PAGE = f"select {COLUMNS} from users where id < ? order by id desc limit ?"  # noqa: S608 # as above
ACCOUNT = f"select {COLUMNS}, password_hash from users where email_key = ?"  # noqa: S608 # as above
ADD = f"insert into users ({COLUMNS}, email_key, password_hash) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 # as above
SWAP = """
    update users set email = ?, name = ?, role = ?, updated_at = ?, version = ?, email_key = ?
    where id = ? and version = ?
"""
BEGIN = "insert into sessions (id, user_id, secret_hash, expires_at) values (?, ?, ?, ?)"
RENEW = """
    update sessions set secret_hash = ?, expires_at = ?
    where id = ? and secret_hash = ? and expires_at > ? returning user_id
"""
END = "delete from sessions where id = ? returning secret_hash, expires_at"

T = TypeVar("T")

# A hash that no password has, with the parameters of a real one: it takes as long to be refused.
DECOY = "$argon2id$v=19$m=65536,t=3,p=4$" + "$".join(
    b64encode(bytes(size)).rstrip(b"=").decode() for size in (16, 32)
)


class Rows:
    """Anything kept in the service's database."""

    def __init__(self, micro: Resources) -> None:
        self._micro = micro


class SqlUsers(Rows):
    """See `micro.services.user.application.Users`."""

    async def add(self, user: User, password_hash: str, event: UserEvent) -> None:
        """See `Users.add`."""
        with _unique_email():
            async with self._micro.transaction() as tx:
                await tx.execute(ADD, *astuple(user), user.email_key, password_hash)
                tx.emit(event, key=user.id)

    async def swap(self, before: User, after: User, event: UserEvent) -> bool:
        """See `Users.swap`."""
        values = (after.email, after.name, after.role, after.updated_at, after.version, after.email_key)
        with _unique_email():
            async with self._micro.transaction() as tx:
                swapped = await tx.execute(SWAP, *values, before.id, before.version) == 1
                if swapped:
                    tx.emit(event, key=after.id)
        return swapped

    async def find(self, id: str) -> User | None:
        """See `Users.find`."""
        rows: list[Any] = await self._micro.query(FIND, id)
        return User(*rows[0]) if rows else None

    async def page(self, limit: int, before: str) -> list[User]:
        """See `Users.page`."""
        rows: list[Any] = await self._micro.query(PAGE, before, limit)
        return [User(*row) for row in rows]


@contextmanager
def _unique_email() -> Iterator[None]:
    try:
        yield
    except UniqueViolation as error:
        raise EmailTaken("This e-mail address has an account.") from error


class SqlSessions(Rows):
    """See `micro.services.user.application.Sessions`."""

    async def account(self, email_key: str) -> tuple[User, str] | None:
        """See `Sessions.account`."""
        rows: list[Any] = await self._micro.query(ACCOUNT, email_key)
        if not rows:
            return None
        *values, password_hash = rows[0]
        return User(*values), password_hash

    async def begin(self, id: str, user_id: str, secret_hash: str, expires: int) -> None:
        """See `Sessions.begin`."""
        async with self._micro.transaction() as tx:
            await tx.execute(BEGIN, id, user_id, secret_hash, expires)

    async def renew(self, id: str, old_hash: str, *, new_hash: str, now: int, expires: int) -> User | None:
        """See `Sessions.renew`."""
        async with self._micro.transaction() as tx:
            rows: list[Any] = await tx.query(RENEW, new_hash, expires, id, old_hash, now)
            if not rows:
                await tx.execute("delete from sessions where id = ?", id)
                return None
            users: list[Any] = await tx.query(FIND, rows[0][0])
        return User(*users[0]) if users else None

    async def end(self, id: str, secret_hash: str, *, now: int) -> bool:
        """See `Sessions.end`."""
        async with self._micro.transaction() as tx:
            rows: list[Any] = await tx.query(END, id)
        return bool(rows) and rows[0][0] == secret_hash and rows[0][1] > now

    async def sweep(self, now: int) -> None:
        """Forget the sessions that have run out."""
        async with self._micro.transaction() as tx:
            await tx.execute("delete from sessions where expires_at <= ?", now)


class SqlKeys(Rows):
    """See `micro.security.rotation.KeyStore`.

    The private keys are as well protected as the database: on SQLite a file of the state folder, which is closed to other
    accounts of the machine; on PostgreSQL the service's own database and its password. No answer or event has them.
    """

    async def all(self) -> list[StoredKey]:
        """See `KeyStore.all`."""
        rows: list[Any] = await self._micro.query(
            "select generation, secret, active_from from signing_keys order by generation"
        )
        return [StoredKey(*row) for row in rows]

    async def add(self, key: StoredKey) -> None:
        """See `KeyStore.add`."""
        async with self._micro.transaction() as tx:
            await tx.execute(
                "insert into signing_keys (generation, secret, active_from) values (?, ?, ?)"
                " on conflict (generation) do nothing",
                *astuple(key),
            )

    async def prune(self, generation: int) -> None:
        """See `KeyStore.prune`."""
        async with self._micro.transaction() as tx:
            await tx.execute("delete from signing_keys where generation < ?", generation)


class Argon2:
    """Passwords by argon2id with the second recommended parameters of RFC 9106: 64 MiB and three passes for each.

    At most `lanes` are at work, in threads, and `queue` wait; beyond that `Overloaded` is raised. So a flood of log-ins
    costs bounded memory and leaves the event loop alone.
    """

    def __init__(self, *, lanes: int = 2, queue: int = 64) -> None:
        self._slots = asyncio.Semaphore(lanes)
        self._room = lanes + queue

    async def hash(self, password: str) -> str:
        """See `micro.services.user.application.Passwords.hash`."""
        return await self._run(_hash, password)

    async def matches(self, password: str, hash: str | None) -> bool:
        """See `micro.services.user.application.Passwords.matches`."""
        return await self._run(_verify, hash or DECOY, password) and hash is not None

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        if not self._room:
            raise Overloaded("Too many log-ins at this moment.")
        self._room -= 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work, *arguments)
        finally:
            self._room += 1


def _hash(password: str) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415 - loaded when first used

    return PasswordHasher().hash(password)


def _verify(hash: str, password: str) -> bool:
    from argon2 import PasswordHasher, exceptions  # noqa: PLC0415 - loaded when first used

    try:
        return PasswordHasher().verify(hash, password)
    except exceptions.VerifyMismatchError:
        return False
