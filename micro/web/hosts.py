"""Which ``Host`` values are answered: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.

A name that nobody configured is refused, so that a page which rebinds its DNS name to this machine gets nothing.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAX_KNOWN = 256
# uri-host [ ":" port ], RFC 9110 section 7.2; the bracketed form holds IPv6 addresses only.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{0,5}))?\Z")


class Hosts:
    """The host names answered to, compared without case and port.

    `names` are names, addresses, ``*.example.com`` (any name below) or ``*`` (any); `None` means the loopback names and
    `bound`, the address that is listened on. `more` are answered to besides.
    """

    def __init__(
        self, names: Sequence[str] | None = None, *, bound: str = "127.0.0.1", more: Sequence[str] = ()
    ) -> None:
        self.change(names, bound=bound, more=more)

    def change(
        self, names: Sequence[str] | None, *, bound: str = "127.0.0.1", more: Sequence[str] = ()
    ) -> None:
        """Answer to these from now on, and to no others."""
        chosen = (*((*LOOPBACK, bound) if names is None else names), *more)
        self._names = frozenset(_normal(name) for name in chosen if not name.startswith("*."))
        self._suffixes = tuple(name[1:].lower() for name in chosen if name.startswith("*."))
        self._known: set[bytes] = set()

    def refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Why a request with these headers gets 400; nothing when its ``Host`` is fine."""
        host: bytes | None = None
        for name, value in headers:
            if name == b"host":
                if host is not None:
                    return "Host was sent more than once."
                host = value
        if host is None:
            return "Host is missing."
        return None if host in self._known else self._judge(host)

    def _judge(self, host: bytes) -> str | None:
        match = _HOST.match(host)
        if match is None or (match[2] and int(match[2]) > 0xFFFF):
            return "Host is malformed."
        name = _normal(match[1].decode("ascii"))
        if name not in self._names and "*" not in self._names and not name.endswith(self._suffixes):
            return "This host name is not answered here: add it to the hosts of the gateway's settings."
        if len(self._known) < _MAX_KNOWN:
            self._known.add(host)
        return None


def _normal(name: str) -> str:
    bare = name.strip("[]").removesuffix(".").lower()
    try:
        return ip_address(bare).compressed
    except ValueError:
        return bare
