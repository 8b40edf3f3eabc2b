"""Header fields that are believed from some senders only, whoever reads them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PEER = b"x-micro-peer"
"""Holds a service's token: by it a gateway, or a service that calls another, proves that it belongs to the stack.

It stands beside `Authorization`, which speaks for whomever the request is made for.
"""

IDENTITY = frozenset(
    {
        b"remote-user",
        b"x-auth-request-email",
        b"x-auth-request-groups",
        b"x-auth-request-user",
        b"x-authenticated-user",
        b"x-authenticated-userid",
        b"x-forwarded-access-token",
        b"x-forwarded-email",
        b"x-forwarded-groups",
        b"x-forwarded-preferred-username",
        b"x-forwarded-user",
        b"x-remote-user",
        b"x-user-id",
        b"x-user-role",
        b"x-user-roles",
        b"x-user-scopes",
        b"x-webauth-user",
    }
)
"""Who the user is, as services let the proxy in front of them tell. Believed from trusted peers only."""


def spellings(name: bytes) -> Iterable[bytes]:
    """`name` with each hyphen as itself or as an underscore: servers that map one to the other can't tell them apart."""
    parts = name.split(b"-")
    for joints in product((b"-", b"_"), repeat=len(parts) - 1):
        yield b"".join(part + joint for part, joint in zip(parts, (*joints, b""), strict=True))
