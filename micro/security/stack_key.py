"""The stack's own key: signs the tokens of its services and those that `micro token` prints."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any, Protocol

from micro.clock import SystemClock
from micro.errors import ConfigurationError
from micro.security.keys import SigningKey
from micro.security.tokens import STACK, Grant, issue

if TYPE_CHECKING:
    from pathlib import Path

    from micro.clock import Clock

SERVICE_TTL = 300.0
_RENEW = 60.0


def load_or_create(path: Path, *, clock: Clock | None = None) -> SigningKey:
    """The key in `path`, made there when there is none: mode 0600, in a folder of mode 0700.

    Of several processes that start at once, one makes the key and all use it. Raises `ConfigurationError` for a file
    that others may read, for one that holds no key, and where none can be made.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        pass
    clock = clock or SystemClock()
    draft = path.with_name(f".{path.name}.{clock.randbits(64):016x}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path, draft, SigningKey.generate(clock).to_json())
    except OSError as error:
        raise ConfigurationError(f"can't write here: {error.strerror}", file=path) from error
    return _load(path)


def _load(path: Path) -> SigningKey:
    with path.open(encoding="utf-8") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigurationError(
                f"others may use this key (mode {mode:04o}); run: chmod 600 {path}", file=path
            )
        text = file.read()
    try:
        return SigningKey.from_json(text)
    except ValueError as error:
        raise ConfigurationError(
            f"this is no signing key ({error}); remove the file to get a new one, which ends all tokens of the old",
            file=path,
        ) from error


def _create(path: Path, draft: Path, text: str) -> None:
    """Write whole or not at all; leave a file that another process was quicker to make."""
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


class Signer(Protocol):
    """Somebody who issues tokens in the stack's name."""

    def token(
        self,
        subject: str,
        *,
        role: str,
        ttl: float,
        scopes: frozenset[str] = frozenset(),
        kind: str = "user",
    ) -> str:
        """A token for `subject`, valid for `ttl` seconds. See `micro.service.Identity` for the others."""
        ...


class StackIssuer:
    """Issues tokens in the stack's name; a `micro.security.tokens.KeySource` of its own key."""

    issuer = STACK

    def __init__(self, key: SigningKey, *, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._services: dict[str, tuple[float, str]] = {}

    async def keys(self) -> list[dict[str, Any]]:
        """See `KeySource.keys`."""
        return [dict(self._key.public)]

    def token(
        self,
        subject: str,
        *,
        role: str,
        ttl: float,
        scopes: frozenset[str] = frozenset(),
        kind: str = "user",
    ) -> str:
        """See `Signer.token`."""
        grant = Grant(issuer=STACK, subject=subject, role=role, ttl=ttl, scopes=scopes, kind=kind)
        return issue(self._key, grant, clock=self._clock)

    def service_token(self, service: str) -> str:
        """A token that proves to be that service of the stack; kept until it has a minute left of its five."""
        now = self._clock.monotonic()
        until, token = self._services.get(service, (now, ""))
        if now >= until:
            grant = Grant(issuer=STACK, subject=service, role="service", ttl=SERVICE_TTL, kind="service")
            token = issue(self._key, grant, clock=self._clock)
            self._services[service] = (now + SERVICE_TTL - _RENEW, token)
        return token
