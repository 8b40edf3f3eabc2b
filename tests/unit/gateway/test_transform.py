"""Paths and header fields that a route changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import ConfigurationError
from micro.gateway.exchange import Exchange
from micro.gateway.paths import form_of
from micro.gateway.policies.transform import (
    UNCHANGEABLE_IN_ANSWERS,
    UNCHANGEABLE_IN_REQUESTS,
    PathChange,
    RequestHeaders,
    ResponseHeaders,
)
from micro.spec.gateway import Cors, HeaderChanges, Route


def mapped(prefix, instead, path):
    exchange = Exchange("GET", path.encode(), ())
    PathChange(prefix.encode(), instead.encode()).on_request(exchange)
    return exchange.target.decode()


@pytest.mark.parametrize(
    ("prefix", "instead", "path", "target"),
    [
        # https://gateway-api.sigs.k8s.io/reference/spec/ (HTTPPathModifier)
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "/", "/foo/bar", "/bar"),
        ("/foo", "/", "/foo/", "/"),
        ("/foo", "/", "/foo", "/"),
        ("/", "/base", "/x", "/base/x"),
        ("/a/b", "/", "/a/b/c/d", "/c/d"),
    ],
)
def test_a_prefix_is_replaced_as_the_gateway_api_tells(prefix, instead, path, target):
    assert mapped(prefix, instead, path) == target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/a%2Fb", "/a%2Fb"),
        ("/api/%7e%25%3F;x=%00", "/%7e%25%3F;x=%00"),
        ("/%61pi/x", "/x"),
        ("/ap%69/a//b/", "/a//b/"),
        ("/%61pi", "/"),
        ("/%61pi/", "/"),
    ],
)
def test_p1_p2_what_follows_the_prefix_stays_as_it_came(path, target):
    assert mapped("/api", "/", path) == target


@given(st.lists(st.sampled_from(["a", "%61", "%2F", "%7E", "", "b"]), max_size=5))
def test_p3_the_elements_that_matched_are_those_that_go(rest):
    path = "/".join(["", "v%31", "api", *rest])
    assert form_of(path.encode()).startswith(b"/v1/api")
    assert mapped("/v1/api", "/", path) == ("/" + "/".join(rest) if rest else "/")


def test_the_way_back_to_the_clients_path():
    strip, move = PathChange(b"/api", b"/"), PathChange(b"/old", b"/new")
    assert [strip.back(path) for path in ("/x", "/", "/x/y")] == ["/api/x", "/api/", "/api/x/y"]
    assert [move.back(path) for path in ("/new", "/new/x", "/newer", "/x")] == ["/old", "/old/x", None, None]
    assert PathChange(b"/", b"/new").back("/new") == "/"


async def test_the_service_gets_the_mapped_path_and_the_query_as_it_came(bench, echo):
    bench.serve(echo, routes=[Route(path="/api", service="app", strip_prefix=True)])
    await bench.ask("GET", "/api/a%2Fb?x=%2F&y")
    scope = echo.scopes[-1]
    assert (scope["raw_path"], scope["path"], scope["query_string"]) == (b"/a%2Fb", "/a/b", b"x=%2F&y")
    assert bench.log[-1].path == "/api/a%2Fb"


async def test_an_exact_path_may_be_sent_elsewhere(bench, echo):
    bench.serve(echo, routes=[Route(path="/old", service="app", exact=True, rewrite="/new/place")])
    assert (await bench.ask("GET", "/old")).status == 200
    assert echo.scopes[-1]["raw_path"] == b"/new/place"
    assert (await bench.ask("GET", "/old/x")).status == 404


CHANGES = HeaderChanges(remove=("x-gone", "x-never"), set={"x-set": "new"}, add={"x-more": "2"})
SENT = [("X-Gone", "1"), ("X-Set", "old"), ("X-Set", "older"), ("X-More", "1"), ("X-Kept", "1")]


async def test_fields_are_removed_then_set_then_added_on_the_way_to_the_service(bench, echo):
    bench.serve(echo, routes=[Route(path="/", service="app", request_headers=CHANGES)])
    await bench.ask("GET", headers=SENT)
    assert [echo.sent(name) for name in ("x-gone", "x-set", "x-more", "x-kept")] == [
        [],
        ["new"],
        ["1", "2"],
        ["1"],
    ]


async def test_fields_are_removed_then_set_then_added_on_the_way_back(bench, make_echo):
    app = make_echo(headers=[*SENT, ("X-More", "1")])
    bench.serve(app, routes=[Route(path="/", service="app", response_headers=CHANGES)])
    answer = await bench.ask("GET")
    assert [answer.all(name) for name in ("x-gone", "x-set", "x-more", "x-kept")] == [
        [],
        ["new"],
        ["1", "1", "2"],
        ["1"],
    ]


async def test_a_refusal_of_the_gateways_own_is_changed_too(bench, echo):
    changes = HeaderChanges(set={"x-set": "new"})
    bench.serve(echo, routes=[Route(path="/", service="app", response_headers=changes, max_body=1)])
    answer = await bench.ask("POST", body=b"xx")
    assert (answer.status, answer["x-set"]) == (413, "new")


async def test_h1_a_client_cannot_take_out_what_the_gateway_adds(bench, echo):
    changes = HeaderChanges(set={"x-tenant": "a"})
    bench.serve(echo, routes=[Route(path="/", service="app", request_headers=changes)])
    await bench.ask("GET", headers=[("Connection", "x-tenant, x-other"), ("X-Tenant", "b"), ("X-Other", "1")])
    assert (echo.sent("x-tenant"), echo.sent("x-other")) == (["a"], [])


async def test_what_the_gateway_says_to_browsers_stands(bench, echo):
    changes = HeaderChanges(set={"access-control-allow-origin": "https://evil.example"})
    bench.serve(
        echo,
        cors=Cors(origins=("https://a.example",)),
        routes=[Route(path="/", service="app", response_headers=changes)],
    )
    answer = await bench.ask("GET", headers=[("Origin", "https://a.example")])
    assert answer.all("access-control-allow-origin") == ["https://a.example"]


@pytest.mark.parametrize(
    "name", ["content-length", "transfer-encoding", "connection", "te", "upgrade", "host", "via"]
)
@pytest.mark.parametrize("how", ["remove", "set", "add"])
def test_no_route_changes_what_frames_or_addresses_a_request(bench, echo, name, how):
    changes = HeaderChanges(**{how: (name,) if how == "remove" else {name: "1"}})
    with pytest.raises(ConfigurationError, match=f"gateway.routes.0.*{name} is the gateway's own to write"):
        bench.serve(echo, routes=[Route(path="/", service="app", request_headers=changes)])


@pytest.mark.parametrize(
    "name", ["content-length", "transfer-encoding", "connection", "date", "x-request-id", "allow"]
)
def test_no_route_changes_what_frames_an_answer(bench, echo, name):
    changes = HeaderChanges(set={name: "1"})
    with pytest.raises(ConfigurationError, match=name):
        bench.serve(echo, routes=[Route(path="/", service="app", response_headers=changes)])


def test_the_lists_hold_every_field_that_ends_at_a_connection():
    for name in (
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"trailer",
        b"upgrade",
        b"te",
    ):
        assert name in UNCHANGEABLE_IN_REQUESTS & UNCHANGEABLE_IN_ANSWERS


def test_values_are_not_told():
    changes = HeaderChanges(remove=("a",), set={"b": "secret"}, add={"c": "secret"})
    assert str(RequestHeaders(changes)) == "request header: removes a, sets b, adds c"
    assert str(ResponseHeaders(HeaderChanges(add={"c": "secret"}))) == "response header: adds c"
    assert str(PathChange(b"/a/", b"/")) == "path: /a is sent on as /"
    assert str(PathChange(b"/", b"/b")) == "path: / is sent on as /b"
