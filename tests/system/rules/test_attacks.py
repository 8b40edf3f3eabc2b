"""Attacks of the last years that no numbered rule names: what a client, or an origin, sends to be misunderstood."""

from __future__ import annotations

import pytest
from rig.client import problem
from rig.written import HOST, answered, get, post

from micro.spec.gateway import Cors, Route
from micro.web.fields import IDENTITY, PEER, spellings

EXPECT = b"Expect: 100-continue"
MEGABYTE = 1 << 20
LONG_WAIT = 70
"""Seconds after which an idle connection is closed, and a head that has begun long before."""


def closes(client, answer):
    return answer.all(b"connection") == [b"close"] and client.ends()


@pytest.mark.parametrize("length", [b"Content-Length: 38", b"Transfer-Encoding: chunked"])
def test_nothing_follows_a_refusal_in_place_of_100(world, length):
    """A proxy in front that leaves the body out would have its next client's request taken for it."""
    world.serve(Route(path="/", service="app", auth="required"))
    client = world.connect()
    answer = client.ask(get(b"/first", EXPECT, length, method=b"POST"))
    problem(answer, 401)
    assert answer.interim == []
    assert closes(client, answer)
    assert world.is_silent()


@pytest.mark.needs("interim answers")
@pytest.mark.parametrize("length", [b"Content-Length: 38", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("times", [1, 2])
def test_nothing_follows_an_instance_s_answer_in_place_of_100(world, length, times):
    for _ in range(times):
        client = world.connect()
        client.send(get(b"/first", EXPECT, length, method=b"POST"))
        got = world.origin.request()
        got.answer(403, body=b"no")
        answer = client.answer()
        assert (answer.status, answer.interim) == (403, [])
        assert closes(client, answer)
        assert got.breaks_off()


@pytest.mark.parametrize(
    "value", [b"100-continue, x", b"y 100-continue", b"100-continue\x0b", b"100-continue;q=1", b"", b"100"]
)
def test_an_expectation_in_disguise_is_refused(world, value):
    client = world.connect()
    answer = client.ask(get(b"/", b"Expect: " + value, b"Content-Length: 5", method=b"POST"))
    assert answer.status in {400, 417}
    problem(answer, answer.status)
    assert world.got_nothing_whole()


def test_an_expectation_without_a_body_goes_no_further(world):
    client, got = world.ask(get(b"/", EXPECT))
    assert b"expect" not in got
    got.answer()
    assert client.answer().interim == []
    assert world.again(client, got.line)


@pytest.mark.parametrize(
    "target",
    [
        b"/tasks/..%2fusers",
        b"/tasks/%2e%2e%2fusers",
        b"/tasks%2f..%2fusers",
        b"/tasks/..;/users",
        b"/tasks/.;x=1/users",
        b"/tasks/..%5cusers",
        b"/tasks\\..\\users",
        b"/%75sers%2f",
        b"/users%2fann",
        b"/users\x00",
        b"/tasks/%2E%2E/users",
    ],
)
def test_no_spelling_leads_around_what_a_route_asks_for(world, target):
    world.serve(
        Route(path="/", service="app"),
        Route(path="/tasks", service="app"),
        Route(path="/users", service="app", auth="required"),
    )
    client = world.connect()
    answer = client.ask(get(target))
    problem(answer, answer.status)
    assert answer.status in {400, 401}
    assert world.is_silent()


def test_an_escape_is_decoded_once_and_forwarded_as_it_came(world):
    world.serve(Route(path="/", service="app"), Route(path="/users", service="app", auth="required"))
    for target in (b"/%2575sers", b"/users%00", b"/a%0d%0aX-A:1"):
        client, got = world.ask(get(target))
        assert got.target == target
        assert b"x-a" not in got
        got.answer()
        assert client.answer().status == 200


def test_nobody_says_who_he_is_in_any_spelling(world):
    """What services believe of their gateway is the gateway's alone to say."""
    client = world.connect()
    for name in (*IDENTITY, PEER):
        fields = [spelling + b": 6.6.6.6" for spelling in spellings(name)]
        fields += [field.upper() for field in fields] + [fields[0].title(), fields[0] + b"\t"]
        client.send(get(b"/", *fields))
        got = world.origin.request()
        assert b"6.6.6.6" not in got.raw, name
        got.answer()
        assert client.answer().status == 200


@pytest.mark.parametrize(
    "trailer",
    [b"Content-Length: 0", b"Host: evil", b"Authorization: Bearer good", b"Transfer-Encoding: chunked"],
)
def test_a_trailer_changes_nothing_of_its_request(world, trailer):
    world.serve(Route(path="/", service="app"), Route(path="/kept", service="app", auth="required"))
    client = world.connect()
    body = b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"
    client.send(get(b"/", b"Trailer: Authorization", b"Transfer-Encoding: chunked", method=b"POST") + body)
    got = world.origin.request()
    assert got.body() == b"hello"
    assert b"evil" not in got.raw + b"".join(value for _, value in got.fields)
    assert b"authorization" not in got
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)
    data = get(b"/kept", b"Transfer-Encoding: chunked", method=b"POST")
    answer = client.ask(data + b"0\r\n" + trailer + b"\r\n\r\n")
    problem(answer, 401)
    assert world.is_silent()


def lines(fields):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"hello"})

    return app


@pytest.mark.needs("calls")
@pytest.mark.parametrize(
    "field",
    [
        (b"x-a", b"1\r\nset-cookie: evil=1"),
        (b"x-a", b"1\nset-cookie: evil=1"),
        (b"x-a", b"1\r\n\r\nHTTP/1.1 200 OK"),
        (b"x-a", b"1\x00"),
        (b"x-a\r\nset-cookie", b"evil=1"),
        (b"x a", b"1"),
        (b"", b"1"),
        (b"content-length", b"+5"),
        (b"content-length", b"5, 6"),
    ],
)
def test_an_application_splits_no_answer(world, field):
    if world.is_network:
        pytest.skip("an application in this process is meant")
    world.serve(app=lines([(b"x-b", b"1"), field]))
    client = world.connect()
    client.send(get())
    answer = client.answer_or_break()
    if answer is not None:
        assert answer.status in {500, 502}
        assert b"evil" not in answer.wire
        assert b"hello" not in answer.body
    world.own_faults = sum(record.status == 500 for record in world.log)


@pytest.mark.needs("bytes of an answer")
def test_an_answer_is_its_own_request_s_however_it_is_framed(world):
    """An answer to HEAD, and one that ends early, leave nothing for whoever comes next."""
    client = world.connect()
    client.send(get(b"/head", method=b"HEAD"))
    got = world.origin.request()
    got.send(answered(answered(b"poison", b"X-Poison: 1")))
    assert client.answer(method=b"HEAD").status == 200
    assert got.gone()
    other = world.connect()
    other.send(post(b"/half", b"part", length=999))
    got = world.origin.request()
    got.send(answered(b"early") + answered(b"poison"))
    assert other.answer().body == b"early"
    assert got.breaks_off()
    assert world.again(client)


def test_requests_without_end_wait_at_the_client(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=0)
    client = world.connect()
    client.send(get(b"/first"))
    got = world.origin.request()
    sent = client.push(get(b"/more") * 1000, world, most=64 * MEGABYTE)
    assert sent < 48 * MEGABYTE
    assert world.waiting() <= MEGABYTE
    assert world.is_silent()
    got.answer()
    assert client.answer().status == 200


def test_clients_that_never_read_are_let_go_and_keep_nobody_else_waiting(world):
    lazy = [world.connect(receive_buffer=4096) for _ in range(8)]
    for client in lazy:
        world.origin.clients.remove(client)
        client.send(get(b"/much") * 3)
    body = bytes(4 * MEGABYTE)
    try:
        for _ in lazy:
            got = world.origin.request()
            got.line.send_some(answered(body))
        other = world.connect()
        other.send(get(b"/other"))
        while (got := world.origin.request()).target != b"/other":
            got.line.close()
        got.answer(body=b"yours")
        assert other.answer().body == b"yours"
    finally:
        for client in lazy:
            client.reset()


def test_empty_lines_do_not_keep_a_connection(world):
    client = world.connect()
    client.send(get())
    world.origin.request().answer()
    client.answer()
    for _ in range(LONG_WAIT // 10):
        client.send(b"\r\n")
        world.settle()
        world.advance(10)
    assert client.ends()


REFUSALS = {
    400: get(b"/", b"X-A : 1", b"Origin: https://shop.example"),
    414: get(b"/" + b"a" * 9000, b"Origin: https://shop.example"),
    417: get(b"/", b"Expect: x", b"Content-Length: 1", b"Origin: https://shop.example", method=b"PUT"),
    431: get(b"/", b"Origin: https://shop.example", b"X-A: " + b"a" * 40_000),
    501: get(b"/", b"Transfer-Encoding: gzip, chunked", b"Origin: https://shop.example", method=b"PUT"),
    505: get(b"/", b"Origin: https://shop.example", version=b"HTTP/2.0"),
    408: b"GET / HTTP/1.1\r\n" + HOST + b"\r\nOrigin: https://shop.example\r\nX-A: 1",
}


@pytest.mark.parametrize(("status", "data"), REFUSALS.items(), ids=map(str, REFUSALS))
def test_2_10_what_can_not_be_read_is_refused_so_that_a_page_can_read_it(world, status, data):
    world.serve(cors=Cors(origins=("https://shop.example",), credentials=True))
    for sent, allowed in (
        (data, [b"https://shop.example"]),
        (data.replace(b"shop.example", b"evil.example"), []),
        (data.replace(b"Origin: ", b"Origin: https://shop.example\r\nOrigin: "), []),
    ):
        client = world.connect()
        client.send(sent)
        world.settle()
        if status == 408:
            world.advance(12)
        answer = client.answer()
        problem(answer, status)
        assert answer.all(b"access-control-allow-origin") == allowed
        assert answer.all(b"access-control-allow-credentials") == [b"true"] * len(allowed)
        assert b"Origin" in answer.all(b"vary")
        assert closes(client, answer)
