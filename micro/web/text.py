"""Text that every store can keep: Unicode without NUL (PostgreSQL refuses it) and without lone surrogates."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_clean(text: str) -> bool:
    """Whether `text` has neither NUL nor lone surrogates."""
    return _UNSTORABLE.search(text) is None


def printable(text: str) -> str:
    """`text` with lone surrogates escaped, so that it can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()
