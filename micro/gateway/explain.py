"""What `micro routes` shows: the routes in force, and what a given request would meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.gateway.paths import MalformedPath, form_of

if TYPE_CHECKING:
    from micro.gateway.pipeline import Pipeline
    from micro.gateway.plan import Plan
    from micro.gateway_spec import Route
    from micro.terms import Rate


def table(plan: Plan) -> list[dict[str, Any]]:
    """One row per route, as configured: path, methods (`null` for every one), service, auth, limits, timeout."""
    rows = [_row(route) for route, _ in plan.rows]
    return sorted(rows, key=lambda row: (row["path"], row["methods"] or []))


def explain(plan: Plan, method: str, path: str) -> dict[str, Any]:
    """Which way a request would take, and what it would pass on it.

    `outcome` is `route` (with `route`, `service`, `policies`, `timeout`), `gateway` (answered by an endpoint of the
    gateway's own) or `refused` (with `status` and `reason`).
    """
    method = method.upper()
    request = {"method": method, "path": path}
    before = [str(policy) for policy in plan.global_policies]
    try:
        form = form_of(path.partition("?")[0].encode())
    except MalformedPath as error:
        return request | {"outcome": "refused", "status": 400, "reason": str(error)}
    if form in plan.own:
        return request | {"outcome": "gateway", "policies": before}
    pipeline = plan.router.match(form, method)
    if pipeline is None:
        return request | _without_route(plan, form)
    if plan.is_ambiguous(form, method):
        reason = "encoded characters make the route ambiguous"
        return request | {"outcome": "refused", "status": 400, "reason": reason}
    return request | {
        "outcome": "route",
        "route": _row(_route_of(plan, pipeline)),
        "service": pipeline.service,
        "policies": [*before, *(str(policy) for policy in pipeline.policies)],
        "timeout": pipeline.timeout,
    }


def _without_route(plan: Plan, form: bytes) -> dict[str, Any]:
    allowed = plan.router.allowed(form)
    if allowed:
        return {"outcome": "refused", "status": 405, "reason": f"the route takes {', '.join(allowed)}"}
    return {"outcome": "refused", "status": 404, "reason": "no route leads there"}


def _route_of(plan: Plan, pipeline: Pipeline) -> Route:
    return next(route for route, compiled in plan.rows if compiled is pipeline)


def _row(route: Route) -> dict[str, Any]:
    return {
        "path": route.path,
        "methods": sorted(route.methods) if route.methods is not None else None,
        "service": route.service,
        "auth": route.auth,
        "timeout": route.timeout,
        "max_body": route.max_body,
        "rate_limit": _rate(route.rate_limit),
    }


def _rate(rate: Rate | None) -> str | None:
    return None if rate is None else f"{rate.limit}/{rate.period:g}s"
