"""Takes secrets out of what people and files get to see. A net with a coarse mesh: don't log secrets to begin with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"secret|passw(?:or)?d|pwd|token|key|authorization|credential|cookie", re.IGNORECASE
)
_NOT_SECRET = re.compile(
    r"(?:^|_)(?:key_?id|keys?_?(?:path|file|words?)|public_?keys?|idempotency_?key)$", re.IGNORECASE
)

# scheme://user:password@host: the password runs to the last @ before the path, since people forget to escape it.
_URL_PASSWORD = re.compile(
    r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:)[^\s/\"']+(?P<tail>@)", re.IGNORECASE
)
_BEARER = re.compile(r"\b(?P<head>(?:bearer|basic) +)[\w.~+/=-]{6,}", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]{6,}\.[\w-]+\.[\w-]*")
_API_KEY = re.compile(r"\bmicro_[\w-]{43}(?![\w-])")
"""Those of `micro.security.api_keys`."""
_PAIR = re.compile(
    r"(?P<head>(?:passw(?:or)?d|pwd|secret|[a-z_-]*token|api[_-]?key|authorization)[\"']? ?[=:] ?)"
    r"(?P<quote>[\"']?)(?!\*\*\*)(?:(?:bearer|basic) +)?[^\s\"'&,;})]+",
    re.IGNORECASE,
)
_HINT = re.compile(r"://|eyJ|micro_|bearer|basic|pass|pwd|secret|token|key|authorization", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a key, variable or header of this name holds something to hide."""
    return _SECRET_NAME.search(name) is not None and _NOT_SECRET.search(name) is None


def redact_text(text: str) -> str:
    """`text` without the passwords in URLs, bearer tokens, JWTs, API keys, and what follows `password=` and the like."""
    if _HINT.search(text) is None:
        return text
    text = _URL_PASSWORD.sub(rf"\g<head>{HIDDEN}\g<tail>", text)
    text = _BEARER.sub(rf"\g<head>{HIDDEN}", text)
    text = _JWT.sub(HIDDEN, text)
    text = _API_KEY.sub(HIDDEN, text)
    return _PAIR.sub(rf"\g<head>\g<quote>{HIDDEN}", text)


def redact_value(name: str, value: Any) -> Any:
    """`value` as it may be shown under `name`: hidden, or with the secrets inside its text hidden."""
    if value is not None and is_secret(name):
        return HIDDEN
    return redact_text(value) if isinstance(value, str) else value


def redact_mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with every secret hidden, in tables inside too (to a depth of 8, below which everything is hidden)."""
    return {name: _redact_any(name, value, 8) for name, value in values.items()}


def _redact_any(name: str, value: Any, depth: int) -> Any:
    if value is not None and (not depth or is_secret(name)):
        return HIDDEN
    if isinstance(value, dict):
        return {str(key): _redact_any(str(key), inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_any("", inner, depth - 1) for inner in value]
    return redact_value(name, value)
