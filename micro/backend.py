"""What every back end of every port has in common."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from urllib.parse import SplitResult


class Backend(Protocol):
    """Construct, open, close are three steps.

    A constructor only keeps its arguments. `open` may be called once. `close` may be called at any time, more than once
    and after an `open` that failed half-way; it leaves no thread, task, file or connection behind.

    One on a server may have a method `check() -> Checkup` besides, which needs no `open` and leaves nothing open: it is
    called before a stack relies on the server. A bus's is `check(topics)`, a mapping from each topic to what will be done
    there, `read` and `write`. A store may have `provision() -> bool`, which makes the database where it is missing.
    """

    async def open(self) -> None:
        """Acquire what is needed; on an error nothing stays acquired once `close` was called."""
        ...

    async def close(self) -> None:
        """Release everything. Idempotent. Calls in flight fail with the port's error."""
        ...


class Checkup(NamedTuple):
    """What a server said when it was asked before a start."""

    server: str
    """What it is, and where, without a password: `PostgreSQL 18.1 at db:5432/task`."""
    lacks: str = ""
    """A sentence on what a start may need and can't have there, such as a right; empty where nothing is missing."""
    durable: bool = True
    """Whether what it has acknowledged survives a power cut, the way it is set up."""


_PLACE = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:]*)(:\d{1,5})?")
"""A host, perhaps with a port."""


def split_url(url: str, key: str) -> SplitResult:
    """The parts of a URL with a host. Raises `ConfigurationError`, without the URL, where they can't be told apart.

    `key` is the profile's. A password with characters that mean something in a URL is the usual reason: it must not be
    taken for a host or a path, which messages show.
    """
    try:
        parts = urlsplit(url)
        places = parts.netloc.rpartition("@")[2].split(",")
        clear = "@" not in parts.path + parts.query + parts.fragment and all(map(_PLACE.fullmatch, places))
    except ValueError:
        clear = False
    if not clear:
        raise ConfigurationError(
            "host and port can't be told from the rest; in a user or password write % : / ? # @ as %25 %3A %2F %3F %23 %40",
            key=key,
        )
    return parts


def said(error: Exception) -> str:
    """What a driver's error says, of the system's own their meaning alone: `Connection refused`."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number is not None and number > 0 else str(error)
