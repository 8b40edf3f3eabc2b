"""Where an issuer's public keys come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from micro.errors import CallError
from micro.service import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from micro.service import Caller

    Fetch: TypeAlias = "Callable[[str], Awaitable[bytes]]"

JWKS_PATH = "/auth/jwks.json"


class KeySource(Protocol):
    """One issuer of tokens and the keys it publishes."""

    issuer: str

    async def keys(self) -> list[dict[str, Any]]:
        """The issuer's JWKs now. Raises `CallError` when they can't be had."""
        ...


class StaticKeys:
    """Keys that are known from the start."""

    def __init__(self, issuer: str, keys: Sequence[Mapping[str, Any]]) -> None:
        self.issuer = issuer
        self._keys = [dict(key) for key in keys]

    async def keys(self) -> list[dict[str, Any]]:
        """See `KeySource.keys`."""
        return self._keys


class ServiceKeys:
    """The keys that a service of the stack publishes at ``/auth/jwks.json``."""

    def __init__(self, issuer: str, *, service: str, caller: Caller, source: str = "gateway") -> None:
        self.issuer = issuer
        self._caller = caller
        self._call = Call(source=source, target=service, method="GET", path=JWKS_PATH, timeout=3.0)

    async def keys(self) -> list[dict[str, Any]]:
        """See `KeySource.keys`."""
        reply = await self._caller.call(self._call)
        keys = _key_set(reply.body) if reply.status == 200 else None
        if keys is None:
            raise CallError(f"{self._call.target} answered {JWKS_PATH} with {reply.status} and no key set")
        return keys


class RemoteKeys:
    """The keys that an issuer outside the stack publishes at a URL. `fetch` gets the document."""

    def __init__(self, issuer: str, url: str, *, fetch: Fetch) -> None:
        self.issuer = issuer
        self._url = url
        self._fetch = fetch

    async def keys(self) -> list[dict[str, Any]]:
        """See `KeySource.keys`."""
        keys = _key_set(await self._fetch(self._url))
        if keys is None:
            raise CallError(f"{self._url} holds no key set")
        return keys


def _key_set(document: bytes) -> list[dict[str, Any]] | None:
    """The members of a JWK Set (RFC 7517 section 5) that are objects; nothing where it is none."""
    try:
        keys = msgspec.json.decode(document)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else None
