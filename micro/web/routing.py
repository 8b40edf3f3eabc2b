"""Matches raw request paths against templates such as ``/tasks/{id}/complete``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


class Routes(Generic[T]):
    """Templates by path element; a fixed element wins over a parameter. A match costs the path's length.

    It is the raw path that is matched, the form that the gateway routes on: ``/auth/%6Cogin`` is not ``/auth/login``,
    or a rule for one could be passed by under the name of the other. Parameters are percent-decoded after the match.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._fixed: dict[bytes, dict[str, T]] = {}

    def add(self, method: str, template: str, target: T) -> None:
        """Add a target. Raises `ConfigurationError` for a malformed template and one that is there already."""
        elements = _elements(template)
        node = self._root
        for element in elements:
            node = node.child(element)
        if method in node.targets:
            raise ConfigurationError(f"{method} {template} is declared twice")
        node.targets[method] = target
        if None not in elements:
            self._fixed[template.encode()] = node.targets

    def match(self, raw_path: bytes) -> tuple[Mapping[str, T], tuple[bytes, ...]] | None:
        """The targets by method with the raw parameters in order, or nothing."""
        fixed = self._fixed.get(raw_path)
        if fixed is not None:
            return fixed, ()
        if raw_path[:1] != b"/":
            return None
        return _walk(self._root, raw_path[1:].split(b"/"), 0, ())


class _Node(Generic[T]):
    __slots__ = ("fixed", "parameter", "targets")

    def __init__(self) -> None:
        self.targets: dict[str, T] = {}
        self.fixed: dict[bytes, _Node[T]] = {}
        self.parameter: _Node[T] | None = None

    def child(self, element: bytes | None) -> _Node[T]:
        if element is not None:
            return self.fixed.setdefault(element, _Node())
        if self.parameter is None:
            self.parameter = _Node()
        return self.parameter


def _walk(
    node: _Node[T], elements: list[bytes], index: int, parameters: tuple[bytes, ...]
) -> tuple[Mapping[str, T], tuple[bytes, ...]] | None:
    if index == len(elements):
        return (node.targets, parameters) if node.targets else None
    element = elements[index]
    fixed = node.fixed.get(element)
    if fixed is not None:
        found = _walk(fixed, elements, index + 1, parameters)
        if found is not None:
            return found
    if node.parameter is None or not element:
        return None
    return _walk(node.parameter, elements, index + 1, (*parameters, element))


def parameter_names(template: str) -> list[str]:
    """The names of a template's parameters, in order."""
    return [part[1:-1] for part in template.split("/") if part.startswith("{")]


def decode_parameter(raw: bytes) -> str:
    """The text of a raw path element. Raises `UnicodeDecodeError` when it is not UTF-8."""
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode()


def _elements(template: str) -> list[bytes | None]:
    if not template.startswith("/"):
        raise ConfigurationError(f"{template}: a path starts with a slash")
    elements: list[bytes | None] = []
    for part in template[1:].split("/"):
        named = part.startswith("{") and part.endswith("}")
        if (named and not part[1:-1].isidentifier()) or (not named and ("{" in part or "}" in part)):
            raise ConfigurationError(f"{template}: a parameter is a whole path element, such as {{id}}")
        elements.append(None if named else part.encode())
    return elements
