"""Reference 2.4: a path is forwarded as it came, and matched in one form only."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import pytest
from rig.client import problem
from rig.written import get

from micro.spec.gateway import Route

TARGETS = [
    b"/",
    b"//",
    b"/a//b/",
    b"/a%2Fb",
    b"/a%2fb",
    b"/%7Eann/~ann",
    b"/a%20b%3F%23%25",
    b"/a%3Bb;c=1",
    b"/%E4%BD%A0",
    b"/a+b%2Bc",
    b"/.well-known/x",
    b"/a./..b/c...",
    b"/a:b@c!$&'()*+,=",
    b"/?",
    b"/?a",
    b"/?a=1&a=2&&b=",
    b"/?a=%2F..%2f%00%ff",
    b"///",
    b"//evil.example/a",
    b"/http://evil.example/",
    b"/@evil.example",
    b"/?a=/../b?c#".rstrip(b"#"),
    b"/a?%zz",
]


@pytest.mark.parametrize("target", TARGETS)
def test_P1_P2_path_and_query_are_forwarded_byte_for_byte(world, target):
    client, got = world.ask(get(target))
    assert got.target in {target, target.removesuffix(b"?")}
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"http://localhost", b"/"),
        (b"http://localhost?a=1", b"/?a=1"),
        (b"http://localhost/", b"/"),
        (b"http://localhost/a%2Fb?c=%2F", b"/a%2Fb?c=%2F"),
        (b"http://localhost//a", b"//a"),
    ],
)
def test_P1_an_absolute_target_is_forwarded_as_a_path_which_is_never_empty(world, target, sent):
    client, got = world.ask(get(target))
    assert got.target == sent
    got.answer()
    assert client.answer().status == 200


def test_P1_the_asterisk_of_options_ends_here(world):
    client = world.connect()
    answer = client.ask(get(b"*", method=b"OPTIONS"))
    assert answer.status == 204
    assert b"GET" in answer[b"allow"]
    assert world.is_silent()
    assert client.goes_on()


def test_P1_a_prefix_is_stripped_on_purpose_only_and_leaves_the_rest_as_it_is(world):
    world.serve(Route(path="/api", service="app", strip_prefix=True))
    client, got = world.ask(get(b"/api/a%2Fb//c%20d?x=%2F"))
    assert got.target == b"/a%2Fb//c%20d?x=%2F"
    got.answer()
    client.answer()
    client.send(get(b"/api?x"))
    assert world.origin.request().target == b"/?x"


def test_P1_a_prefix_is_rewritten_on_purpose_only(world):
    world.serve(Route(path="/api", service="app", rewrite="/v2"))
    _, got = world.ask(get(b"/api/a%2Fb?x"))
    assert got.target == b"/v2/a%2Fb?x"


DOTS = [
    b"/a/../b",
    b"/..",
    b"/./a",
    b"/a/.",
    b"/%2e%2e/b",
    b"/a/%2E./b",
    b"/a/.%2e",
    b"/a%2F..%2Fb",
    b"/a%2f%2e%2e",
    b"/a\\..\\b",
    b"/a%5C..%5Cb",
    b"/a/..;x=1/b",
    b"/a/..%3Bx/b",
]


@pytest.mark.parametrize("target", DOTS)
def test_P3_dot_segments_are_refused_before_anything_is_decided_by_them(world, target):
    world.serve(Route(path="/", service="app"), Route(path="/b", service="app", auth="required"))
    client = world.connect()
    problem(client.ask(get(target)), 400)
    assert world.is_silent()


@pytest.mark.parametrize("target", [b"/admin", b"/%61dmin", b"/adm%69n/x", b"/admin/", b"/admin?x"])
def test_P3_every_spelling_of_a_path_meets_the_same_policies(world, target):
    world.serve(Route(path="/", service="app"), Route(path="/admin", service="app", auth="required"))
    client = world.connect()
    problem(client.ask(get(target)), 401)
    assert world.is_silent()
    assert client.goes_on()


@pytest.mark.parametrize("target", [b"/admin%2F", b"/admin%2fx", b"/admin%2F%2F"])
def test_P3_what_a_reader_who_decodes_would_route_otherwise_is_refused(world, target):
    world.serve(Route(path="/", service="app"), Route(path="/admin", service="app", auth="required"))
    client = world.connect()
    answer = client.ask(get(target))
    problem(answer, answer.status)
    assert answer.status in {400, 401}
    assert world.is_silent()


@pytest.mark.parametrize(
    "target",
    [b"/a%", b"/a%2", b"/a%zz", b"/a\\b", b"/a\xe4", "/你".encode(), b"/a#b", b"/?a#b", b"a", b"", b"\x7f"],
)
def test_P3_a_target_that_is_no_path_is_refused(world, target):
    client = world.connect()
    problem(client.ask(get(target)), 400)
    assert world.is_silent()


def test_P4_an_encoded_slash_is_kept_and_separates_nothing(world):
    world.serve(
        Route(path="/a", service="app"), Route(path="/a/b", service="app", methods=frozenset({"PUT"}))
    )
    _, got = world.ask(get(b"/a/c%2Fd"))
    assert got.target == b"/a/c%2Fd"


def test_P5_slashes_are_not_merged(world):
    world.serve(Route(path="/a/b", service="app"))
    client, got = world.ask(get(b"/a/b//c"))
    assert got.target == b"/a/b//c"
    got.answer()
    client.answer()
    problem(client.ask(get(b"/a//b")), 404)
    assert world.is_silent()
    assert client.goes_on()
