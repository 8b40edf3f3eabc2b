"""P3: where a request is let through, every reader of it finds the same route; whatever the conditions and encodings."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import parse_qsl, unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from micro.clock import SystemClock
from micro.errors import ConfigurationError
from micro.gateway.exchange import Exchange
from micro.gateway.paths import MalformedPath, form_of
from micro.gateway.plan import Plan
from micro.spec.gateway import GatewaySpec, Route
from micro.telemetry.metrics import Metrics

PARTS = st.lists(st.sampled_from(["a", "b", "a%2Fb", "%C3%A4"]), max_size=3)
ROUTES = st.lists(
    st.fixed_dictionaries(
        {
            "path": PARTS.map(lambda parts: "/" + "/".join(parts)),
            "exact": st.booleans(),
            "query": st.dictionaries(
                st.sampled_from(["p", "q"]), st.sampled_from(["1", "2", "*"]), max_size=1
            ),
            "methods": st.none() | st.just(frozenset({"GET"})),
        }
    ),
    min_size=1,
    max_size=6,
)
ELEMENTS = st.sampled_from(["a", "%61", "b", "a%2Fb", "a%2fb", "%C3%A4", "%c3%a4", "", "%25", "%3F"])
PATHS = st.lists(ELEMENTS, max_size=4).map(lambda parts: "/" + "/".join(parts))
QUERIES = st.lists(st.sampled_from(["p=1", "p=2", "q=1", "%70=2", "p"]), max_size=3).map("&".join)


def plan_of(routes):
    """A plan whose services are called after the routes' numbers."""
    spec = GatewaySpec(
        routes=tuple(Route(service=f"s{number}", **route) for number, route in enumerate(routes)),
        rate_limit=None,
    )
    parts = SimpleNamespace(
        clock=SystemClock(),
        wheel=None,
        recorder=None,
        ids=None,
        name="micro",
        window=None,
        verifier=None,
        signer=None,
        in_hand=None,
        metrics=Metrics(),
        health=None,
        documents=None,
        root=None,
        source="",
    )
    return Plan(spec, {route.service: object() for route in spec.routes}, parts)


def read(routes, path, query):
    """What a naive reader makes of a request that it decodes whole, taking the last of repeated parameters."""
    given_query = dict(parse_qsl(query, keep_blank_values=True))
    asked = unquote_to_bytes(path).split(b"/")[1:]
    found = []
    for number, route in enumerate(routes):
        elements = [part for part in unquote_to_bytes(route["path"]).strip(b"/").split(b"/") if part]
        whole = unquote_to_bytes(path) == unquote_to_bytes(route["path"])
        if not (whole if route["exact"] else asked[: len(elements)] == elements):
            continue
        if any(
            name not in given_query or value not in {"*", given_query[name]}
            for name, value in route["query"].items()
        ):
            continue
        rank = (route["exact"], len(elements), route["methods"] is not None, len(route["query"]), -number)
        found.append((rank, f"s{number}"))
    return max(found)[1] if found else None


@given(ROUTES, PATHS, QUERIES)
def test_a_request_that_is_let_through_has_one_route_for_every_reader(routes, path, query):
    try:
        plan = plan_of(routes)
        exchange = Exchange("GET", path.encode(), ())
        exchange.query = query.encode()
        exchange.form = form_of(exchange.path)
    except (ConfigurationError, MalformedPath):
        return
    pipeline = plan.router.match(exchange.form, exchange)
    if pipeline is None:
        return
    looked_at = b"%" in exchange.form or plan.router.reads_query
    if not (looked_at and plan.is_ambiguous(exchange.form, exchange)):
        assert pipeline.service == read(routes, path, query)
