"""Checks tables against dataclasses: unknown keys, wrong types, missing keys. The fields' types are the only rules.

A field's type is `str`, `int`, `bool`, a `Literal`, a dataclass (a table), `tuple[T, ...]` or `frozenset[T]` (an array),
`Mapping[K, V]` (a table of free keys), `T | None`, or `Annotated[T, marker]` with a marker of `micro.spec.formats`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from micro.errors import ConfigurationError
from micro.redact import redact_value
from micro.spec.formats import FORMATS
from micro.suggest import did_you_mean, nearest

T = TypeVar("T")

_UNIONS = (Union, UnionType)

_BITS = 63
"""Of an integer in TOML, besides its sign. Python does not even write much larger ones."""
_UNREADABLE = "backend url"
_ONE_OR_MORE = "one or more"

_BARE = re.compile(r"(?a)[\w-]+\Z")
_INTEGER = re.compile(r"(?a)\s*\d{1,19}\s*\Z")
_READ = {bool: "true or false", int: "an integer, written in digits"}
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_TOML = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    float: "a number",
    list: "an array",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: a file (or `flag`, or `environment MICRO_X`) and the keys that lead to it."""

    file: str
    path: tuple[str, ...] = ()

    def at(self, *keys: str) -> Place:
        """A place further in."""
        return Place(self.file, self.path + keys)

    @property
    def key(self) -> str:
        """The key path as TOML writes it."""
        return key_path(self.path)

    def error(self, message: str) -> ConfigurationError:
        """An error that names the place."""
        return ConfigurationError(message, file=self.file, key=self.key)


def key_path(path: tuple[str, ...]) -> str:
    """Keys joined by dots, quoted where TOML wants it, long ones cut."""
    return ".".join(key if _BARE.match(key) and len(key) <= 60 else repr(key[:60]) for key in path)


@cache
def keys_of(table: type) -> Mapping[str, Any]:
    """The keys that a dataclass's table may have, with their types."""
    hints = get_type_hints(table, include_extras=True)
    return {field.name: hints[field.name] for field in fields(table) if field.metadata.get("toml", True)}


def check(value: Any, hint: Any, place: Place) -> Any:
    """`value` as `hint` wants it. Raises `ConfigurationError`.

    A table becomes a dictionary of the keys that are there, for `build` to complete; tables in an array are complete
    and become instances.
    """
    origin = get_origin(hint)
    if origin in {tuple, frozenset}:
        return _array(value, hint, place)
    if origin is Mapping:
        return _free_table(value, hint, place)
    if origin is Literal:
        return _choice(value, get_args(hint), place)
    if origin is Annotated:
        inner, marker = get_args(hint)
        if marker == _ONE_OR_MORE:
            return (
                _array(value, inner, place)
                if type(value) is list
                else (check(value, get_args(inner)[0], place),)
            )
        return _formatted(value, marker, place)
    if origin in _UNIONS:
        return check(value, next(kind for kind in get_args(hint) if kind is not NoneType), place)
    if is_dataclass(hint):
        return _table(value, hint, place)
    return _typed(value, hint, place)


def check_text(text: str, hint: Any, place: Place) -> Any:
    """As `check`, for the text of an environment variable: numbers and words are read, lists split at commas."""
    kind = _kind_of(hint)
    if get_origin(kind) in {tuple, frozenset}:
        inner = _kind_of(get_args(kind)[0])
        parts = [_read(part.strip(), inner, place) for part in text.split(",") if part.strip()]
        return check(parts, hint, place)
    return check(_read(text, kind, place), hint, place)


def _kind_of(hint: Any) -> Any:
    """What TOML would give for a value of this type."""
    while get_origin(hint) in (Annotated, *_UNIONS):
        marker = get_args(hint)[1] if get_origin(hint) is Annotated else None
        hint = FORMATS[marker][0] if marker in FORMATS else get_args(hint)[0]
    return hint


def _read(text: str, kind: Any, place: Place) -> Any:
    """The number or the truth that a text stands for, where one is wanted; else the text itself."""
    if kind is bool and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if kind is int and _INTEGER.match(text):
        return int(text)
    if kind in _READ:
        raise place.error(f"must be {_READ[kind]}, not {text[:60]!r}")
    return text


def build(kind: type[T], table: Mapping[str, Any], place: Place, **derived: Any) -> T:
    """An instance of a dataclass from a checked table. Raises `ConfigurationError` for a missing key."""
    for field in fields(kind):  # type: ignore[arg-type] # only dataclasses are given
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in table and field.name not in derived:
            raise place.at(field.name).error("is missing")
    hints = keys_of(cast("type", kind))
    inner = {key: _built(value, hints.get(key), place.at(key)) for key, value in table.items()}
    return kind(**inner, **derived)


def _built(value: Any, hint: Any, place: Place) -> Any:
    """`value` with the tables in it as instances."""
    if not isinstance(value, dict):
        return value
    if get_origin(hint) is Mapping:
        kind = get_args(hint)[1]
        return {key: _built(inner, kind, place.at(key)) for key, inner in value.items()}
    if get_origin(hint) in _UNIONS:
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    return build(cast(type, hint), value, place) if is_dataclass(hint) else value


def _table(value: Any, kind: Any, place: Place) -> dict[str, Any]:
    known = keys_of(kind)
    table = {}
    for key, inner in _typed(value, dict, place).items():
        if key not in known:
            raise place.at(key).error(f"unknown key{did_you_mean(key, known)}")
        table[key] = check(inner, known[key], place.at(key))
    return table


def _free_table(value: Any, hint: Any, place: Place) -> dict[str, Any]:
    key_hint, value_hint = get_args(hint)
    table = {}
    for name, inner in _typed(value, dict, place).items():
        key = check(name, key_hint, place.at(name))
        if key in table:
            raise place.at(name).error(f"is there twice: '{key}' is the same name")
        table[key] = check(inner, value_hint, place.at(name))
    return table


def _array(value: Any, hint: Any, place: Place) -> Any:
    kind = get_args(hint)[0]
    if type(value) is dict and is_dataclass(kind):
        raise place.error(f"must be an array, not a table: write [[{place.key}]]")
    items = []
    for number, inner in enumerate(_typed(value, list, place)):
        spot = place.at(str(number))
        item = check(inner, kind, spot)
        items.append(build(cast(type, kind), item, spot) if is_dataclass(kind) else item)
    if get_origin(hint) is tuple:
        return tuple(items)
    if not items:
        raise place.error("must name at least one")
    return frozenset(items)


def _choice(value: Any, choices: tuple[Any, ...], place: Place) -> Any:
    if value in choices:
        return value
    meant = nearest(value, choices) if isinstance(value, str) else None
    hint = f"; did you mean '{meant}'?" if meant is not None else ""
    raise place.error(f"must be one of {', '.join(map(repr, choices))}{hint}")


def _formatted(value: Any, marker: str, place: Place) -> Any:
    kind, form = FORMATS[marker]
    # A number in place of a text, as in `timeout = 5`, hears what the text has to look like.
    is_number = kind is str and type(value) in {int, float}
    given = str(_typed(value, type(value), place)) if is_number else _typed(value, kind, place)
    try:
        formed = form(given)
    except ValueError as error:
        if marker == _UNREADABLE:  # where it can't be read, nor can be told where its password is
            raise place.error(str(error)) from None
        shown = redact_value(place.path[-1], value)
        shown = repr(shown[:60]) if isinstance(shown, str) else shown
        raise place.error(f"{shown} {error}") from None
    _typed(value, kind, place)
    return formed


def _typed(value: Any, kind: Any, place: Place) -> Any:
    if type(value) is not kind:
        raise place.error(f"must be {_TOML[kind]}, not {_TOML.get(type(value), 'a date or time')}")
    if kind is int and value.bit_length() > _BITS:
        raise place.error("is a number larger than TOML has")
    return value
