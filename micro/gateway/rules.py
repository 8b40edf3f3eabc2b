"""One route's conditions: which requests it takes, and what it reads of them."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

T = TypeVar("T")

ANY = "*"
"""As the value of a header field or a query parameter: whatever it says, as long as it is there."""

_NAMED, _HEAD_BY_GET, _EVERY = range(3)
"""How well a rule fits a method, the best first."""


class Request(Protocol):
    """What a route may depend on besides the path. `found` are the header fields by name, repeated ones joined."""

    method: str
    found: dict[bytes, bytes]
    query: bytes


class Rule(Generic[T]):
    """Where a route leads, and to which requests it does."""

    __slots__ = ("exact", "headers", "host", "methods", "path", "query", "target")

    def __init__(
        self,
        path: bytes,
        target: T,
        *,
        methods: Collection[str] | None = None,
        exact: bool = False,
        host: str | None = None,
        conditions: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    ) -> None:
        """`path` and all below it, or with `exact` nothing else; for these methods (`GET` takes `HEAD` too), `None` for
        every one. `conditions` are on header fields and on query parameters. A final slash of a prefix changes nothing.
        """
        headers, query = conditions
        self.path = path if exact else _trimmed(path)
        self.target = target
        self.methods = None if methods is None else frozenset(methods)
        self.exact = exact
        self.host = host and host.lower()
        self.headers = frozenset((name.encode("ascii"), _wanted(value)) for name, value in headers.items())
        self.query = frozenset((name, None if value == ANY else value) for name, value in query.items())

    def at(self, path: bytes) -> Rule[T]:
        """The same rule for another path."""
        rule = copy(self)
        rule.path = path if self.exact else _trimmed(path)
        return rule

    def rank(self, method: str) -> int | None:
        """How well it fits `method`; nothing where it doesn't take it."""
        if self.methods is None:
            return _EVERY
        if method in self.methods:
            return _NAMED
        return _HEAD_BY_GET if method == "HEAD" and "GET" in self.methods else None

    def fits(self, request: Request, query: Mapping[str, str]) -> bool:
        """Whether a request with these parameters meets the conditions on header and query."""
        found = request.found
        for name, value in self.headers:
            if name not in found or value not in {None, found[name]}:
                return False
        return all(name in query and value in {None, query[name]} for name, value in self.query)


def name_of(host: bytes) -> bytes:
    """The name in a `Host` field, without port, final dot and capitals; an IPv6 address keeps its brackets."""
    name, colon, port = host.rpartition(b":")
    bare = name if colon and b"]" not in port else host
    return bare.removesuffix(b".").lower()


def parameters(query: bytes, *, last: bool = False) -> dict[str, str]:
    """The parameters of a query by name; the first value of a repeated one, or the last."""
    text = query.decode("latin-1")
    if "%" in text or "+" in text:
        pairs = parse_qsl(text, keep_blank_values=True)
    else:  # the same, without what there is nothing of
        parts = [part.partition("=") for part in text.split("&") if part]
        pairs = [(name, value) for name, _, value in parts]
    return dict(pairs if last else reversed(pairs))


def ranked(rules: Sequence[Rule[T]], method: str) -> tuple[Rule[T], ...]:
    """The rules that take `method`, in their order of precedence."""
    found = [(rank, rule) for rule in rules if (rank := rule.rank(method)) is not None]
    # The order is stable: of equals the first stays first.
    found.sort(key=lambda each: (each[0], -len(each[1].headers), -len(each[1].query)))
    return tuple(rule for _, rule in found)


def _trimmed(path: bytes) -> bytes:
    return b"/" + path.strip(b"/")


def _wanted(value: str) -> bytes | None:
    return None if value == ANY else value.encode()
