"""Which requests a route lets in: the policies for it, in their order, from what the configuration says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.policies.auth import Authentication
from micro.gateway.policies.rate_limit import BURST, Meter, RateLimit, RateLimits
from micro.spec.terms import Rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.cache.ports import Window
    from micro.gateway.parts import Parts
    from micro.gateway.pipeline import Policy
    from micro.gateway.policies.api_keys import ApiKeys
    from micro.spec.gateway import GatewaySpec, RateRule, Route

_EARLY = frozenset({"ip", "route"})
"""Limits on what is known of a request before anybody asks who sent it."""


class Admission:
    """Makes the policies of one plan's routes. Raises `ConfigurationError`."""

    def __init__(self, spec: GatewaySpec, parts: Parts) -> None:
        self._spec = spec
        self._parts = parts
        self._keys: ApiKeys | None = None
        """The same for all routes."""

    def policies(self, route: Route) -> list[Policy]:
        """Limits per address and route, credentials, scopes and roles, limits per user and key; in this order.

        So a flood is stopped before its tokens are looked at.
        """
        window = self._parts.window
        meters = _meters(route, self._spec)
        policies = _limits(window, [meter for meter in meters if meter.by in _EARLY])
        policies += self._credentials(route)
        if route.scopes or route.roles:
            from micro.gateway.policies.access import Access  # noqa: PLC0415 # loaded when first used

            if route.auth != "required":
                raise ConfigurationError(f'{route.path}: scopes and roles need auth = "required"')
            policies.append(Access(scopes=route.scopes, roles=route.roles))
        return policies + _limits(window, [meter for meter in meters if meter.by not in _EARLY])

    def _credentials(self, route: Route) -> list[Policy]:
        required = route.auth == "required"
        tokens = Authentication(self._parts.verifier, required=required) if "token" in route.accept else None
        if route.auth != "none" and "api_key" in route.accept:
            return self._with_keys(tokens, required=required)
        policies: list[Policy] = []
        if self._spec.api_keys:
            from micro.gateway.policies.api_keys import WithoutApiKey  # noqa: PLC0415 # loaded when first used

            policies.append(WithoutApiKey())
        if route.auth != "none":
            if tokens is None:
                raise ConfigurationError(f"{route.path}: accept names no credential")
            policies.append(tokens)
        return policies

    def _with_keys(self, tokens: Authentication | None, *, required: bool) -> list[Policy]:
        from micro.gateway.policies.api_keys import ApiKeys, KeyAuthentication  # noqa: PLC0415 # as above

        signer = self._parts.signer
        if signer is None or not self._spec.api_keys:
            raise ConfigurationError(
                "a route accepts API keys, and there are none; run: micro token NAME --api-key",
                key="gateway.api_keys",
            )
        if self._keys is None:
            self._keys = ApiKeys(self._spec.api_keys, signer, clock=self._parts.clock)
        return [KeyAuthentication(self._keys, required=required, tokens=tokens)]


def _limits(window: Window, meters: Sequence[Meter]) -> list[Policy]:
    if len(meters) > 1:
        return [RateLimits(window, meters)]
    return [RateLimit(window, meter) for meter in meters]


def _meters(route: Route, spec: GatewaySpec) -> list[Meter]:
    """Every limit on the route's requests.

    The gateway's count the requests of all routes together, but for those `by = "route"`. A route's own `rate_limit`
    stands in for the gateway's; its `rate_limits` come besides.
    """
    meters = []
    if route.rate_limit is not None:
        meters.append(Meter(_title(route), route.rate_limit, key=_identity(route)))
    elif spec.rate_limit is not None:
        meters.append(Meter("default", spec.rate_limit))
    meters += _of_rules(spec.rate_limits, route, own=False)
    meters += _of_rules(route.rate_limits, route, own=True)
    return meters


def _of_rules(rules: Sequence[RateRule], route: Route, *, own: bool) -> list[Meter]:
    """Two for a rule with a burst. Rules of one kind are told apart by their number."""
    meters = []
    seen: Counter[str] = Counter()
    for rule in rules:
        seen[rule.by] += 1
        name = rule.by if seen[rule.by] == 1 else f"{rule.by} {seen[rule.by]}"
        key = (
            f"{_identity(route)}\n{'own' if own else 'shared'} {name}" if own or rule.by == "route" else name
        )
        if own:
            name = f"{_title(route)} {name}"
        meters.append(Meter(name, rule.limit, by=rule.by, key=key))
        if rule.burst:
            burst = Rate(rule.burst, BURST)
            meters.append(Meter(f"{name} burst", burst, by=rule.by, key=f"{key}\nburst"))
    return meters


def _title(route: Route) -> str:
    """The route as clients know it."""
    return " ".join((*sorted(route.methods or ()), (route.host or "") + route.path))


def _identity(route: Route) -> str:
    """The route, told apart from every other by all its conditions, which are not for clients to see."""
    conditions = (
        *(f"{name}: {value}" for name, value in sorted(route.headers.items())),
        *(f"?{name}={value}" for name, value in sorted(route.query.items())),
    )
    return "\n".join((_title(route), "exact" if route.exact else "", *conditions))
