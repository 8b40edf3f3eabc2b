"""Reference 2.2: who the client is, and whom to believe."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import json

import pytest
from rig.client import problem
from rig.written import get, post

from micro.spec.gateway import Route
from micro.spec.terms import Rate
from micro.spec.upstream import UpstreamSpec

TRUSTED = ("127.0.0.1/32", "10.0.0.0/8", "2001:db8:1::/48")

CLAIMS = [
    b"Client-IP: 6.6.6.6",
    b"Forwarded: for=6.6.6.6;proto=https;host=evil",
    b"True-Client-IP: 6.6.6.6",
    b"X-Client-IP: 6.6.6.6",
    b"X-Forwarded: 6.6.6.6",
    b"X-Forwarded-For: 6.6.6.6",
    b"X-Forwarded-Host: evil-6.6.6.6",
    b"X-Forwarded-Port: 6666",
    b"X-Forwarded-Prefix: /6.6.6.6",
    b"X-Forwarded-Proto: 6.6.6.6",
    b"X-Forwarded-Server: 6.6.6.6",
    b"X-Original-URL: /6.6.6.6",
    b"X-Real-IP: 6.6.6.6",
    b"X-Rewrite-URL: /6.6.6.6",
]
IDENTITY = [
    b"Remote-User: 6.6.6.6",
    b"X-Auth-Request-User: 6.6.6.6",
    b"X-Authenticated-User: 6.6.6.6",
    b"X-Forwarded-User: 6.6.6.6",
    b"X-Remote-User: 6.6.6.6",
    b"X-User-ID: 6.6.6.6",
    b"X-User-Role: 6.6.6.6",
    b"X-User-Scopes: 6.6.6.6",
]


def seen(world, *fields):
    """What the origin gets, and the address that the gateway logs."""
    client, got = world.ask(get(b"/", *fields))
    got.answer()
    assert client.answer().status == 200
    return got, world.log[-1].client


def test_T1_forwarded_of_a_stranger_is_not_believed_and_goes_no_further(world):
    got, address = seen(world, CLAIMS[1])
    assert b"forwarded" not in got
    assert address == "127.0.0.1"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"6.6.6.6, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (b"6.6.6.6,203.0.113.9", "203.0.113.9"),
        (b"203.0.113.9", "203.0.113.9"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
    ],
)
def test_T2_the_client_is_the_first_untrusted_address_from_the_right(world, chain, client):
    world.serve(trusted_proxies=TRUSTED)
    got, address = seen(world, b"X-Forwarded-For: " + chain)
    assert address == client
    assert got[b"x-forwarded-for"] == chain + b", 127.0.0.1"


def test_T2_the_left_of_the_chain_is_no_key_of_a_rate_limit(world):
    world.serve(trusted_proxies=TRUSTED, rate_limit=Rate(2, 60.0))
    client = world.connect()
    for number in range(2):
        client.send(get(b"/", b"X-Forwarded-For: 6.6.6.%d, 203.0.113.9" % number))
        world.origin.request().answer()
        assert client.answer().status == 200
    problem(client.ask(get(b"/", b"X-Forwarded-For: 7.7.7.7, 203.0.113.9")), 429)
    assert world.is_silent()


def test_T2_several_forwarded_for_fields_are_one_chain(world):
    world.serve(trusted_proxies=TRUSTED)
    _, address = seen(world, b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-For: 10.0.0.1")
    assert address == "203.0.113.9"


@pytest.mark.parametrize("claim", CLAIMS)
def test_T3_what_a_stranger_says_of_the_client_is_replaced(world, claim):
    got, address = seen(world, claim)
    assert b"6.6.6.6" not in got.raw
    assert got[b"x-forwarded-for"] == b"127.0.0.1"
    assert got[b"x-forwarded-proto"] == b"http"
    assert got[b"x-forwarded-host"] == b"localhost"
    assert b"x-forwarded-port" not in got
    assert address == "127.0.0.1"


@pytest.mark.parametrize("claim", IDENTITY)
def test_T3_what_a_stranger_says_of_the_user_is_stripped(world, claim):
    assert b"6.6.6.6" not in seen(world, claim)[0].raw


def test_T3_a_stranger_s_request_id_is_replaced_and_a_trusted_peer_s_kept(world):
    got, _ = seen(world, b"X-Request-ID: chosen")
    assert got[b"x-request-id"] != b"chosen"


def test_T3_a_trusted_peer_is_believed(world):
    world.serve(trusted_proxies=TRUSTED)
    fields = [
        b"X-Request-ID: chosen",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: shop.example",
        b"X-User-ID: ann",
    ]
    got, _ = seen(world, *fields, b"X-Forwarded-For: 203.0.113.9")
    assert got[b"x-request-id"] == b"chosen"
    assert got[b"x-forwarded-proto"] == b"https"
    assert got[b"x-forwarded-host"] == b"shop.example"
    assert got[b"x-user-id"] == b"ann"


@pytest.mark.parametrize(
    ("field", "client"),
    [
        (b'Forwarded: for="[2001:db8:2::7]:4711"', "2001:db8:2::7"),
        (b'Forwarded: for="[2001:DB8:2::7]";proto=http', "2001:db8:2::7"),
        (b"Forwarded: For=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        (b'Forwarded: for=6.6.6.6, for=192.0.2.43, for="[2001:db8:1::1]"', "192.0.2.43"),
        (b"X-Forwarded-For: 192.0.2.43:4711", "192.0.2.43"),
        (b"X-Forwarded-For: [2001:db8:2::7]:4711", "2001:db8:2::7"),
        (b"X-Forwarded-For: ::ffff:192.0.2.43", "192.0.2.43"),
    ],
)
def test_T4_every_spelling_of_an_address_is_one_client(world, field, client):
    world.serve(trusted_proxies=TRUSTED)
    assert seen(world, field)[1] == client


def test_T4_forwarded_is_extended_in_its_own_syntax(world):
    world.serve(trusted_proxies=TRUSTED)
    got, _ = seen(world, b'Forwarded: for="[2001:db8:2::7]"')
    assert got[b"forwarded"] == b'for="[2001:db8:2::7]", for=127.0.0.1;proto=http'


def test_T4_hosts_of_one_ipv6_network_share_a_limit(world):
    world.serve(trusted_proxies=TRUSTED, rate_limit=Rate(1, 60.0))
    client, got = world.ask(get(b"/", b"X-Forwarded-For: 2001:db8:2:3::1"))
    got.answer()
    assert client.answer().status == 200
    problem(client.ask(get(b"/", b"X-Forwarded-For: 2001:db8:2:3:ffff::2")), 429)
    client.send(get(b"/", b"X-Forwarded-For: 2001:db8:2:4::1"))
    world.origin.request().answer()
    assert client.answer().status == 200


def test_T5_the_server_itself_believes_nobody(world):
    """Uvicorn would believe loopback: that is where this client is."""
    got, address = seen(world, b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https")
    assert address == "127.0.0.1"
    assert got[b"x-forwarded-proto"] == b"http"


HOSTS = {
    "none": (),
    "twice": (b"Host: localhost", b"Host: localhost"),
    "two in one": (b"Host: localhost, localhost",),
    "empty": (b"Host: ",),
    "unknown": (b"Host: example.com",),
    "a space": (b"Host: local host",),
    "a path": (b"Host: localhost/x",),
    "a user": (b"Host: localhost@example.com",),
    "a port that is none": (b"Host: localhost:99999",),
    "a port in letters": (b"Host: localhost:x",),
    "an address cut off": (b"Host: [::1",),
    "a NUL in percent": (b"Host: localhost%00",),
}


@pytest.mark.parametrize("fields", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_T6_a_host_that_is_missing_repeated_or_invalid_is_400(world, fields, version):
    client = world.connect()
    problem(client.ask(get(b"/", *fields, host=b"", version=version)), 400)
    assert world.is_silent()


@pytest.mark.parametrize(
    "target", [b"http://localhost/a?b", b"HTTP://LOCALHOST/a?b", b"http://localhost:8000/a?b"]
)
def test_T6_the_host_of_an_absolute_target_stands_in_place_of_host(world, target):
    client, got = world.ask(get(target, host=b"Host: evil.example"))
    assert got.target == b"/a?b"
    assert b"evil" not in got.raw
    if not world.is_network:
        assert got[b"host"].lower() == target.split(b"/")[2].lower()
    assert got[b"x-forwarded-host"].lower() == target.split(b"/")[2].lower()
    got.answer()
    assert client.answer().status == 200


@pytest.mark.parametrize(
    "target",
    [
        b"http://evil.example/",
        b"http:///",
        b"http:///x",
        b"http:/x",
        b"http://localhost@evil.example/",
        b"http://evil.example@localhost/",
        b"http://user@localhost/",
        b"http://user:secret@localhost/",
        b"ftp://localhost/",
        b"localhost:80",
        b"//localhost@evil.example:80\\x",
        b"/\\evil.example/",
    ],
)
def test_T6_a_target_that_names_somebody_else_is_400(world, target):
    client = world.connect()
    problem(client.ask(get(target)), 400)
    assert world.is_silent()


def test_T6_what_else_a_request_says_is_heard_behind_an_absolute_target(world):
    client, got = world.ask(get(b"http://localhost/a", b"Connection: close, X-A", b"X-A: 1"))
    assert b"x-a" not in got
    got.answer()
    assert client.answer()[b"connection"] == b"close"
    assert client.ends()
    world.ask_then_send(post(b"http://localhost/b", b"", b"Expect: 100-continue", length=5), b"hello")


def test_T6_an_absolute_target_excuses_no_missing_host(world):
    client = world.connect()
    problem(client.ask(get(b"http://localhost/", host=b"")), 400)
    assert world.is_silent()


def test_T7_the_host_goes_on_as_it_came_to_a_service_of_the_stack(world):
    world.serve(hosts=("*.shop.example",), upstream=UpstreamSpec(pass_host=True))
    _, got = world.ask(get(host=b"Host: WWW.shop.example:8000"))
    assert got[b"host"] == b"WWW.shop.example:8000"
    assert got[b"x-forwarded-host"] == b"WWW.shop.example:8000"


@pytest.mark.needs("instances")
def test_T7_an_instance_gets_the_host_of_its_url_unless_told_otherwise(world):
    _, got = world.ask(get(host=b"Host: localhost"))
    assert got[b"host"] == world.origin.url.removeprefix("http://").encode()
    assert got[b"x-forwarded-host"] == b"localhost"


def test_health_is_answered_to_whoever_asks_by_address(world):
    answer = world.connect().ask(get(b"/health", host=b"Host: 192.0.2.1"))
    assert json.loads(answer.body)["status"] == "healthy"


def test_T2_a_limit_of_a_route_counts_by_the_same_address(world):
    world.serve(Route(path="/", service="app", rate_limit=Rate(1, 60.0)))
    client, got = world.ask(get(b"/", b"X-Forwarded-For: 6.6.6.1"))
    got.answer()
    assert client.answer().status == 200
    problem(client.ask(get(b"/", b"X-Forwarded-For: 6.6.6.2")), 429)
