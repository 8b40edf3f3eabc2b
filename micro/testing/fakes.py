"""Stand-ins for what a service is given: who is asking, and the other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from micro.errors import CallError, TokenError
from micro.service import Identity, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.clock import Clock
    from micro.service import Call


class FakeVerifier:
    """A `micro.service.Verifier` of tokens that it made itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._identities: dict[str, Identity] = {}

    def token(self, subject: str, *, role: str = "user", kind: str = "user", seconds: float = 900.0) -> str:
        """A token that will be accepted for so many seconds."""
        expires = self._clock.now().timestamp() + seconds
        token = f"test-token-{len(self._identities)}"
        self._identities[token] = Identity(
            subject=subject, role=role, issuer="test", expires=expires, kind=kind
        )
        return token

    def cached(self, token: str) -> Identity | None:
        """See `micro.service.Verifier.cached`."""
        identity = self._identities.get(token)
        return identity if identity and identity.expires > self._clock.now().timestamp() else None

    async def verify(self, token: str) -> Identity:
        """See `micro.service.Verifier.verify`."""
        identity = self.cached(token)
        if identity is None:
            raise TokenError("The token is not one of this test's.")
        return identity


class FakeCaller:
    """A `micro.service.Caller` that gives the answers it was told; `calls` are those it was asked for."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._replies: dict[tuple[str, str, str], Reply] = {}

    def answer(
        self,
        target: str,
        method: str,
        path: str,
        *,
        status: int = 200,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer calls of `method` and `path` at the service `target` like this from now on."""
        body = b"" if json is None else msgspec.json.encode(json)
        self._replies[target, method, path] = Reply(status, dict(headers or {}), body)

    async def call(self, call: Call) -> Reply:
        """See `micro.service.Caller.call`. Raises `CallError` where no answer was told."""
        self.calls.append(call)
        reply = self._replies.get((call.target, call.method, call.path))
        if reply is None:
            raise CallError(f"{call.target}: no answer is told for {call.method} {call.path}")
        return reply
