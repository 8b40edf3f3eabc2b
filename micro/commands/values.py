"""Values as people type them on the command line. Every parser raises `ValueError` with the end of a sentence."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIELD = re.compile(r"\s*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:(?P<value>[^\0\r\n]*)")
"""A field of a request's head; RFC 9110 section 5.1 for the name."""


def whole_number(text: str) -> int:
    """A number of things, 0 or more."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError("is not a whole number, 0 or more")
    return int(text)


def assignment(text: str) -> tuple[str, int]:
    """`SERVICE=N`. Raises `UsageError`, as it was given many times."""
    name, equals, number = text.partition("=")
    try:
        return name, whole_number(number)
    except ValueError as error:
        reason = f"'{number}' is not a number of instances" if equals else "write SERVICE=N, like task=3"
        raise UsageError(f"{text}: {reason}") from error


def http_method(text: str) -> str:
    """The name of an HTTP method, in capitals."""
    if not re.fullmatch("[A-Za-z-]{1,40}", text):
        raise ValueError("is not a method like GET or POST")
    return text.upper()


def head_fields(texts: Iterable[str]) -> list[tuple[str, str]]:
    """What `--header` was given: names in small letters, with values. Raises `UsageError`, as it was given many times."""
    fields = []
    for text in texts:
        field = _FIELD.fullmatch(text)
        if field is None:
            raise UsageError(f"--header {text!r}: write 'Name: value'")
        fields.append((field["name"].lower(), field["value"].strip()))
    return fields


def port_number(text: str) -> int:
    """A TCP port that can be listened on; 0 lets the system choose."""
    if (number := whole_number(text)) > 65535:
        raise ValueError("is not a port: they end at 65535")
    return number


def json_object(text: str) -> dict[str, Any]:
    """A JSON object, given as text, as `@FILE`, or as `-` for standard input."""
    value = json_value(text)
    if not isinstance(value, dict):
        raise ValueError("is JSON, but no object; write {…}")  # noqa: TRY004 - one kind of error for the caller
    return value


def json_value(text: str) -> Any:
    """Any JSON, given as text, as `@FILE`, or as `-` for standard input."""
    written = content(text)
    try:
        return json.loads(written, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error


def member(value: Any, path: str) -> Any:
    """What lies at `path` in decoded JSON: names of members and places in lists, joined by dots (`items.0.id`)."""
    place: list[str] = []
    for name in path.split("."):
        try:
            value = (
                value[int(name)] if isinstance(value, list) and name.isdecimal() else _members(value)[name]
            )
        except (KeyError, IndexError) as error:
            where = ".".join(place) or "it"
            raise ValueError(f"{where} {_kind(value)}") from error
        place.append(name)
    return value


def content(text: str) -> bytes:
    """The text itself, or what the file or standard input that it names holds."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return os.fsencode(text)
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from error


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"has {', '.join(value):.200}" if value else "is an empty object"
    return f"is a list of {len(value)}" if isinstance(value, list) else "has no members"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not part of JSON")
