"""What a route changes in requests and answers: the path's prefix, and header fields.

The path stays as the client wrote it, byte for byte, but for the elements that the route names (RFC 9110 section 7.7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.headers import FORWARDING, HOP_BY_HOP, REPLACED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.spec.gateway import HeaderChanges

_FRAMING = HOP_BY_HOP | {b"content-length"}
UNCHANGEABLE_IN_REQUESTS = _FRAMING | FORWARDING | REPLACED | {b"expect", b"host", b"max-forwards"}
"""Fields that say where a message ends and which way it goes, and those that the gateway writes itself."""
UNCHANGEABLE_IN_ANSWERS = _FRAMING | {
    b"allow",
    b"date",
    b"proxy-status",
    b"www-authenticate",
    b"x-correlation-id",
    b"x-request-id",
}
"""The same for answers, and what RFC 9110 sections 10.2.1 and 11.6.1 want left alone."""


class PathChange:
    """Sends the path on with other elements in place of the route's own: `exchange.target`.

    What follows the prefix stays as it came, still encoded; the empty path becomes `/`.
    """

    __slots__ = ("_depth", "_instead", "_prefix")

    def __init__(self, prefix: bytes, instead: bytes) -> None:
        """`prefix` is the route's path in the form that is matched on; with `/` as `instead` it is only taken off."""
        self._prefix = prefix.rstrip(b"/")
        self._instead = instead.rstrip(b"/")
        self._depth = self._prefix.count(b"/")

    def on_request(self, exchange: Exchange) -> None:
        """Map the path."""
        path = exchange.path
        if path.startswith(self._prefix):
            rest = path[len(self._prefix) :]
        else:  # the same elements, written with more escapes
            parts = path.split(b"/", self._depth + 1)
            rest = b"/" + parts[-1] if len(parts) > self._depth + 1 else b""
        exchange.target = self._instead + rest or b"/"

    def back(self, path: str) -> str | None:
        """The path by which a client reaches `path` of the service; nothing where this route doesn't lead there."""
        instead = self._instead.decode("ascii")
        if path != instead and not path.startswith(f"{instead}/"):
            return None
        return self._prefix.decode("ascii") + path[len(instead) :] or "/"

    def __str__(self) -> str:
        prefix, instead = self._prefix.decode("ascii"), self._instead.decode("ascii")
        return f"path: {prefix or '/'} is sent on as {instead or '/'}"


class RequestHeaders:
    """Changes the fields that go on to the service: removes some, sets some, adds some, in this order.

    Raises `ConfigurationError` for a field that is not a route's to change.
    """

    __slots__ = ("_added", "_changes", "_gone")

    def __init__(self, changes: HeaderChanges) -> None:
        self._changes = changes
        self._gone, self._added = _compiled(changes, UNCHANGEABLE_IN_REQUESTS)

    def on_request(self, exchange: Exchange) -> None:
        """Replace the list of fields."""
        exchange.headers = _changed(exchange.headers, self._gone, self._added)

    def __str__(self) -> str:
        return f"request header: {_told(self._changes)}"


class ResponseHeaders:
    """The same for the answer, whoever gave it. What the gateway adds by itself comes after."""

    __slots__ = ("_added", "_changes", "_gone")

    def __init__(self, changes: HeaderChanges) -> None:
        self._changes = changes
        self._gone, self._added = _compiled(changes, UNCHANGEABLE_IN_ANSWERS)

    def on_response(self, exchange: Exchange) -> None:
        """Replace the list of fields."""
        exchange.fields = _changed(exchange.fields, self._gone, self._added)

    def __str__(self) -> str:
        return f"response header: {_told(self._changes)}"


def _changed(fields: Sequence[Pair], gone: frozenset[bytes], added: Sequence[Pair]) -> list[Pair]:
    return [*(pair for pair in fields if pair[0] not in gone), *added]


def _compiled(changes: HeaderChanges, fixed: frozenset[bytes]) -> tuple[frozenset[bytes], list[Pair]]:
    """The names that go and the pairs that come."""
    for name in (*changes.remove, *changes.set, *changes.add):
        if name.encode("ascii") in fixed:
            raise ConfigurationError(f"{name} is the gateway's own to write; no route changes it")
    gone = frozenset(_bytes((*changes.remove, *changes.set)))
    pairs = (*changes.set.items(), *changes.add.items())
    return gone, [(name.encode("ascii"), value.encode("ascii")) for name, value in pairs]


def _bytes(names: Iterable[str]) -> Iterable[bytes]:
    return (name.encode("ascii") for name in names)


def _told(changes: HeaderChanges) -> str:
    """Names only: a value may be a secret."""
    parts = (("removes", changes.remove), ("sets", changes.set), ("adds", changes.add))
    return ", ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)
