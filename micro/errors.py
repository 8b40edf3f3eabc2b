"""Every error that micro raises, in one tree.

```
MicroError
├── UsageError                  the person can mend it; a command ends with exit code 2
│   ├── ConfigurationError      micro.toml, the environment or a declaration is wrong
│   ├── MissingExtra            a back end's driver is not installed
│   ├── PortInUse               something else listens on an address of the stack
│   ├── StackRunning            a stack already runs on this state folder
│   ├── StackNotRunning         a verb needs a running stack and there is none
│   └── NotFound                a named service, event, dead letter … does not exist
├── StoreError
│   ├── UniqueViolation         a unique or primary key is taken
│   ├── ConstraintViolation     a check, not-null or foreign key refused the row
│   ├── StoreUnavailable        locked, out of space, unreachable: trying again may help
│   │   └── DatabaseMissing     there is no such database or schema yet
│   ├── TransactionTimeout      the transaction outlived its limit and was rolled back
│   └── MigrationError          edited, missing or failing migration
├── BusError
│   ├── EventTooLarge           refused at `emit`, before anything is stored
│   ├── PublishFailed           part of a batch was not acknowledged
│   └── BusUnavailable          trying again may help
├── CacheUnavailable            the cache is out of reach: told before a start only, as a stack serves without
├── DiscoveryUnavailable        the list of instances is out of reach; trying again may help
├── DecodeError                 bytes that are not an event
├── CallError                   `call()` reached no answer
└── TokenError                  a token that must not be accepted
```

Each boundary translates its driver's errors through a table and keeps the cause (``raise … from``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class MicroError(Exception):
    """The root: catch this to catch everything that micro raises on purpose."""


class UsageError(MicroError):
    """Something the person at the terminal can mend; says what to do next."""


class ConfigurationError(UsageError):
    """A wrong setting, with the file, the key path and, where there is one, the nearest right name."""

    def __init__(self, message: str, *, file: Path | str | None = None, key: str | None = None) -> None:
        self.file = file
        self.key = key
        place = ": ".join(str(part) for part in (file, key) if part)
        super().__init__(f"{place}: {message}" if place else message)


class MissingExtra(UsageError):
    """What a back end or a local server needs is not installed; names the extra that brings it, or several."""

    def __init__(self, needs: str, extra: str) -> None:
        self.extra = extra
        extras = "extras" if "," in extra else "extra"
        super().__init__(f"{needs} needs the {extras} '{extra}'; run: pip install 'microup[{extra}]'")


class PortInUse(UsageError):
    """An address of the stack is taken by another process."""

    def __init__(self, owner: str, host: str, port: int, *, hint: str = "") -> None:
        self.owner, self.host, self.port = owner, host, port
        super().__init__(f"{owner}: {host}:{port} is in use{'; ' + hint if hint else ''}")


class StackRunning(UsageError):
    """A stack already runs on this state folder."""


class StackNotRunning(UsageError):
    """A verb needs a running stack and found none."""


class NotFound(UsageError):
    """A thing named on the command line does not exist."""


class StoreError(MicroError):
    """A database refused or failed."""


class UniqueViolation(StoreError):
    """A unique or primary key is already taken."""


class ConstraintViolation(StoreError):
    """A check, not-null or foreign key constraint, or a column's type, refused a row."""


class StoreUnavailable(StoreError):
    """The database is locked, full or out of reach; the same call may work later."""


class DatabaseMissing(StoreUnavailable):
    """The server is there, and the database (or schema) of this service is not; `micro db migrate` makes it."""


class TransactionTimeout(StoreError):
    """A transaction outlived its time limit and was rolled back."""


class MigrationError(StoreError):
    """A migration was edited after it was applied, is missing, or failed."""


class BusError(MicroError):
    """The bus refused or failed."""


class EventTooLarge(BusError):
    """An event is larger than the bus takes."""


class PublishFailed(BusError):
    """Some messages of a batch were not acknowledged.

    ``acknowledged`` holds the indices of those that were. Per key they form a prefix: an unacknowledged message is
    never followed by an acknowledged one of the same key.
    """

    def __init__(self, message: str, *, acknowledged: frozenset[int] = frozenset()) -> None:
        self.acknowledged = acknowledged
        super().__init__(message)


class BusUnavailable(BusError):
    """The bus is out of reach; the same call may work later."""


class CacheUnavailable(MicroError):
    """The cache is out of reach. Only who asks before a start hears of it: a running stack serves without its cache."""


class DiscoveryUnavailable(MicroError):
    """The list of instances on other machines is out of reach; the same call may work later."""


class DecodeError(MicroError):
    """Bytes that are not an event."""


class CallError(MicroError):
    """A call to another service got no answer: unknown service, time-out, or a broken connection."""


class TokenError(MicroError):
    """A token that must not be accepted: malformed, expired, of an unknown key or issuer."""
