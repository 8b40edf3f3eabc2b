"""Reference 2.7 to 2.11: rate-limit fields, caching, tracing, CORS and tokens, the precedence of routes."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode

import jwt
import pytest
from rig.client import problem
from rig.written import get, post

from micro.security.keys import SigningKey
from micro.security.sources import StaticKeys
from micro.security.tokens import Grant, TokenVerifier, issue
from micro.spec.gateway import Cors, RateRule, Route
from micro.spec.terms import Rate

ITEM = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"((?:;[a-z*][a-z0-9_.*-]*(?:=[^;,]+)?)*)')
"""One member of a List of Strings with parameters (RFC 9651 section 3.1)."""


def members(value):
    """A structured List of Strings with parameters, strictly."""
    found = []
    for each in value.decode("ascii").split(", "):
        match = ITEM.fullmatch(each)
        assert match, each
        found.append((match[1], dict(part.split("=") for part in match[2].split(";") if part)))
    return found


def test_2_7_the_fields_are_structured_and_agree_with_retry_after(world):
    world.serve(rate_limit=Rate(2, 60.0))
    client, got = world.ask(get())
    got.answer()
    answer = client.answer()
    [(name, policy)] = members(answer[b"ratelimit-policy"])
    assert policy == {"q": "2", "w": "60"}
    [(same, left)] = members(answer[b"ratelimit"])
    assert (same, left["r"]) == (name, "1")
    client.send(get())
    world.origin.request().answer()
    client.answer()
    refused = client.ask(get())
    problem(refused, 429)
    [(_, left)] = members(refused[b"ratelimit"])
    assert left["r"] == "0"
    assert left["t"] == refused[b"retry-after"].decode()
    assert not any(name.startswith(b"ratelimit-l") for name in refused.names), "the form of older drafts"


def test_2_7_a_service_s_own_fields_are_not_mixed_with_the_gateway_s(world):
    world.serve(rate_limit=Rate(2, 60.0))
    client, got = world.ask(get())
    got.answer(200, b'RateLimit: "x";r=9;t=9')
    answer = client.answer()
    assert members(b", ".join(answer.all(b"ratelimit")))


def test_2_7_several_limits_are_several_members(world):
    rules = (RateRule(limit=Rate(5, 1.0)), RateRule(limit=Rate(100, 3600.0), by="route"))
    world.serve(Route(path="/", service="app", rate_limits=rules), rate_limit=Rate(10, 60.0))
    client, got = world.ask(get())
    got.answer()
    policies = members(b", ".join(client.answer().all(b"ratelimit-policy")))
    assert {(each["q"], each["w"]) for _, each in policies} == {("5", "1"), ("100", "3600"), ("10", "60")}


CACHE_DIRECTIVES = [
    b"no-cache",
    b"only-if-cached",
    b"max-age=0, no-store",
    b"no-transform, x=y",
    b"max-stale",
]


@pytest.mark.parametrize("value", CACHE_DIRECTIVES)
def test_2_8_cache_directives_pass_though_there_is_no_cache(world, value):
    client, got = world.ask(get(b"/", b"Cache-Control: " + value, b"Pragma: no-cache", b'If-None-Match: "x"'))
    assert got[b"cache-control"] == value
    assert got[b"pragma"] == b"no-cache"
    assert got[b"if-none-match"] == b'"x"'
    got.answer(200, b"Cache-Control: " + value, b"Age: 7", b"Expires: 0", b"Vary: *", b'ETag: W/"x"')
    answer = client.answer()
    assert [answer[name] for name in (b"cache-control", b"age", b"expires", b"vary", b"etag")] == [
        value, b"7", b"0", b"*", b'W/"x"'
    ]  # fmt: skip


def test_2_8_nothing_is_answered_from_memory(world):
    client, got = world.ask(get())
    got.answer(200, b"Cache-Control: public, max-age=3600", body=b"1")
    assert client.answer().body == b"1"
    assert world.again(client, got.line)


def test_2_8_what_the_gateway_answers_itself_is_not_stored(world):
    for request in (get(b"/%zz"), get(method=b"TRACE")):
        assert world.connect().ask(request)[b"cache-control"] == b"no-store"


def test_2_8_the_date_of_an_answer_is_there_once(world):
    client, got = world.ask(get())
    got.answer(200, b"Date: Thu, 01 Jan 1970 00:00:00 GMT")
    assert len(client.answer().all(b"date")) == 1


PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-9a-f]")


def traced(world, *fields):
    client, got = world.ask(get(b"/", *fields))
    match = TRACE.fullmatch(got[b"traceparent"])
    assert match
    assert int(match[1], 16)
    assert int(match[2], 16)
    got.answer()
    client.answer()
    assert world.log[-1].trace_id == match[1].decode()
    return got, match


def test_2_9_a_trace_goes_on_with_a_span_of_the_gateway_s_own(world):
    got, match = traced(world, b"traceparent: " + PARENT, b"tracestate: a=1,b=2", b"tracestate: c=3")
    assert match[1] == PARENT[3:35]
    assert match[2] != PARENT[36:52]
    assert got[b"traceparent"].endswith(b"-01")
    assert [each.strip() for each in got[b"tracestate"].split(b",")] == [b"a=1", b"b=2", b"c=3"]


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        b"garbage",
        PARENT.upper(),
        PARENT[:-3],
        PARENT + b"-x",
        b"ff" + PARENT[2:],
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
        PARENT.replace(b"-", b"_"),
        PARENT[:52] + b"-0g",
        PARENT + b", " + PARENT,
    ],
)
def test_2_9_an_invalid_trace_is_replaced_and_its_state_dropped(world, parent):
    got, match = traced(world, b"traceparent: " + parent, b"tracestate: a=1")
    assert match[1] != PARENT[3:35]
    assert b"tracestate" not in got


def test_2_9_two_traceparents_are_none(world):
    got, match = traced(world, b"traceparent: " + PARENT, b"traceparent: " + PARENT, b"tracestate: a=1")
    assert match[1] != PARENT[3:35]
    assert b"tracestate" not in got


@pytest.mark.parametrize(
    "parent", [b"01" + PARENT[2:], b"cc" + PARENT[2:] + b"-what-the-future-will-be-like"]
)
def test_2_9_a_higher_version_is_read_as_this_one(world, parent):
    got, match = traced(world, b"traceparent: " + parent, b"tracestate: a=1")
    assert match[1] == PARENT[3:35]
    assert got[b"tracestate"] == b"a=1"


def test_2_9_without_a_trace_there_is_a_new_one(world):
    _, first = traced(world)
    _, second = traced(world, b"tracestate: a=1")
    assert first[1] != second[1]


SHOP = b"Origin: https://shop.example"
PREFLIGHT = (SHOP, b"Access-Control-Request-Method: PUT", b"Access-Control-Request-Headers: authorization")


def test_2_10_a_preflight_is_answered_before_authentication(world):
    cors = Cors(origins=("https://shop.example",), credentials=True)
    world.serve(Route(path="/", service="app", auth="required"), cors=cors, rate_limit=Rate(1, 60.0))
    client = world.connect()
    for _ in range(3):
        answer = client.ask(get(b"/", *PREFLIGHT, method=b"OPTIONS"))
        assert answer.status == 204
        assert answer[b"access-control-allow-origin"] == b"https://shop.example"
        assert answer[b"access-control-allow-credentials"] == b"true"
        assert b"PUT" in answer[b"access-control-allow-methods"]
        assert b"Origin" in b",".join(answer.all(b"vary"))
    assert world.is_silent()
    assert client.goes_on()


def test_2_10_options_that_is_no_preflight_goes_on(world):
    world.serve(cors=Cors(origins=("https://shop.example",)))
    client, got = world.ask(get(b"/", SHOP, method=b"OPTIONS"))
    got.answer(204)
    assert client.answer()[b"access-control-allow-origin"] == b"https://shop.example"


@pytest.mark.parametrize("status", [401, 404, 413, 429, 502, 504])
def test_2_10_errors_can_be_read_by_the_browser_too(world, status):
    route = Route(
        path="/x" if status == 404 else "/", service="app", auth="required" if status == 401 else "none"
    )
    cors = Cors(origins=("https://shop.example",))
    world.serve(route, cors=cors, max_body=4, rate_limit=Rate(1, 60.0) if status == 429 else None)
    client = world.connect()
    client.send(post(b"/", b"hello", SHOP) if status == 413 else get(b"/", SHOP))
    if status in {429, 502, 504}:
        got = world.origin.request()
        if status == 504:
            world.advance(16)
        elif status == 502:
            got.line.close()
        else:
            got.answer()
            client.answer()
            client.send(get(b"/", SHOP))
    answer = client.answer()
    assert answer.status == status
    assert answer[b"access-control-allow-origin"] == b"https://shop.example"
    assert b"Origin" in b",".join(answer.all(b"vary"))


def test_2_10_any_origin_is_a_star_without_credentials(world):
    world.serve(cors=Cors(origins=("*",)))
    client, got = world.ask(get(b"/", SHOP))
    got.answer(200, b"Access-Control-Allow-Origin: https://other", b"Access-Control-Allow-Credentials: true")
    answer = client.answer()
    assert answer[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-credentials" not in answer


def test_2_10_another_origin_is_told_nothing(world):
    world.serve(cors=Cors(origins=("https://shop.example",)))
    client, got = world.ask(get(b"/", b"Origin: https://shop.example.evil"))
    got.answer()
    answer = client.answer()
    assert b"access-control-allow-origin" not in answer
    assert b"Origin" in b",".join(answer.all(b"vary"))


def bearer(token):
    return b"Authorization: Bearer " + token.encode("ascii")


@pytest.fixture
def keyed(world):
    """A world whose routes want a token, and the key that signs them."""
    key = SigningKey.generate(world.clock)
    world.tokens = TokenVerifier([StaticKeys("micro:user", [key.public])], clock=world.clock)
    world.key = key
    world.serve(Route(path="/", service="app", auth="required"))
    return world


def token(world, **changes):
    grant = {"issuer": "micro:user", "subject": "ann", "role": "user", "ttl": 600.0} | changes
    return issue(world.key, Grant(**grant), clock=world.clock)


def test_2_10_a_valid_token_passes_and_goes_on(keyed):
    sent = bearer(token(keyed))
    client, got = keyed.ask(get(b"/", sent))
    assert b"Authorization: " + got[b"authorization"] == sent
    got.answer()
    assert client.answer().status == 200
    assert keyed.again(client, got.line, fields=[sent])


def forged(world, header=None, claims=None, key=None, algorithm="EdDSA"):
    """A token as `token` makes it, with another header, other claims, or another signature."""
    good = token(world)
    old = jwt.get_unverified_header(good)
    said = jwt.decode(good, options={"verify_signature": False})
    headers = {name: value for name, value in (old | (header or {})).items() if name not in {"alg", "typ"}}
    return jwt.encode(said | (claims or {}), key, algorithm=algorithm, headers=headers)


def b64(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


NO_ALGORITHM = b'{"alg": "none", "kid": "x"}'
EVE = b'{"iss": "micro:user", "sub": "eve", "aud": "micro", "exp": 9999999999}'


def test_2_10_tokens_that_must_not_be_accepted(keyed):
    good = token(keyed)
    head, body, signature = good.split(".")
    stranger = SigningKey.generate(keyed.clock)
    keyed.key, own = stranger, keyed.key
    of_a_stranger = token(keyed)
    keyed.key = own
    refused = {
        "no algorithm": f"{b64(NO_ALGORITHM)}.{body}.",
        "no algorithm, by another name": f"{b64(NO_ALGORITHM.replace(b'none', b'None'))}.{body}.{signature}",
        "another key": of_a_stranger,
        "a changed body": f"{head}.{b64(EVE)}.{signature}",
        "a changed signature": f"{head}.{body}.{signature[::-1]}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "expired": token(keyed, ttl=-60.0),
        "another issuer": token(keyed, issuer="evil"),
        "symmetric": forged(keyed, key="s" * 32, algorithm="HS256"),
        "symmetric, with the public key": forged(keyed, key=own.public["x"], algorithm="HS256"),
        "garbage": "x.y.z",
    }
    client = keyed.connect()
    for name, each in refused.items():
        answer = client.ask(get(b"/", bearer(each)))
        problem(answer, 401)
        assert b"invalid_token" in answer[b"www-authenticate"], name
    assert keyed.is_silent()
    assert client.goes_on()


def test_2_10_a_token_is_refused_once_it_has_expired_though_it_was_accepted(keyed):
    sent = bearer(token(keyed, ttl=60.0))
    client, got = keyed.ask(get(b"/", sent))
    got.answer()
    assert client.answer().status == 200
    keyed.advance(45)
    client.close()
    client = keyed.connect()
    keyed.advance(55)
    problem(keyed.connect().ask(get(b"/", sent)), 401)


ROUTES = [
    Route(path="/", service="app", rewrite="/any"),
    Route(path="/a", service="app", rewrite="/prefix-a"),
    Route(path="/a/b", service="app", rewrite="/prefix-ab"),
    Route(path="/a/b", service="app", rewrite="/exact-ab", exact=True),
    Route(path="/a/b", service="app", rewrite="/post-ab", methods=frozenset({"POST"})),
    Route(path="/a/b", service="app", rewrite="/header-ab", headers={"x-v": "2"}),
    Route(path="/a/b", service="app", rewrite="/headers-ab", headers={"x-v": "2", "x-w": "*"}),
    Route(path="/a/b", service="app", rewrite="/query-ab", query={"v": "2"}),
    Route(path="/", service="app", rewrite="/host", host="shop.example"),
]


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (get(b"/"), b"/any/"),
        (get(b"/ab"), b"/any/ab"),
        (get(b"/a"), b"/prefix-a"),
        (get(b"/a/"), b"/prefix-a/"),
        (get(b"/a/c"), b"/prefix-a/c"),
        (get(b"/a/bc"), b"/prefix-a/bc"),
        (get(b"/a/b"), b"/exact-ab"),
        (get(b"/a/b/c"), b"/prefix-ab/c"),
        (post(b"/a/b/c", b""), b"/post-ab/c"),
        (get(b"/a/b/c", b"X-V: 2"), b"/header-ab/c"),
        (get(b"/a/b/c", b"X-V: 2", b"X-W: any"), b"/headers-ab/c"),
        (get(b"/a/b/c", b"X-V: 3"), b"/prefix-ab/c"),
        (get(b"/a/b/c?v=2"), b"/query-ab/c?v=2"),
        (get(b"/a/b/c?v=3"), b"/prefix-ab/c?v=3"),
        (post(b"/a/b/c", b"", b"X-V: 2"), b"/post-ab/c"),
        (get(b"/x", host=b"Host: shop.example"), b"/host/x"),
        (get(b"/x", host=b"Host: SHOP.example:8000"), b"/host/x"),
        (get(b"/x", host=b"Host: other.example"), b"/any/x"),
    ],
)
def test_2_11_routes_have_the_published_precedence(world, request_, sent):
    world.serve(*ROUTES, hosts=("*",))
    client, got = world.ask(request_)
    assert got.target == sent
    got.body()
    got.answer()
    assert client.answer().status == 200


def test_2_11_no_match_is_404(world):
    world.serve(
        Route(path="/a", service="app", exact=True), Route(path="/b", service="app", headers={"x-v": "2"})
    )
    client = world.connect()
    for target in (b"/", b"/a/b", b"/b"):
        problem(client.ask(get(target)), 404)
    assert world.is_silent()
