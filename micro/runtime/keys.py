"""The stack's own key, in `.micro/keys`: loaded, or made, when the first token asks for it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from micro.security.stack_key import StackIssuer, load_or_create
from micro.security.tokens import STACK

if TYPE_CHECKING:
    from pathlib import Path

    from micro.clock import Clock

FILE = "stack.json"


class StackKeys:
    """A `micro.security.tokens.KeySource` and issuer. A start without tokens pays nothing for it.

    Every method raises `ConfigurationError` where the file holds no key or others may read it.
    """

    issuer = STACK

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._path = folder / FILE
        self._clock = clock

    @cached_property
    def _issuer(self) -> StackIssuer:
        return StackIssuer(load_or_create(self._path, clock=self._clock), clock=self._clock)

    async def keys(self) -> list[dict[str, Any]]:
        """The public key."""
        return await self._issuer.keys()

    def token(self, subject: str, *, role: str, ttl: float) -> str:
        """A token for a person or a script, valid for `ttl` seconds."""
        return self._issuer.token(subject, role=role, ttl=ttl)

    def service_token(self, service: str) -> str:
        """A token that proves to be that service of the stack."""
        return self._issuer.service_token(service)
