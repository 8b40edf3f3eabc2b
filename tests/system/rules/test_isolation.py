"""Clients side by side: what one sends changes nothing for another, and nothing that is remembered outlives its time."""

from __future__ import annotations

from contextlib import closing

import pytest
from rig.client import problem
from rig.written import answered, get

from micro.security.tokens import LEEWAY, Grant, SigningKey, StaticKeys, TokenVerifier, issue
from micro.spec.gateway import Cors, GatewaySpec, Route
from micro.spec.terms import Rate

LEFTOVERS = {
    "a connection that closes": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a connection that closes by another name": get(b"/", b"Proxy-Connection: close"),
    "an upgrade": get(b"/", b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    "an upgrade by another name": get(b"/", b"Proxy-Connection: upgrade", b"Upgrade: h2c"),
    "HTTP/1.0": get(b"/", b"Connection: keep-alive", version=b"HTTP/1.0"),
    "a body after a refusal": b"GET http://localhost/ HTTP/1.1\r\nContent-Length: 99999\r\n\r\n",
    "chunks after a refusal": b"GET http://localhost/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a body after another scheme": b"GET https://localhost/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    "close after a refusal": b"GET http://localhost/ HTTP/1.1\r\nConnection: close\r\n\r\n",
    "a body after an asterisk": b"GET * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n",
    "an expectation": get(b"/", b"Expect: tea", b"Content-Length: 99999", method=b"POST"),
    "a coding": get(b"/", b"Transfer-Encoding: gzip", method=b"POST"),
    "CONNECT": b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a field that is none": get(b"/", b"X-A : 1"),
    "half a head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: 1",
}
"""What one client sends, after which its connection is good for nothing, or waits for more."""


@pytest.mark.parametrize("data", LEFTOVERS.values(), ids=LEFTOVERS)
def test_what_one_client_sends_leaves_nothing_for_the_next(world, data):
    with closing(world.connect()) as first:
        world.origin.clients.remove(first)  # an answer to it says nothing of the other's request
        first.send(data)
        world.settle()
        other = world.connect()
        other.send(get(b"/other", b"X-A: 1", b"Content-Length: 4", method=b"POST") + b"mine")
        while (got := world.origin.request()).target != b"/other":
            got.answer(body=b"")
        assert (got[b"x-a"], got.body()) == (b"1", b"mine")
        got.answer(body=b"yours")
        assert other.answer().body == b"yours"


BYTES = get(b"/", b"Origin: https://a.example", b"Authorization: Bearer good")


def served(world, client, data=BYTES, *, status=200):
    """The answer to bytes that are answered by the origin, or refused with that status."""
    client.send(data)
    if status == 200:
        world.origin.request().send(answered(b"hello", b"X-A: 1"))
    answer = client.answer()
    assert answer.status == status
    return answer


def warmed(world, *routes, **spec):
    """A connection whose bytes are known by heart."""
    world.serve(*routes, **spec)
    client = world.connect()
    for _ in range(3):
        served(world, client)
    return client


def put_in_force(world, *routes, **spec):
    """Have the gateway take up other settings, as a reload does."""
    spec = GatewaySpec(
        routes=routes or (Route(path="/", service="app"),),
        rate_limit=spec.pop("rate_limit", None),
        adapter=world.combination.adapter,
        **spec,
    )
    world._loop.call(world.gateway.reconfigure, spec)


STRICTER = {
    "no route": ({}, [Route(path="/elsewhere", service="app")], 404),
    "another method": ({}, [Route(path="/", service="app", methods=frozenset({"PUT"}))], 405),
    "another host": ({"hosts": ("shop.example",)}, [], 400),
    "a limit": ({"rate_limit": Rate(0, 60.0)}, [], 429),
    "a scope": ({}, [Route(path="/", service="app", auth="required", scopes=frozenset({"x"}))], 403),
}


@pytest.mark.parametrize(("spec", "routes", "status"), STRICTER.values(), ids=STRICTER)
def test_a_reload_holds_for_the_very_next_request_though_its_bytes_are_known(world, spec, routes, status):
    client = warmed(world)
    put_in_force(world, *routes, **spec)
    for _ in range(2):
        served(world, client, status=status)
    assert world.is_silent()
    put_in_force(world)
    served(world, client)


def test_a_reload_changes_what_is_said_of_an_answer_that_is_known(world):
    client = warmed(world, cors=Cors(origins=("https://a.example",)), rate_limit=Rate(50, 60.0))
    answer = served(world, client)
    assert (b"ratelimit" in answer, b"access-control-allow-origin" in answer) == (True, True)
    put_in_force(world, security_headers=False)
    for _ in range(2):
        answer = served(world, client)
        assert (b"ratelimit" in answer, b"access-control-allow-origin" in answer) == (False, False)
        assert b"x-content-type-options" not in answer
    put_in_force(world, trusted_proxies=("127.0.0.0/8",))
    client.send(get(b"/", b"X-Forwarded-For: 203.0.113.9"))
    got = world.origin.request().answer()
    assert got[b"x-forwarded-for"] == b"203.0.113.9, 127.0.0.1"
    assert client.answer().status == 200
    put_in_force(world)
    client.send(get(b"/", b"X-Forwarded-For: 203.0.113.9"))
    assert world.origin.request().answer()[b"x-forwarded-for"] == b"127.0.0.1"


def test_a_token_is_judged_each_time_though_its_bytes_are_known(world):
    client = warmed(world, Route(path="/", service="app", auth="required"))
    other = world.connect()
    served(world, other)
    good = world.tokens.known.pop("good")
    world.advance(0.2)  # for so long the gateway may go by what it was told
    for each in (client, other, client):
        served(world, each, status=401)
    assert world.is_silent()
    world.tokens.known["good"] = good
    served(world, client)


def test_a_token_ends_while_its_bytes_are_known(world):
    key = SigningKey.generate(world.clock)
    world.tokens = TokenVerifier([StaticKeys("micro:user", [key.public])], clock=world.clock)
    grant = Grant(issuer="micro:user", subject="ann", role="user", ttl=60.0)
    data = get(b"/", b"Authorization: Bearer " + issue(key, grant, clock=world.clock).encode("ascii"))
    world.serve(Route(path="/", service="app", auth="required"))
    served(world, world.connect(), data)
    world.advance(60 + LEEWAY - 0.5)  # both sides' clocks may differ by so much
    client = world.connect()
    for _ in range(3):
        served(world, client, data)
    world.advance(0.6)
    for _ in range(2):
        served(world, client, data, status=401)
    assert world.is_silent()


def test_the_same_bytes_of_two_addresses_are_two_clients(world):
    world.serve(rate_limit=Rate(3, 60.0))
    clients = [world.connect(host=f"127.0.0.{number}") for number in (1, 2)]
    for left in (b"2", b"1", b"0"):
        for client in clients:
            client.send(BYTES)
            got = world.origin.request()
            got.send(answered(b"hello", b"X-A: 1"))
            assert got[b"x-forwarded-for"].decode("ascii") == client.address[0]
            assert b"r=%b;" % left in client.answer()[b"ratelimit"]
    for client in clients:
        served(world, client, status=429)
    assert [record.client for record in world.log[-2:]] == ["127.0.0.1", "127.0.0.2"]


def test_the_same_bytes_of_one_proxy_for_two_clients_are_two_clients(world):
    world.serve(rate_limit=Rate(2, 60.0), trusted_proxies=("127.0.0.1/32",))
    proxy = world.connect()
    a, b = (get(b"/", b"X-Forwarded-For: 203.0.113.%d" % number) for number in (1, 2))
    for data in (a, a, b, b):
        served(world, proxy, data)
    for data in (a, b, a):
        served(world, proxy, data, status=429)
    assert world.is_silent()


def test_what_is_said_to_one_origin_is_said_to_no_other_though_the_answer_is_known(world):
    world.serve(cors=Cors(origins=("https://a.example", "https://b.example")))
    clients = [world.connect() for _ in range(3)]
    origins = [b"https://a.example", b"https://b.example", b"https://evil.example"]
    for _ in range(3):
        for client, origin in zip(clients, origins, strict=True):
            answer = served(world, client, get(b"/", b"Origin: " + origin))
            allowed = [origin] if b"evil" not in origin else []
            assert answer.all(b"access-control-allow-origin") == allowed
            assert answer.all(b"vary") == [b"Origin"]


def test_an_answer_that_is_known_takes_nothing_of_the_one_before_with_it(world):
    world.serve(rate_limit=Rate(99, 60.0))
    clients = [world.connect() for _ in range(2)]
    answers = [served(world, client) for _ in range(4) for client in clients]
    for name in (b"x-request-id", b"x-correlation-id"):
        assert len({answer[name] for answer in answers}) == len(answers), name
    assert len({answer[b"ratelimit"] for answer in answers}) == len(answers)
    assert {len(answer.all(b"date")) for answer in answers} == {1}
    clients[0].send(BYTES)
    world.origin.request().send(answered(b"hello", b"X-A: 1", b"Set-Cookie: a=1"))
    assert clients[0].answer()[b"set-cookie"] == b"a=1"
    assert [b"set-cookie" in served(world, client) for client in clients] == [False, False]


def test_an_early_answer_that_is_known_leaves_no_half_request_on_a_connection(world):
    client = warmed(world)
    other = world.connect()
    other.send(get(b"/half", b"Content-Length: 9", method=b"POST") + b"part")
    got = world.origin.request()
    got.send(answered(b"hello", b"X-A: 1"))
    assert other.answer().body == b"hello"
    assert got.breaks_off() or not world.is_network
    for _ in range(2):
        served(world, client)
    other.close()


def test_a_handshake_that_is_refused_twice_is_refused_twice(world):
    world.serve(Route(path="/", service="app", auth="required"))
    client = world.connect()
    fields = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    data = get(b"/", *fields, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    answer = client.ask(data)
    assert answer.status == 401
    if b"connection" not in answer:
        assert client.ask(data).status == 401
    assert world.is_silent()


def test_the_time_of_a_request_is_its_own_though_its_bytes_are_known(world):
    """Not what is left of the one before; and neither is its end taken for another's."""
    client = warmed(world, Route(path="/", service="app", timeout=5.0))
    world.advance(4)
    client.send(BYTES)
    got = world.origin.request()
    world.advance(2)  # beyond the time of those before
    assert client.nothing()
    got.send(answered(b"hello", b"X-A: 1"))
    assert client.answer().status == 200
    client.send(BYTES)
    got = world.origin.request()
    world.advance(4)
    assert client.nothing()
    world.advance(2)
    problem(client.answer(), 504, "http_response_timeout")
    assert got.gone() or not world.is_network
    for _ in range(2):
        served(world, client)
