"""Policies and middleware of the user's own, named by import string."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

import pytest

from micro.errors import ConfigurationError
from micro.gateway.exchange import Answer
from micro.gateway.refusals import refuse
from micro.spec.gateway import GatewaySpec, Route


class Tenants:
    """Refuses requests without a tenant, and says in the answer which one it was."""

    def on_request(self, exchange):
        if b"x-tenant" not in exchange.found:
            return refuse(exchange, 403, detail="Name a tenant.")
        return None

    def on_response(self, exchange):
        exchange.fields.append((b"x-tenant", exchange.found.get(b"x-tenant", b"none")))


class Knowing:
    """Takes the route."""

    def __init__(self, route):
        self.path = route.path.encode()

    def on_response(self, exchange):
        exchange.fields.append((b"x-route", self.path))

    def __str__(self):
        return f"knowing: {self.path.decode()}"


class Waiting:
    """Waits before it lets a request go on."""

    async def on_request(self, exchange):
        return Answer(418) if b"x-teapot" in exchange.found else None


class Ends:
    """Is told of the end."""

    ended: list[int] = []  # noqa: RUF012 # the test reads it

    def on_end(self, exchange):
        self.ended.append(exchange.status)


class Timing:
    """ASGI middleware that says so in the answer."""

    def __init__(self, app, name=b"inner"):
        self.app, self.name = app, name
        self.count = 0

    async def __call__(self, scope, receive, send):
        self.count += 1

        async def timed(message):
            if message["type"] == "http.response.start":
                fields = [*message["headers"], (b"x-timing", b"%s %d" % (self.name, self.count))]
                message = {**message, "headers": fields}
            await send(message)

        await self.app(scope, receive, timed)


class Refusing:
    """ASGI middleware that answers by itself."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 402, "headers": []})
        await send({"type": "http.response.body", "body": b"pay"})


class Failing:
    """ASGI middleware that fails."""

    def __init__(self, app):
        pass

    async def __call__(self, scope, receive, send):
        raise KeyError("timing")


class Broken:
    def __init__(self):
        raise KeyError("PRICES")


class Raising:
    def on_request(self, exchange):
        raise KeyError("tenants")


class LateHead:
    async def on_response(self, exchange):
        return None


class NeedsMore:
    def __init__(self, route, prices):
        raise AssertionError


class NeedsName:
    def __init__(self, *, prices):
        raise AssertionError


class Nothing:
    """No policy at all."""


@pytest.fixture(autouse=True)
def shop(monkeypatch):
    """A module of the user's that everything here stands in."""
    module = ModuleType("shop.gateway")
    for each in (
        Tenants,
        Knowing,
        Waiting,
        Ends,
        Timing,
        Refusing,
        Failing,
        Broken,
        LateHead,
        Raising,
        NeedsMore,
        NeedsName,
        Nothing,
    ):
        setattr(module, each.__name__, each)
    module.Outer = partial(Timing, name=b"outer")
    module.number = 7
    module.to_none = lambda app: None
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.gateway", module)
    Ends.ended = []


def of(*names):
    return tuple(f"shop.gateway:{name}" for name in names)


def route(path="/", **options):
    return Route(path=path, service="app", **options)


async def test_a_policy_of_a_route_refuses_and_sees_answers_like_a_built_in_one(bench, echo):
    bench.serve(echo, routes=[route("/a", policies=of("Tenants")), route("/b")])
    refused = await bench.ask("GET", "/a")
    assert (refused.status, refused["x-tenant"], refused["content-type"]) == (
        403,
        "none",
        "application/problem+json",
    )
    passed = await bench.ask("GET", "/a", headers=[("X-Tenant", "blue")])
    assert (passed.status, passed["x-tenant"]) == (200, "blue")
    assert "x-tenant" not in await bench.ask("GET", "/b")


async def test_a_policy_may_take_the_route(bench, echo):
    bench.serve(echo, routes=[route("/a", policies=of("Knowing"))])
    assert (await bench.ask("GET", "/a/b"))["x-route"] == "/a"


async def test_a_policy_of_the_gateway_is_on_every_route_before_the_routes_own(bench, echo):
    bench.serve(
        echo, routes=[route("/a", policies=of("Tenants")), route("/b")], policies=of("Knowing", "Ends")
    )
    assert (await bench.ask("GET", "/b"))["x-route"] == "/b"
    assert (await bench.ask("GET", "/a"))["x-route"] == "/a"
    assert "x-route" not in await bench.ask("GET", "/health")
    policies = bench.gateway.explain("GET", "/a")["policies"]
    assert [each.rpartition(":")[2] for each in policies[-3:]] == [" /a", "Ends", "Tenants"]
    assert policies[-2].endswith(":Ends")


def test_a_policy_of_the_gateway_that_takes_no_route_is_one_for_all(bench, echo):
    bench.serve(echo, routes=[route("/a"), route("/b")], policies=of("Tenants", "Knowing"))
    (first, own), (second, other) = (pipeline.policies[-2:] for _, pipeline in bench.gateway.plan.rows)
    assert first is second
    assert own is not other


async def test_a_policy_may_wait(bench, echo):
    bench.serve(echo, routes=[route(policies=of("Waiting"))])
    assert (await bench.ask("GET")).status == 200
    assert (await bench.ask("GET", headers=[("X-Teapot", "1")])).status == 418


async def test_what_must_know_the_end_is_told_once_however_it_comes(bench, echo):
    bench.serve(echo, routes=[route("/a", policies=of("Ends")), route("/b", policies=of("Ends", "Tenants"))])
    await bench.ask("GET", "/a")
    await bench.ask("GET", "/b")
    await bench.ask("GET", "/elsewhere")
    assert Ends.ended == [200, 403]
    assert bench.gateway.plan.ends == ()


async def test_a_policy_that_fails_is_the_gateways_own_failure(bench, echo):
    bench.serve(echo, routes=[route(policies=of("Raising"))])
    answer = await bench.ask("GET")
    assert (answer.status, answer["proxy-status"]) == (500, "micro; error=proxy_internal_error")


async def test_middleware_runs_around_the_service_as_it_is(bench, echo):
    bench.serve(echo, routes=[route("/a", middleware=of("Outer", "Timing")), route("/b")])
    answer = await bench.ask("POST", "/a/x?y", body=b"data")
    assert answer.all("x-timing") == ["inner 1", "outer 1"]
    assert (echo.bodies[-1], echo.scopes[-1]["raw_path"], echo.scopes[-1]["query_string"]) == (
        b"data",
        b"/a/x",
        b"y",
    )
    assert "x-timing" not in await bench.ask("GET", "/b")


async def test_the_log_blames_the_service_alone_only_where_nothing_else_is_there(bench, caplog):
    async def app(scope, receive, send):
        raise KeyError("prices")

    bench.serve(app, routes=[route("/a", middleware=of("Failing")), route("/b")])
    assert (await bench.ask("GET", "/a")).status == 502
    assert (await bench.ask("GET", "/b")).status == 502
    assert [record.message for record in caplog.records] == [
        "app, or middleware in front of it, gave no answer",
        "app gave no answer",
    ]


async def test_an_endpoint_that_fails_is_the_gateways_own(bench, echo, caplog):
    bench.serve(echo)
    bench.states = None
    assert (await bench.ask("GET", "/health")).status == 502
    assert "an endpoint of the gateway's own gave no answer" in caplog.text


async def test_middleware_of_the_gateway_is_one_for_all_routes_and_the_outermost(bench, echo):
    bench.serve(echo, routes=[route("/a", middleware=of("Timing")), route("/b")], middleware=of("Outer"))
    assert (await bench.ask("GET", "/a")).all("x-timing") == ["inner 1", "outer 1"]
    assert (await bench.ask("GET", "/b")).all("x-timing") == ["outer 2"]
    assert not any(name.startswith("micro.onward") for name in echo.scopes[-1])
    assert "x-timing" not in await bench.ask("GET", "/health")


async def test_middleware_may_answer_by_itself(bench, echo):
    bench.serve(echo, routes=[route(middleware=of("Refusing"))])
    answer = await bench.ask("GET")
    assert (answer.status, answer.body, echo.scopes) == (402, b"pay", [])


async def test_policies_stand_before_middleware(bench, echo):
    bench.serve(echo, routes=[route(policies=of("Tenants"), middleware=of("Timing"))])
    assert "x-timing" not in await bench.ask("GET")


async def test_a_websocket_passes_policies_and_middleware_too(bench):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4001})

    class Seeing(Timing):
        seen = []  # noqa: RUF012 # the test reads it

        async def __call__(self, scope, receive, send):
            self.seen.append((scope["type"], scope["path"]))
            await self.app(scope, receive, send)

    sys.modules["shop.gateway"].Seeing = Seeing
    bench.serve(app, routes=[route(policies=of("Tenants"), middleware=of("Seeing"))], middleware=of("Seeing"))
    sent = []
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"x-tenant", b"blue")],
        "client": ("203.0.113.7", 1),
        "subprotocols": [],
    }

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await bench.gateway(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert (b"x-tenant", b"blue") in sent[0]["headers"]
    assert Seeing.seen == [("websocket", "/a")] * 2


class Direct:
    """An upstream with a short path."""

    def start(self, exchange, downstream, *, body):
        raise NotImplementedError

    def serve(self, exchange, receive, send):
        raise NotImplementedError

    async def call(self, scope, receive, send):
        raise NotImplementedError


def test_a_route_with_middleware_takes_the_asgi_adapter(bench):
    upstream = Direct()
    bench.serve(upstreams={"app": upstream}, routes=[route("/a", middleware=of("Timing")), route("/b")])
    (_, behind), (_, direct) = bench.gateway.plan.rows
    assert (behind.direct, direct.direct) == (None, upstream)
    bench.gateway.reconfigure(GatewaySpec(routes=(route("/b"),), middleware=of("Timing")))
    assert bench.gateway.plan.rows[0][1].direct is None
    assert bench.gateway.explain("GET", "/b")["middleware"] == ["shop.gateway:Timing"]


def test_the_endpoints_of_the_gateway_have_no_short_path(bench, echo):
    assert {pipeline.direct for pipeline in bench.serve(echo).gateway.plan.own.values()} == {None}


@pytest.mark.parametrize("spec", [{"routes": [route(middleware=of("Timing"))]}, {"middleware": of("Timing")}])
def test_middleware_and_the_protocol_adapter_exclude_each_other(bench, echo, spec):
    with pytest.raises(ConfigurationError, match=r"gateway\..*middleware: needs ASGI"):
        bench.serve(echo, adapter="protocol", **spec)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shop.gateway:Tenant", "has no 'Tenant'; did you mean 'Tenants'"),
        ("shop.gatewy:Tenants", "no module 'shop.gatewy'"),
        ("shop.gateway:number", "can't be called; name a class"),
        ("shop.gateway:Broken", "can't be made: KeyError: 'PRICES'"),
        ("shop.gateway:NeedsMore", "needs more than a policy is given"),
        ("shop.gateway:NeedsName", "needs more than a policy is given"),
        ("shop.gateway:Nothing", "is no policy: it has neither on_request nor on_response"),
        ("shop.gateway:LateHead", "on_response must not be async"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_wrong_policy_is_one_sentence_with_file_and_key(bench, echo, name, reason, whole):
    bench.source = "micro.toml"
    given = {"policies": (name,)} if whole else {"routes": [route("/a"), route(policies=(name,))]}
    key = "gateway.policies.0" if whole else "gateway.routes.1.policies.0"
    with pytest.raises(ConfigurationError, match=reason) as caught:
        bench.serve(echo, **given)
    assert str(caught.value).startswith(f"micro.toml: {key}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("to_none", "is no ASGI middleware"),
        ("Broken", "can't be made: TypeError"),
        ("number", "can't be called"),
    ],
)
def test_wrong_middleware_is_one_sentence_with_file_and_key(bench, echo, name, reason):
    bench.source = "micro.toml"
    for given, key in (
        ({"middleware": of(name)}, "gateway.middleware.0"),
        ({"routes": [route(middleware=of(name))]}, "gateway.routes.0.middleware.0"),
    ):
        with pytest.raises(ConfigurationError, match=f"micro.toml: {key}: .*{reason}"):
            bench.serve(echo, **given)


async def test_a_wrong_one_changes_nothing(bench, echo):
    bench.serve(echo)
    plan = bench.gateway.plan
    with pytest.raises(ConfigurationError):
        bench.gateway.reconfigure(GatewaySpec(routes=(route(policies=of("Nobody")),)))
    assert bench.gateway.plan is plan
