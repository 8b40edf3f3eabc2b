"""Finds the route of a request: by host, then path, then method, header fields and query.

A trie over path elements: the cost grows with the depth of the matched prefix, not with the number of routes. Conditions
on header and query are looked at only in the places that have some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from micro.errors import ConfigurationError
from micro.gateway.rules import name_of, parameters, ranked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from micro.gateway.rules import Request, Rule

T = TypeVar("T")

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""What `Allow` names for a route without a condition on the method."""
_LONGEST_NAME = 253
"""Bytes of a host name (RFC 1035 section 3.1)."""


class _Place(Generic[T]):
    """The rules of one path. `methods` and `any` have their targets; where a rule has conditions, `any` is the place."""

    __slots__ = ("any", "methods", "ranked", "rest", "rules")

    def __init__(self) -> None:
        self.rules: list[Rule[T]] = []
        self.methods: dict[str, Any] = {}
        self.any: Any = None
        self.ranked: dict[str, tuple[Rule[T], ...]] = {}
        self.rest: tuple[Rule[T], ...] = ()
        """For the methods that no rule names."""

    def seal(self) -> None:
        """Put the rules in their order of precedence. Raises `ConfigurationError` where two take the same requests."""
        _refuse_doubles(self.rules)
        named = {method for rule in self.rules for method in rule.methods or ()}
        named |= {"HEAD"} if named else set()
        self.ranked = {method: ranked(self.rules, method) for method in named}
        self.rest = ranked(self.rules, "")
        if any(rule.headers or rule.query for rule in self.rules):
            self.any = self
        else:
            self.methods = {method: rules[0].target for method, rules in self.ranked.items() if rules}
            self.any = self.rest[0].target if self.rest else None

    def choose(self, request: Request, *, last: bool) -> T | None:
        """The target of the first rule that fits."""
        rules = self.ranked.get(request.method, self.rest)
        query = parameters(request.query, last=last) if any(rule.query for rule in rules) else {}
        return next((rule.target for rule in rules if rule.fits(request, query)), None)

    def taken(self, request: Request, *, last: bool) -> Iterator[str]:
        """The methods that the rules take which a request would meet by another method."""
        query = parameters(request.query, last=last)
        for rule in self.rules:
            if rule.fits(request, query):
                yield from METHODS if rule.methods is None else rule.methods
                yield from ("HEAD",) if rule.methods and "GET" in rule.methods else ()


class _Node(_Place[T]):
    __slots__ = ("children",)

    def __init__(self) -> None:
        super().__init__()
        self.children: dict[bytes, _Node[T]] = {}


class _Tree(Generic[T]):
    """The rules of one host: whole paths, and prefixes below the root."""

    __slots__ = ("_exact", "_last", "_root")

    def __init__(self, *, last: bool) -> None:
        self._exact: dict[bytes, _Place[T]] = {}
        self._root: _Node[T] = _Node()
        self._last = last

    def find(self, path: bytes, request: Request) -> T | None:
        """What the first rule that takes the request leads to."""
        found: T | None = self._find_exact(path, request) if self._exact else None
        if found is not None:
            return found
        method, node = request.method, self._root
        found = node.methods.get(method, node.any)
        if found is node:
            found = node.choose(request, last=self._last)
        start = 1
        while node.children:
            end = path.find(b"/", start)
            child = node.children.get(path[start:] if end < 0 else path[start:end])
            if child is None:
                break
            node = child
            deeper = node.methods.get(method, node.any)
            if deeper is node:
                deeper = node.choose(request, last=self._last)
            if deeper is not None:
                found = deeper
            if end < 0:
                break
            start = end + 1
        return found

    def place(self, rule: Rule[T]) -> _Place[T]:
        """Where a rule belongs; made where there is none yet."""
        if rule.exact:
            return self._exact.setdefault(rule.path, _Place())
        node = self._root
        for element in rule.path.split(b"/")[1:] if rule.path != b"/" else ():
            node = node.children.setdefault(element, _Node())
        return node

    def taken(self, path: bytes, request: Request) -> Iterator[str]:
        """The methods by which the request would have a route here."""
        for place in self._along(path):
            yield from place.taken(request, last=self._last)

    def _find_exact(self, path: bytes, request: Request) -> T | None:
        place = self._exact.get(path)
        return None if place is None else place.choose(request, last=self._last)

    def _along(self, path: bytes) -> Iterator[_Place[T]]:
        """Every place whose rules take `path`."""
        if path in self._exact:
            yield self._exact[path]
        node: _Node[T] | None = self._root
        for element in (None, *path.split(b"/")[1:]):
            if element is not None and node is not None:
                node = node.children.get(element)
            if node is None:
                return
            yield node


class Router(Generic[T]):
    """Rules, and which of them a request meets. Immutable.

    The precedence is that of the Kubernetes Gateway API's HTTPRoute
    (https://gateway-api.sigs.k8s.io/reference/spec/), of all rules that take the request: the one that names its host;
    that names the most of it (`*.example.com`); then the exact path, the longest prefix, the one that names the method,
    the most header fields, the most query parameters, and the first.

    With `last`, the last of repeated query parameters counts instead of the first. Raises `ConfigurationError` for two
    rules that take exactly the same requests.
    """

    __slots__ = ("_any_host", "_hosts", "_last", "match", "reads_query")

    def __init__(self, rules: Iterable[Rule[T]] = (), *, last: bool = False) -> None:
        rules = list(rules)
        self._last = last
        self.reads_query = any(rule.query for rule in rules)
        """Whether a rule depends on the query."""
        self._any_host: _Tree[T] = _Tree(last=last)
        self._hosts: dict[bytes, _Tree[T]] = {}
        places: dict[int, _Place[T]] = {}
        for rule in rules:
            place = self._tree(rule).place(rule)
            place.rules.append(rule)
            places[id(place)] = place
        for place in places.values():
            place.seal()
        self.match: Callable[[bytes, Request], T | None] = (
            self._match_host if self._hosts else self._any_host.find
        )
        """What the first rule that takes a request with this path leads to. Where no rule names a host, none is read."""

    def allowed(self, path: bytes, request: Request) -> tuple[str, ...]:
        """The methods by which the request would have a route, sorted; none where it has none by any."""
        trees = self._trees_of(request)
        return tuple(sorted({method for tree in trees for method in tree.taken(path, request)}))

    def _match_host(self, path: bytes, request: Request) -> T | None:
        for tree in self._trees_of(request):
            found = tree.find(path, request)
            if found is not None:
                return found
        return None

    def _tree(self, rule: Rule[T]) -> _Tree[T]:
        if rule.host is None:
            return self._any_host
        key = rule.host.removeprefix("*").encode("ascii")
        return self._hosts.setdefault(key, _Tree(last=self._last))

    def _trees_of(self, request: Request) -> list[_Tree[T]]:
        """The trees whose hosts take the request's, the most specific first."""
        hosts = self._hosts
        name = name_of(request.found.get(b"host", b"")) if hosts else b""
        found = [hosts[name]] if name in hosts else []
        dot = name.find(b".") if len(name) <= _LONGEST_NAME else -1
        while dot > 0:
            if name[dot:] in hosts:
                found.append(hosts[name[dot:]])
            dot = name.find(b".", dot + 1)
        return [*found, self._any_host]


def _refuse_doubles(rules: Sequence[Rule[T]]) -> None:
    taken = set()
    for rule in rules:
        for method in rule.methods or (None,):
            key = (method, rule.headers, rule.query)
            if key in taken:
                what = rule.path.decode("utf-8", "backslashreplace")
                raise ConfigurationError(f"two routes for {f'{method} {what}' if method else what}")
            taken.add(key)
