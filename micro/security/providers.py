"""Issuers outside the stack: the `[gateway.auth.providers.NAME]` tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.security.outbound import fetch
from micro.security.sources import RemoteKeys
from micro.security.tokens import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.security.sources import Fetch, KeySource
    from micro.spec.gateway import Provider

_OURS = "micro:"
"""How the stack's own issuers begin."""


def provided(
    providers: Mapping[str, Provider], *, fetch: Fetch = fetch
) -> tuple[list[KeySource], dict[str, Rules]]:
    """Sources and rules for `micro.security.tokens.TokenVerifier`.

    Raises `ConfigurationError` for an issuer that is named twice or would speak for the stack, and where audience or
    algorithms are left empty: tokens meant for others must not be taken (RFC 8725 section 3.9).
    """
    sources: list[KeySource] = []
    rules: dict[str, Rules] = {}
    for name, provider in providers.items():
        key = f"gateway.auth.providers.{name}"
        if provider.issuer in rules or provider.issuer.startswith(_OURS):
            raise ConfigurationError(
                f"{provider.issuer!r} is taken: one provider for an issuer", key=f"{key}.issuer"
            )
        for field in ("audience", "algorithms"):
            if not getattr(provider, field):
                raise ConfigurationError("must name at least one", key=f"{key}.{field}")
        sources.append(RemoteKeys(provider.issuer, provider.jwks, fetch=fetch))
        rules[provider.issuer] = Rules(
            audience=provider.audience, algorithms=provider.algorithms, role_claim=provider.role_claim
        )
    return sources, rules
