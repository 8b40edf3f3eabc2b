"""Finds the route of a path: the longest prefix, by path element, that takes the method.

A trie over path elements: the cost grows with the depth of the matched prefix, not with the number of routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

T = TypeVar("T")

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""What `Allow` names for a route without a condition on the method."""


class _Node(Generic[T]):
    __slots__ = ("any", "children", "methods", "named")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[T]] = {}
        self.methods: dict[str, T] = {}
        self.named: set[str] = set()
        self.any: T | None = None


class Router(Generic[T]):
    """Prefixes and what lies behind them. Built once; reading it changes nothing.

    The precedence is that of the Kubernetes Gateway API's HTTPRoute
    (https://gateway-api.sigs.k8s.io/reference/spec/): the longest prefix first, then the one that names the method. A
    prefix that doesn't take the method leaves the request to a shorter one.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, path: bytes, methods: Collection[str] | None, target: T) -> None:
        """Send `path` and all below it to `target`, for these methods (`GET` takes `HEAD` too), `None` for every one.

        A final slash changes nothing. Raises `ConfigurationError` where the place is taken.
        """
        node = self._root
        for element in _elements(path):
            node = node.children.setdefault(element, _Node())
        if methods is None:
            if node.any is not None:
                raise ConfigurationError(f"two routes for {_shown(path)}")
            node.any = target
            return
        for method in methods:
            if method in node.named:
                raise ConfigurationError(f"two routes for {method} {_shown(path)}")
            node.named.add(method)
            node.methods[method] = target
        if "GET" in methods and "HEAD" not in node.named:
            node.methods["HEAD"] = target

    def match(self, path: bytes, method: str) -> T | None:
        """What the longest prefix of `path` that takes `method` leads to."""
        node = self._root
        found = node.methods.get(method, node.any)
        start = 1
        while node.children:
            end = path.find(b"/", start)
            child = node.children.get(path[start:] if end < 0 else path[start:end])
            if child is None:
                break
            node = child
            deeper = node.methods.get(method, node.any)
            if deeper is not None:
                found = deeper
            if end < 0:
                break
            start = end + 1
        return found

    def allowed(self, path: bytes) -> tuple[str, ...]:
        """The methods that some prefix of `path` takes, sorted; none where no prefix matches at all."""
        methods: set[str] = set()
        for node in self._along(path):
            methods |= METHODS if node.any is not None else node.methods.keys()
        return tuple(sorted(methods))

    def _along(self, path: bytes) -> Iterable[_Node[T]]:
        node: _Node[T] | None = self._root
        for element in (None, *path.split(b"/")[1:]):
            if element is not None and node is not None:
                node = node.children.get(element)
            if node is None:
                return
            yield node


def _elements(path: bytes) -> list[bytes]:
    trimmed = path.strip(b"/")
    return trimmed.split(b"/") if trimmed else []


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
