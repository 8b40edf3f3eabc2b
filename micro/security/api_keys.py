"""API keys: made once, shown once, and from then on known by their digest."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.clock import Clock

PREFIX = "micro_"
"""So that people, and the scanners of code hosts, recognise one that lies about."""
_BYTES = 32


def new_api_key(clock: Clock) -> str:
    """A key with 256 bits of chance: no list of likely ones leads to it, so its digest needs neither salt nor cost."""
    secret = clock.randbits(8 * _BYTES).to_bytes(_BYTES, "big")
    return PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def digest_of(key: str) -> str:
    """What `hash` of a `[gateway.api_keys.NAME]` table says of the key."""
    return f"sha256:{sha256(key.encode()).hexdigest()}"
