"""What a value of `micro.toml` must look like beyond its type: one small function per marker of `micro.stack`.

Each takes what TOML gave, returns the value to keep, and raises `ValueError` with a sentence that follows "key: ".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from micro.spec.units import parse_duration, parse_rate, parse_size
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.spec.terms import Rate

RESERVED = frozenset({"access", "bus", "gateway", "micro", "stack", "system", "up"})
"""Not for services: files, loggers and tables of the stack itself are called so."""

GATEWAYS_OWN = frozenset({"/docs", "/health", "/metrics", "/openapi.json"})
"""Paths that no service can have."""

METHODS = frozenset({
    "ACL", "BIND", "CHECKOUT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK",
    "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "OPTIONS", "PATCH",
    "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH",
    "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
})  # fmt: skip
"""What a gateway passes on: the methods that the HTTP parser knows, without `CONNECT` and `TRACE`, which end at every one."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}\Z")
_STACK_NAME = re.compile(r"(?a)\w[\w .-]{0,59}\Z")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*\Z")
_IMPORT = re.compile(r"(?a)[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\Z")
_URL = re.compile(r"https?://[^/?#\s@]+(/[^?#\s]*)?\Z")
_HOST = re.compile(r"(?a)[\w.*:\[\]-]{1,253}\Z")
_HOST_PATTERN = re.compile(r"(?a)(\*\.)?\w[\w-]*(\.\w[\w-]*)*\Z|\[[0-9a-fA-F:.]+\]\Z")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*\Z")
_HASH_KEY = re.compile(r"(ip|path|(header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]+)\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ORIGIN = re.compile(r"(?i)\*\Z|null\Z|[a-z][a-z0-9+.-]*://[^/?#\s@]+/?\Z")
_BACKEND = re.compile(r"[a-z][a-z0-9+.-]*:\S*\Z")
_VARIABLE = re.compile(r"[^=\0]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _matching(pattern: re.Pattern[str], message: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.match(text):
            raise ValueError(message)
        return text

    return check


def _port(number: int) -> int:
    if not 0 <= number <= 65535:
        raise ValueError("must be a port, from 0 to 65535")
    return number


def _service_name(text: str) -> str:
    if not _NAME.match(text):
        raise ValueError(
            "must be a name of at most 40 small letters, digits, - and _, beginning with a letter"
        )
    if text in RESERVED:
        raise ValueError("is a name that micro itself uses; choose another")
    return text


def _path(text: str) -> str:
    if not _PATH.match(text):
        raise ValueError(
            'must be a path like "/orders": a slash first, no query, no spaces, other characters as %XX'
        )
    return text


def _route_path(text: str) -> str:
    _path(text)
    if text in GATEWAYS_OWN:
        raise ValueError("is answered by the gateway itself")
    if text != "/" and text.endswith("/"):
        raise ValueError(
            f'must not end in a slash: write "{text.rstrip("/") or "/"}", it takes what is below as well'
        )
    return _target_path(text)


def _target_path(text: str) -> str:
    _path(text)
    if any(element in {"", ".", ".."} for element in text[1:].split("/")) and text != "/":
        raise ValueError("must not have empty elements, . or ..")
    return text


def _network(text: str) -> str:
    from ipaddress import ip_network  # noqa: PLC0415 # loaded when first used

    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError('must be an address or network like "10.0.0.0/8"') from None


def _field_name(text: str) -> str:
    if not _FIELD_NAME.match(text):
        raise ValueError('must be the name of a header field like "x-version"')
    return text.lower()


def _host_pattern(text: str) -> str:
    if len(text) > 253 or not _HOST_PATTERN.match(text):
        raise ValueError('must be a host name like "shop.example.com" or "*.example.com", without a port')
    return text.lower()


def _method(text: str) -> str:
    if text in METHODS:
        return text
    if text in {"CONNECT", "TRACE"}:
        raise ValueError("is a method that no gateway passes on (it answers 405)")
    if text.upper() in METHODS:
        raise ValueError(f'must be a method in capital letters: "{text.upper()}"')
    raise ValueError(f"must be a method that the gateway knows (it answers 501){did_you_mean(text, METHODS)}")


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    if _CONTROL.search(text):
        raise ValueError("must be a text without control characters")
    return text


def _value(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return text


def _backend_url(text: str) -> str:
    if "${" not in text and not _BACKEND.match(text):
        raise ValueError('must be a URL like "memory:" or "sqlite:.micro/{service}.db"')
    return text


def _percent(number: int) -> int:
    if not 0 <= number <= 100:
        raise ValueError("must be a percentage, from 0 to 100")
    return number


def _rate_or_off(text: str) -> Rate | None:
    return None if text == "off" else parse_rate(text)


def _http_url(text: str) -> str:
    if "${" in text:
        raise ValueError("must be written out: variables are replaced in profiles and env tables only")
    if not _URL.match(text):
        raise ValueError('must be a URL like "http://10.0.0.5:9000"')
    _, _, port = text.split("/")[2].rpartition(":")
    if port.isascii() and port.isdigit() and not 0 < int(port) <= 65535:
        raise ValueError("must have a port from 1 to 65535")
    return text


def _count(number: int) -> int:
    if not 0 < number < 1 << 31:
        raise ValueError("must be a whole number from 1 to 2147483647")
    return number


def _failure(number: int) -> int:
    if not 400 <= number <= 599:
        raise ValueError("must be a status from 400 to 599")
    return number


def _whole_number(number: int) -> int:
    if not 0 <= number < 1 << 31:
        raise ValueError("must be a whole number from 0 to 2147483647")
    return number


FORMATS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "backend url": (str, _backend_url),
    "count": (int, _count),
    "digest": (str, _matching(_DIGEST, 'must be "sha256:" and 64 hexadecimal digits')),
    "duration": (str, parse_duration),
    "environment name": (str, _matching(_VARIABLE, "must be a variable's name")),
    "environment value": (str, _value),
    "failure": (int, _failure),
    "field name": (str, _field_name),
    "field value": (str, _matching(_FIELD_VALUE, "must be visible ASCII characters")),
    "hash key": (str, _matching(_HASH_KEY, 'must be "ip", "path", "header:NAME" or "cookie:NAME"')),
    "host": (str, _matching(_HOST, "must be a host name or an address")),
    "host pattern": (str, _host_pattern),
    "http url": (str, _http_url),
    "import string": (str, _matching(_IMPORT, 'must be an import string like "shop.service:service"')),
    "method": (str, _method),
    "network": (str, _network),
    "origin": (str, _matching(_ORIGIN, 'must be "*" or an origin like "https://app.example.com"')),
    "percent": (int, _percent),
    "path": (str, _path),
    "port": (int, _port),
    "rate": (str, parse_rate),
    "rate or off": (str, _rate_or_off),
    "route path": (str, _route_path),
    "service name": (str, _service_name),
    "size": (str, parse_size),
    "stack name": (str, _matching(_STACK_NAME, "must be a name of letters, digits, spaces, - and _")),
    "target path": (str, _target_path),
    "text": (str, _text),
    "whole number": (int, _whole_number),
}
"""Marker to the type that TOML must give and the check."""
