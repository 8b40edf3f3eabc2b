"""Notifications and addresses in SQL. The columns have the names of the fields that they fill."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from micro import save_context
from micro.services.notification.domain import Notification

if TYPE_CHECKING:
    from micro import Resources, Transaction
    from micro.services.notification.events import NotificationSentEvent

_COLUMNS = ", ".join(field.name for field in fields(Notification))
_MARKS = ", ".join("?" for _ in fields(Notification))

_ADDRESS = "(select email from addresses where addresses.user_id = notifications.user_id)"
_CLAIMED = _COLUMNS.replace("target", f"coalesce(target, {_ADDRESS}) as target")

# Only names of our own are put into statements.
ADD = f"insert into notifications ({_COLUMNS}) values ({_MARKS}) on conflict (id) do nothing"  # noqa: S608 # as said above
READ = f"select {_COLUMNS} from notifications where "  # noqa: S608 # as said above

# Where two senders claim the same row, the second one waits for the first, then finds that the condition holds no more.
CLAIM = "update notifications set status = 'pending', claim = ?, due_at = ?, attempts = attempts + 1 where "
THAT_ONE = "id = ? and status <> 'sent' and (claim is null or due_at <= ?)"
ANY_DUE = """
    id = (select id from notifications where status = 'pending' and due_at <= ? order by due_at limit 1)
    and status = 'pending' and due_at <= ?
"""
SETTLE = """
    update notifications set status = ?, channel = ?, sent_at = ?, due_at = ?, error = ?, context = ?, claim = null
    where id = ? and claim = ?
"""

REMEMBER = """
    insert into addresses (user_id, email, known_at) values (?, ?, ?)
    on conflict (user_id) do update set email = excluded.email, known_at = excluded.known_at
    where excluded.known_at >= addresses.known_at
"""


@dataclass(frozen=True, slots=True)
class SqlNotifications:
    """See `application.Shelf` and `delivery.Outgoing`."""

    micro: Resources

    async def add(self, notification: Notification) -> None:
        """See `application.Shelf.add`."""
        async with self.micro.transaction() as tx:
            await add_once(tx, notification)

    async def find(self, id: str) -> Notification | None:
        """See `application.Shelf.find`."""
        found = _read(await self.micro.query(f"{READ} id = ?", id))
        return found[0] if found else None

    async def page(self, user_id: str | None, before: str, limit: int) -> list[Notification]:
        """See `application.Shelf.page`."""
        whose, who = ("user_id = ? and", (user_id,)) if user_id is not None else ("", ())
        sql = f"{READ} {whose} id < ? order by id desc limit ?"
        return _read(await self.micro.query(sql, *who, before, limit))

    async def remove(self, id: str) -> None:
        """See `application.Shelf.remove`."""
        async with self.micro.transaction() as tx:
            await tx.execute("delete from notifications where id = ?", id)

    async def claim(self, claim: str, *, now: str, until: str, id: str | None) -> Notification | None:
        """See `delivery.Outgoing.claim`."""
        which, values = (THAT_ONE, (id, now)) if id else (ANY_DUE, (now, now))
        async with self.micro.transaction() as tx:
            claimed = _read(await tx.query(f"{CLAIM}{which} returning {_CLAIMED}", claim, until, *values))
        return claimed[0] if claimed else None

    async def settle(self, after: Notification, event: NotificationSentEvent | None) -> bool:
        """See `delivery.Outgoing.settle`."""
        new = (after.status, after.channel, after.sent_at, after.due_at, after.error, save_context())
        async with self.micro.transaction() as tx:
            settled = await tx.execute(SETTLE, *new, after.id, after.claim) == 1
            if settled and event:
                tx.emit(event, key=after.id)
        return settled


async def remember(tx: Transaction, user_id: str, email: str, known_at: str) -> None:
    """Keep a user's e-mail address, unless a later one is known."""
    await tx.execute(REMEMBER, user_id, email, known_at)


async def add_once(tx: Transaction, notification: Notification) -> None:
    """Store it, on behalf of what is going on now; one with this id that is there already stays."""
    await tx.execute(ADD, *astuple(replace(notification, context=save_context())))


def _read(rows: list[Any]) -> list[Notification]:
    return [Notification(**dict(row)) for row in rows]
