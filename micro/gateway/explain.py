"""What `micro routes` shows: the routes in force, and what a given request would meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.gateway.exchange import Answer, Exchange
from micro.spec.formats import METHODS
from micro.spec.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.pipeline import Pipeline, Policy
    from micro.gateway.plan import Plan
    from micro.spec.gateway import GatewaySpec, Route

_ENDED_HERE = frozenset({"CONNECT", "TRACE"})
"""Methods that the gateway knows, and refuses."""


def table(plan: Plan) -> list[dict[str, Any]]:
    """One row per route: what it takes, where it leads, and what is in force there, the gateway's defaults included.

    `methods` is `null` for every one. `instances` tells the state of each instance that lies on the network.
    """
    rows = [_row(plan, route, pipeline) for route, pipeline in plan.rows]
    return sorted(rows, key=lambda row: (row["path"], row["host"] or "", row["methods"] or []))


def explain(plan: Plan, method: str, path: str, *, headers: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Which way a request would take, and what it would pass on it. Nothing is sent, and nothing counted.

    `path` may have a query. Without a `host` among the `headers` it is one that the gateway answers to. `outcome` is
    `route` (with `route`, `target`, `service`, `policies`, `timeout`, `adapter`), `gateway` (answered by an endpoint of
    the gateway's own), `answered` (by a policy before the route, with `status`) or `refused` (with `status`, `reason`).
    """
    exchange = _exchange(plan, method.upper(), path, headers)
    met = {"method": exchange.method, "path": path}
    if exchange.method not in METHODS | _ENDED_HERE:  # the server in front takes no request with such a one
        return met | {
            "outcome": "refused",
            "status": 501,
            "reason": "This method is not known here.",
            "policies": [],
        }
    before = [told(policy) for policy in plan.global_policies]
    for policy, check in zip(
        (policy for policy in plan.global_policies if hasattr(policy, "on_request")), plan.entry, strict=True
    ):
        answer = check(exchange)
        if isinstance(answer, Answer):
            return met | _ended(answer) | {"policies": before[: plan.global_policies.index(policy) + 1]}
    pipeline = plan.own.get(exchange.form)
    if pipeline is not None:
        return met | {"outcome": "gateway", "policies": before}
    pipeline = plan.router.match(exchange.form, exchange)
    if pipeline is None or plan.is_ambiguous(exchange.form, exchange):
        return met | _ended(plan.refuse(exchange, pipeline)) | {"policies": before}
    route = next(route for route, compiled in plan.rows if compiled is pipeline)
    for policy in pipeline.policies:
        if hasattr(policy, "back"):
            policy.on_request(exchange)
    return met | {
        "outcome": "route",
        "route": _row(plan, route, pipeline),
        "service": pipeline.service,
        "target": exchange.target.decode("latin-1"),
        "policies": [*before, *(told(policy) for policy in pipeline.policies)],
        "middleware": [*plan.spec.middleware, *route.middleware],
        "timeout": pipeline.timeout,
        "adapter": "asgi" if pipeline.direct is None else "protocol",
    }


def told(policy: Policy) -> str:
    """What a policy says of itself; its import string where it says nothing."""
    kind = type(policy)
    silent = getattr(kind, "__str__") is object.__str__  # noqa: B009 # a plain look-up is bound to the class, says mypy
    return f"{kind.__module__}:{kind.__qualname__}" if silent else str(policy)


def _exchange(plan: Plan, method: str, path: str, headers: Sequence[tuple[str, str]]) -> Exchange:
    raw, _, query = path.encode().partition(b"?")
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    if all(name != b"host" for name, _ in pairs):
        pairs.append((b"host", _usual_host(plan.spec).encode("ascii")))
    exchange = Exchange(method, raw, pairs)
    exchange.query = query
    exchange.version, exchange.scheme = "1.1", "http"
    exchange.peer = None
    exchange.started = plan.clock.monotonic()
    return exchange


def _usual_host(spec: GatewaySpec) -> str:
    name = spec.hosts[0] if spec.hosts else "localhost"
    return name.replace("*", "localhost" if name == "*" else "x")


def _ended(answer: Answer) -> dict[str, Any]:
    if answer.status < 400:
        return {"outcome": "answered", "status": answer.status}
    import json  # noqa: PLC0415 # loaded when first used: only an explanation reads a problem

    return {"outcome": "refused", "status": answer.status, "reason": json.loads(answer.body)["detail"]}


def _row(plan: Plan, route: Route, pipeline: Pipeline) -> dict[str, Any]:
    spec = plan.spec
    rate = route.rate_limit or spec.rate_limit
    cluster = getattr(plan.upstreams[route.service], "cluster", None)
    return {
        "path": route.path,
        "exact": route.exact,
        "methods": sorted(route.methods) if route.methods is not None else None,
        "host": route.host,
        "headers": dict(route.headers),
        "query": dict(route.query),
        "service": route.service,
        "rewrite": "/" if route.strip_prefix else route.rewrite,
        "auth": route.auth,
        "scopes": sorted(route.scopes),
        "roles": sorted(route.roles),
        "timeout": pipeline.timeout,
        "max_body": spec.max_body if route.max_body is None else route.max_body,
        "rate_limit": None if rate is None else format_rate(rate),
        "rate_limits": [
            f"{format_rate(rule.limit)} by {rule.by}" for rule in (*spec.rate_limits, *route.rate_limits)
        ],
        "policies": [*spec.policies, *route.policies],
        "middleware": [*spec.middleware, *route.middleware],
        "instances": [] if cluster is None else cluster.states(),
    }
