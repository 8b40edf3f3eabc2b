"""What a sender may do: scopes and roles (RFC 6750 section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.refusals import DENIED, refuse_by
from micro.security.tokens import is_scope
from micro.web.problems import Problem

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer, Exchange


class Access:
    """403 where the sender lacks one of the `scopes`, or has none of the `roles`; at least one of the two is given.

    Stands behind a policy that requires credentials. Raises `ConfigurationError` for a scope that no token can have.
    """

    __slots__ = ("_challenge", "_roles", "_scopes")

    def __init__(self, *, scopes: frozenset[str] = frozenset(), roles: frozenset[str] = frozenset()) -> None:
        for scope in scopes:
            if not is_scope(scope):
                raise ConfigurationError(f"{scope!r} can't be a scope: see RFC 6749, section 3.3")
        self._scopes, self._roles = scopes, roles
        wanted = f', scope="{" ".join(sorted(scopes))}"' if scopes else ""
        self._challenge = {"WWW-Authenticate": f'Bearer error="insufficient_scope"{wanted}'}

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Let it go on, or refuse it."""
        identity = exchange.identity
        if identity is None:
            return self._refuse(exchange, "Who sends this is not known.")
        if not self._scopes <= identity.scopes:
            return self._refuse(exchange, f"This needs the scope {' '.join(sorted(self._scopes))}.")
        if self._roles and identity.role not in self._roles:
            return self._refuse(exchange, "The sender's role does not allow this.")
        return None

    def _refuse(self, exchange: Exchange, detail: str) -> Answer:
        return refuse_by(exchange, Problem(403, detail=detail, headers=self._challenge), kind=DENIED)

    def __str__(self) -> str:
        needs = []
        if self._scopes:
            needs.append(f"the scopes {', '.join(sorted(self._scopes))}")
        if self._roles:
            needs.append(f"the role {' or '.join(sorted(self._roles))}")
        return f"access: needs {' and '.join(needs)}"
