"""The effective configuration as rows of key, value and origin, with every secret hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

from micro.redact import redact_text, redact_value
from micro.spec.layers import origin_of
from micro.spec.terms import Bytes, Rate, Seconds
from micro.spec.units import format_duration, format_rate, format_size
from micro.spec.validate import key_path, keys_of
from micro.stack import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from micro.profile import Profile
    from micro.stack import Stack

_FORMATS: dict[Any, Callable[[Any], str]] = {Seconds: format_duration, Bytes: format_size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One effective value, ready to print: secrets are redacted."""

    key: str
    value: str
    origin: str


def describe(stack: Stack, profile: Profile, origins: Mapping[str, str]) -> list[Setting]:
    """The profile's values, then the stack's: gateway and services. Routes are shown by `micro routes`.

    Of the `upstream` table of a service that runs in this process, just what was set.
    """
    rows = list(_rows(profile, ("profiles", profile.name)))
    found = [_setting(path, text, profile.place(*path[2:]).file) for path, text in rows]
    local = {member.name for member in stack.members if member.service or member.app}
    for path, text in _stack_rows(stack):
        origin = origin_of(origins, key_path(path))
        if origin is None and path[0] == "services" and path[1] in local and path[2] == "upstream":
            continue
        found.append(_setting(path, text, origin or BUILT_IN))
    return found


def _stack_rows(stack: Stack) -> Iterator[tuple[tuple[str, ...], str]]:
    yield ("stack", "name"), stack.name
    yield from _rows(stack.gateway, ("gateway",))
    yield ("gateway", "auth", "issuers"), ", ".join(stack.gateway.issuers)
    for name, provider in stack.gateway.providers.items():
        yield from _rows(provider, ("gateway", "auth", "providers", name))
    for member in stack.members:
        yield from _rows(member, ("services", member.name))


def _setting(path: tuple[str, ...], text: str, origin: str) -> Setting:
    shown = redact_value(path[-1], text) if "env" in path else redact_text(text)
    return Setting(key=key_path(path), value=shown, origin=origin)


def _rows(table: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Key path and text of every value that is set; arrays of tables are left out."""
    for key, hint in keys_of(cast(type, type(table))).items():
        yield from _rows_of(getattr(table, key), hint, (*path, key))


def _rows_of(value: Any, hint: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if is_dataclass(value) and not isinstance(value, Rate):
        yield from _rows(value, path)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _rows_of(inner, None, (*path, name))
    elif (value or value == 0) and not _holds_tables(value):
        yield path, _text(value, hint)


def _holds_tables(value: Any) -> bool:
    return isinstance(value, tuple) and is_dataclass(value[0])


def _text(value: Any, hint: Any) -> str:
    if isinstance(value, Rate):
        return format_rate(value)
    if isinstance(value, tuple | frozenset):
        return ", ".join(map(str, value if isinstance(value, tuple) else sorted(value)))
    if isinstance(value, bool):
        return str(value).lower()
    form = next((_FORMATS[each] for each in (hint, *get_args(hint)) if each in _FORMATS), str)
    return form(value)
