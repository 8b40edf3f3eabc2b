"""The stack's own key: a secret of the environment's, or the file in `.micro/keys`, made when the first token asks for it.

Processes of one folder share the file. On several machines `MICRO_STACK_KEY` holds the same key everywhere: the content of
such a file, or `${file:/run/secrets/stack.json}` with the place of one.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from micro.config.environment import STACK_KEY
from micro.security.keys import SigningKey
from micro.security.stack_key import StackIssuer, load_or_create
from micro.security.tokens import STACK
from micro.spec.expand import expand
from micro.spec.validate import Place

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from micro.clock import Clock

FILE = "stack.json"


class StackKeys:
    """A `micro.security.tokens.KeySource` and issuer. A start without tokens pays nothing for it.

    Every method raises `ConfigurationError` where secret or file hold no key, and where others may read the file.
    """

    issuer = STACK

    def __init__(self, folder: Path, *, clock: Clock, environ: Mapping[str, str] | None = None) -> None:
        """`environ` may hold the secret; files that it names lie below the stack's folder, two above this one."""
        self._path = folder / FILE
        self._environ = environ or {}
        self._clock = clock

    @cached_property
    def _key(self) -> SigningKey:
        return self._secret() or load_or_create(self._path, clock=self._clock)

    @cached_property
    def _issuer(self) -> StackIssuer:
        return StackIssuer(self._key, clock=self._clock)

    def _secret(self) -> SigningKey | None:
        text = self._environ.get(STACK_KEY)
        if not text:
            return None
        place = Place(f"environment {STACK_KEY}")
        try:
            return SigningKey.from_json(expand(text, self._environ, self._path.parents[2], place))
        except ValueError as error:
            raise place.error(f"this is no signing key ({error})") from error

    def load(self) -> None:
        """See that there is a key, before it is needed."""
        _ = self._issuer

    def identity(self, stack: str) -> str:
        """What tells a stack of this name from all others on one server: its name alone may be another's, too."""
        return f"{stack}:{self._key.kid}"

    async def keys(self) -> list[dict[str, Any]]:
        """The public key."""
        return await self._issuer.keys()

    def token(
        self,
        subject: str,
        *,
        role: str,
        ttl: float,
        scopes: frozenset[str] = frozenset(),
        kind: str = "user",
    ) -> str:
        """See `micro.security.stack_key.Signer.token`."""
        return self._issuer.token(subject, role=role, ttl=ttl, scopes=scopes, kind=kind)

    def service_token(self, service: str) -> str:
        """A token that proves to be that service of the stack."""
        return self._issuer.service_token(service)
