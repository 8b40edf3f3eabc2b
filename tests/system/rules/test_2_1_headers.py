"""Reference 2.1: connections and header fields."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import re

import pytest
from rig.client import problem
from rig.written import answered, get, in_chunks, post

from micro.spec.gateway import Route

OWN = [b"x-request-id", b"x-correlation-id", b"traceparent", b"via"]
"""What the gateway adds to every request, besides what it says of the client."""
TIME_LEFT = b"x-request-timeout-ms"


def test_the_whole_of_a_request_is_what_the_client_sent_and_what_the_gateway_adds(world):
    client, got = world.ask(get(b"/a?b=c", b"Accept: */*", b"User-Agent: x"))
    assert got.message.line == b"GET /a?b=c HTTP/1.1"
    said = [pair for pair in got.fields if pair[0] not in {*OWN, b"host", TIME_LEFT}]
    assert said == [
        (b"accept", b"*/*"),
        (b"user-agent", b"x"),
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"localhost"),
    ]
    assert all(len(got.all(name)) == 1 for name in OWN)
    assert got.line.source.rest == b""
    got.answer(200, b"X-A: 1", body=b"hello")
    answer = client.answer()
    assert (answer.status, answer.body, answer[b"x-a"]) == (200, b"hello", b"1")
    assert world.again(client, got.line)


NAMED = [
    (b"Connection: X-A",),
    (b"Connection: x-a",),
    (b"Connection: keep-alive, X-A",),
    (b"Connection: X-A, X-A",),
    (b"Connection: ,,X-A ,\t,",),
    (b"Connection:X-A",),
    (b"Connection: keep-alive", b"Connection: X-A"),
    (b"Connection: X-B, X-A, X-C", b"X-C: 3"),
    (b"X-A: first", b"Connection: X-A"),
]


@pytest.mark.parametrize("fields", NAMED)
def test_H1_what_connection_names_ends_at_the_gateway(world, fields):
    client, got = world.ask(get(b"/", *fields, b"X-A: 1", b"X-a: 2", b"X-D: 4"))
    assert {b"x-a", b"x-b", b"x-c", b"connection"}.isdisjoint(got.names)
    assert got[b"x-d"] == b"4"
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


@pytest.mark.parametrize("fields", NAMED)
def test_H1_what_connection_names_in_an_answer_ends_at_the_gateway(world, fields):
    client, got = world.ask(get())
    got.send(answered(b"hello", *fields, b"X-A: 1", b"X-a: 2", b"X-D: 4"))
    answer = client.answer()
    assert answer.body == b"hello"
    assert {b"x-a", b"x-b", b"x-c", b"connection"}.isdisjoint(answer.names)
    assert answer[b"x-d"] == b"4"
    assert world.again(client, got.line)


def test_H1_connection_takes_out_nothing_that_the_gateway_says_itself(world):
    named = b"Connection: host, x-forwarded-for, x-forwarded-proto, x-request-id, traceparent, via"
    _, got = world.ask(get(b"/", named))
    for name in (*OWN, b"host", b"x-forwarded-for", b"x-forwarded-proto"):
        assert len(got.all(name)) == 1, name


def test_H1_connection_does_not_change_how_long_a_body_is(world):
    body = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client, got = world.ask(post(b"/", body, b"Connection: Content-Length, Transfer-Encoding"))
    assert got.body() == body
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


def test_H1_connection_in_an_answer_does_not_change_how_long_its_body_is(world):
    client, got = world.ask(get())
    got.send(answered(b"hello", b"Connection: Content-Length"))
    assert client.answer().body == b"hello"
    assert world.again(client, got.line)


def test_H1_close_is_the_client_s_own_business(world):
    client, got = world.ask(get(b"/", b"Connection: close"))
    assert b"close" not in got.raw.lower()
    got.answer(body=b"hello")
    answer = client.answer()
    assert answer.body == b"hello"
    assert answer[b"connection"] == b"close"
    assert client.ends()
    assert world.again(world.connect(), got.line)


def test_H1_close_of_the_origin_is_not_the_client_s_business(world):
    client, got = world.ask(get())
    got.send(answered(b"hello", b"Connection: close"))
    answer = client.answer()
    assert b"connection" not in answer
    got.line.close()
    assert client.goes_on()
    assert world.again(client)


HOP_BY_HOP = {
    b"Keep-Alive": b"timeout=5",
    b"Proxy": b"http://127.0.0.1",
    b"Proxy-Authenticate": b"Basic",
    b"Proxy-Authorization": b"Basic eDp5",
    b"Proxy-Connection": b"keep-alive",
    b"TE": b"gzip",
    b"Trailer": b"X-A",
    b"Upgrade": b"h2c",
    b"HTTP2-Settings": b"AAMAAABkAAQAAP__",
}


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_H2_a_hop_by_hop_field_ends_at_the_gateway_though_nobody_names_it(world, name):
    field = b"%s: %s" % (name, HOP_BY_HOP[name])
    client, got = world.ask(get(b"/", field, b"X-A: 1"))
    assert name.lower() not in got
    assert got[b"x-a"] == b"1"
    got.send(answered(b"hello", field, b"X-B: 2"))
    answer = client.answer()
    assert name.lower() not in answer
    assert answer[b"x-b"] == b"2"
    assert world.again(client, got.line)


def test_H2_transfer_encoding_is_each_connection_s_own(world):
    client, got = world.ask(get())
    got.send(in_chunks(b"he", b"llo"))
    answer = client.answer()
    assert answer.body == b"hello"
    assert world.again(client, got.line)


@pytest.mark.parametrize("value", [b"trailers", b"trailers, deflate;q=0.5", b"gzip", b""])
def test_H3_of_te_at_most_trailers_goes_on_and_then_connection_says_so(world, value):
    client, got = world.ask(get(b"/", b"Connection: TE", b"TE: " + value))
    assert got.all(b"te") in ([], [b"trailers"])
    assert (b"te" in got) == (b"te" in b",".join(got.all(b"connection")).lower())
    got.answer()
    assert client.answer().status == 200


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0", b"HTTP/2.0", b"foo, bar"])
def test_H4_an_upgrade_that_is_not_supported_is_ignored(world, protocol):
    client, got = world.ask(get(b"/", b"Connection: Upgrade", b"Upgrade: " + protocol))
    assert {b"upgrade", b"connection"}.isdisjoint(got.names)
    got.answer(body=b"hello")
    assert client.answer().body == b"hello"
    assert world.again(client, got.line)


def test_H4_an_upgrade_in_http_1_0_is_ignored(world):
    fields = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    client, got = world.ask(get(b"/", *fields, key, version=b"HTTP/1.0"))
    assert b"upgrade" not in got
    got.answer(body=b"hello")
    assert client.answer().body == b"hello"
    assert client.ends()


@pytest.mark.needs("bytes of an answer")
def test_H4_an_instance_that_switches_protocols_unasked_gets_no_tunnel(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nbytes")
    problem(client.answer(), 502, "http_upgrade_failed")
    assert got.gone()
    assert world.again(client)


def test_H5_via_is_added_to_every_request(world):
    client, got = world.ask(get())
    mine = got[b"via"]
    assert re.fullmatch(rb"1\.1 micro-[0-9a-f]{12}", mine)
    got.answer()
    client.answer()
    client.send(get(b"/", b"Via: 1.0 fred", b"Via: 1.1 p.example.net"))
    assert world.origin.request()[b"via"] == b"1.0 fred, 1.1 p.example.net, " + mine


def test_H5_via_tells_the_client_s_version(world):
    _, got = world.ask(get(version=b"HTTP/1.0"))
    assert got[b"via"].startswith(b"1.0 micro-")


def test_H6_what_was_here_already_is_not_sent_on(world):
    client, got = world.ask(get())
    got.answer()
    client.answer()
    problem(client.ask(get(b"/", b"Via: 1.1 x, " + got[b"via"])), 502, "proxy_loop_detected")
    assert world.is_silent()
    assert world.again(client, got.line)


def test_H6_max_forwards_of_options_is_counted_down_and_ends_here_at_zero(world):
    client, got = world.ask(get(b"/", b"Max-Forwards: 3", method=b"OPTIONS"))
    assert got[b"max-forwards"] == b"2"
    got.answer(200, b"Allow: GET")
    assert client.answer()[b"allow"] == b"GET"
    answer = client.ask(get(b"/", b"Max-Forwards: 0", method=b"OPTIONS"))
    assert answer.status == 204
    assert b"GET" in answer[b"allow"]
    assert world.is_silent()
    assert world.again(client, got.line)


@pytest.mark.parametrize("hops", [b"-1", b"x", b"1_0", b"+1", b""])
def test_H6_a_max_forwards_that_is_no_number_is_400(world, hops):
    client = world.connect()
    problem(client.ask(get(b"/", b"Max-Forwards: " + hops, method=b"OPTIONS")), 400)
    assert world.is_silent()
    assert client.goes_on()


def test_H6_max_forwards_of_other_methods_means_nothing(world):
    _, got = world.ask(get(b"/", b"Max-Forwards: 0"))
    assert got[b"max-forwards"] == b"0"


@pytest.mark.parametrize("hops", [(), (b"Max-Forwards: 0",), (b"Max-Forwards: 5",)])
def test_H6_trace_ends_here_and_tells_nothing_of_the_request(world, hops):
    client = world.connect()
    answer = client.ask(get(b"/", *hops, b"Cookie: secret", method=b"TRACE"))
    problem(answer, 405)
    assert b"secret" not in answer.wire
    assert b"TRACE" not in answer[b"allow"]
    assert world.is_silent()
    assert client.goes_on()


def test_H7_allow_challenges_and_credentials_pass_as_they_are(world):
    client, got = world.ask(get(b"/", b"Authorization: Basic  eDp5"))
    assert got[b"authorization"] == b"Basic  eDp5"
    got.answer(401, b'WWW-Authenticate: Basic realm="x"', b"WWW-Authenticate: Digest", b"Allow: GET,  BREW")
    answer = client.answer()
    assert answer.status == 401
    assert answer.all(b"www-authenticate") == [b'Basic realm="x"', b"Digest"]
    assert answer[b"allow"] == b"GET,  BREW"


def test_H7_a_401_of_the_gateway_s_own_has_a_challenge(world):
    world.serve(Route(path="/", service="app", auth="required"))
    client = world.connect()
    answer = client.ask(get())
    problem(answer, 401)
    assert answer[b"www-authenticate"].startswith(b"Bearer")
    assert world.is_silent()
    assert client.goes_on()


def test_H8_no_transform_is_kept_and_nothing_is_transformed(world):
    client, got = world.ask(get(b"/", b"Accept-Encoding: gzip, br", b"Cache-Control: no-transform"))
    assert got[b"accept-encoding"] == b"gzip, br"
    assert got[b"cache-control"] == b"no-transform"
    got.answer(
        200, b"Content-Type: text/plain", b"Cache-Control: no-transform", b'ETag: "x"', body=b"a" * 9000
    )
    answer = client.answer()
    assert answer.body == b"a" * 9000
    assert answer[b"etag"] == b'"x"'
    assert answer[b"cache-control"] == b"no-transform"
    assert b"content-encoding" not in answer


def test_H9_repeated_fields_and_their_order_are_kept(world):
    sent = [b"X-A: 1", b"X-B: 2", b"X-A: 3", b"Cookie: a=1", b"X-A: 1, 2", b"X-B:"]
    client, got = world.ask(get(b"/", *sent))
    expected = [
        (b"x-a", b"1"),
        (b"x-b", b"2"),
        (b"x-a", b"3"),
        (b"cookie", b"a=1"),
        (b"x-a", b"1, 2"),
        (b"x-b", b""),
    ]
    assert [pair for pair in got.fields if pair in expected] == expected
    got.answer(200, b"Set-Cookie: a=1, b", b"X-A: 1", b"Set-Cookie: c=2", b"X-A: 2", b"Set-Cookie: a=1, b")
    answer = client.answer()
    kept = [pair for pair in answer.fields if pair[0] in {b"set-cookie", b"x-a"}]
    assert kept == [
        (b"set-cookie", b"a=1, b"),
        (b"x-a", b"1"),
        (b"set-cookie", b"c=2"),
        (b"x-a", b"2"),
        (b"set-cookie", b"a=1, b"),
    ]


def test_H9_bytes_beyond_ascii_pass_as_they_are(world):
    client, got = world.ask(
        get(b"/", b"X-A: \xe4\xff\x80", b"X-B: \xc3\xa4", b"X-C: \xa0x\xa0", b"X-D: \x85")
    )
    assert [got[name] for name in (b"x-a", b"x-b", b"x-c", b"x-d")] == [
        b"\xe4\xff\x80", b"\xc3\xa4", b"\xa0x\xa0", b"\x85"
    ]  # fmt: skip
    got.answer(200, b"X-A: \xe4\xff\x80", b"X-C: \xa0x\xa0")
    answer = client.answer()
    assert answer[b"x-a"] == b"\xe4\xff\x80"
    assert answer[b"x-c"] == b"\xa0x\xa0"


@pytest.mark.parametrize(
    "name",
    [
        b"X_Forwarded_For",
        b"X-Forwarded_For",
        b"X_Request_ID",
        b"X_User_Id",
        b"Transfer_Encoding",
        b"Proxy_Connection",
    ],
)
def test_H10_an_underscore_shadows_no_field_of_the_gateway_s_own(world, name):
    _, got = world.ask(get(b"/", name + b": 6.6.6.6", b"X_Other: 1"))
    assert name.lower() not in got
    assert b"6.6.6.6" not in got.raw
    assert got[b"x_other"] == b"1"


def test_H10_content_length_with_an_underscore_is_not_forwarded_and_means_nothing(world):
    client, got = world.ask(post(b"/", b"hello", b"Content_Length: 100"))
    assert b"content_length" not in got
    assert got.body() == b"hello"
    got.answer()
    assert client.answer().status == 200
