"""Reference 2.5: methods, status codes, bodies."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import pytest
from rig.client import Sending, problem
from rig.written import answered, chunked, get, in_chunks, post

from micro.spec.gateway import Cors, Route
from micro.spec.terms import Rate

MEGABYTE = 1 << 20
LEFT = 12.5
"""Seconds after which a client that closed its half, which says no more than that, is taken to have left."""


def test_B1_head_has_the_fields_of_get_and_no_body(world):
    client, got = world.ask(get(method=b"HEAD"))
    assert got.method == b"HEAD"
    got.send(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n')
    answer = client.answer(method=b"HEAD")
    assert (answer[b"content-length"], answer[b"etag"]) == (b"5", b'"x"')
    assert world.again(client, got.line)


def test_B1_head_of_a_body_in_chunks_has_no_body_either(world):
    client, got = world.ask(get(method=b"HEAD"))
    got.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = client.answer(method=b"HEAD")
    assert b"content-length" not in answer
    assert world.again(client, got.line)


def test_B1_head_of_a_body_that_the_connection_ends_has_no_body_either(world):
    client, got = world.ask(get(method=b"HEAD"))
    got.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    got.line.close()
    assert client.answer(method=b"HEAD").status == 200
    assert client.goes_on()


def test_B1_a_refused_head_has_no_body(world):
    client = world.connect()
    answer = client.ask(get(b"/%zz", method=b"HEAD"), method=b"HEAD")
    assert answer.status == 400
    assert int(answer[b"content-length"]) > 0
    assert client.goes_on()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_B1_204_and_304_have_no_body(world, status, method):
    client, got = world.ask(get(method=method))
    got.send(b'HTTP/1.1 %s\r\nETag: "x"\r\n\r\n' % status)
    answer = client.answer(method=method)
    assert answer.status == int(status[:3])
    assert answer[b"etag"] == b'"x"'
    assert {b"content-length", b"transfer-encoding"}.isdisjoint(answer.names)
    assert world.again(client, got.line)


def test_B1_a_304_may_tell_how_long_the_body_would_be(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
    answer = client.answer()
    assert answer.all(b"content-length") in ([], [b"5"])
    assert world.again(client, got.line)


@pytest.mark.parametrize("field", [b"Content-Length: 0", b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_B1_a_204_never_tells_a_length(world, field):
    """RFC 9110 section 8.6: it has no body, whatever the instance says; RFC 9112 section 6.3."""
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 204 No Content\r\n%s\r\n\r\n" % field)
    answer = client.answer()
    assert answer.status == 204
    assert {b"content-length", b"transfer-encoding"}.isdisjoint(answer.names)
    assert world.again(client)


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize(
    "head", [b"204 No Content\r\n", b"304 Not Modified\r\n", b"200 OK\r\nContent-Length: 0\r\n"]
)
def test_B1_what_follows_an_answer_without_a_body_is_given_to_nobody(world, head):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 " + head + b"\r\n" + answered(b"poison"))
    assert client.answer().body == b""
    assert world.again(client)
    assert got.gone()


@pytest.mark.needs("bytes of an answer")
def test_B1_a_body_after_head_is_given_to_nobody(world):
    client, got = world.ask(get(method=b"HEAD"))
    got.send(answered(b"poison"))
    assert client.answer(method=b"HEAD")[b"content-length"] == b"6"
    assert world.again(client)
    assert got.gone()


@pytest.mark.needs("interim answers")
def test_B1_interim_answers_are_passed_on_in_order(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
    early = client.head()
    assert (early.status, early[b"link"]) == (103, b"</a>; rel=preload")
    got.send(b"HTTP/1.1 102 Processing\r\n\r\n" + answered(b"hello"))
    answer = client.answer()
    assert [each.status for each in answer.interim] == [102]
    assert answer.body == b"hello"
    assert world.again(client, got.line)


def test_B1_an_interim_answer_is_not_taken_for_the_final_one(world):
    client, got = world.ask(get())
    got.send(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + answered(b"hello")
    )
    answer = client.answer()
    assert (answer.status, answer.body) == (200, b"hello")
    assert world.again(client, got.line)


@pytest.mark.needs("bytes of an answer")
def test_B1_interim_answers_are_not_sent_to_http_1_0(world):
    client, got = world.ask(get(version=b"HTTP/1.0"))
    got.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answered(b"hello"))
    answer = client.answer()
    assert answer.interim == []
    assert answer.body == b"hello"


@pytest.mark.needs("bytes of an answer")
def test_B1_interim_answers_without_end_are_no_answer(world):
    client, got = world.ask(get())
    for _ in range(200):
        got.line.send_some(b"HTTP/1.1 103 Early Hints\r\nX-A: " + b"a" * 1000 + b"\r\n\r\n")
        world.settle()
    world.advance(16)
    while (answer := client.head()).status < 200:
        pass
    assert answer.status in {502, 504}


EXPECT = b"Expect: 100-continue"


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
def test_B2_a_client_that_waits_is_asked_for_its_body(world, value):
    """By the gateway or by the instance, as long as neither waits for the other."""
    client, got = world.ask_then_send(post(b"/", b"", b"Expect: " + value, length=5), b"hello")
    got.answer()
    answer = client.answer()
    assert (answer.status, answer.interim) == (200, [])
    assert world.again(client, got.line)


def test_B2_a_client_that_waits_may_get_its_answer_without_sending_the_body(world):
    client = world.connect()
    client.send(post(b"/", b"", EXPECT, length=5))
    got = world.origin.request()
    got.answer(403, body=b"no")
    answer = client.answer()
    assert (answer.status, answer.body) == (403, b"no")
    if answer.all(b"connection") == [b"close"]:
        assert client.ends()
    else:
        client.send(b"hello")
        assert client.goes_on()
    assert world.again(world.connect())


def test_B2_a_client_that_does_not_wait_after_all_is_served(world):
    client, got = world.ask(post(b"/", b"hello", EXPECT))
    world.advance(1.5)  # for who waits for the 100 of an instance that has none
    assert got.body() == b"hello"
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


def test_B2_http_1_0_is_sent_no_100(world):
    client, got = world.ask(post(b"/", b"hello", EXPECT, version=b"HTTP/1.0"))
    assert got.body() == b"hello"
    got.answer()
    assert client.answer().interim == []


REFUSED = {
    "413": ({"max_body": 4}, 413),
    "401": ({}, 401),
    "429": ({"rate_limit": Rate(1, 60.0)}, 429),
    "404": ({}, 404),
}


@pytest.mark.parametrize(("spec", "status"), REFUSED.values(), ids=REFUSED)
def test_B2_a_refusal_comes_in_place_of_100(world, spec, status):
    route = Route(
        path="/x" if status == 404 else "/", service="app", auth="required" if status == 401 else "none"
    )
    world.serve(route, **spec)
    client = world.connect()
    if status == 429:
        client.send(get())
        world.origin.request().answer()
        client.answer()
    answer = client.ask(post(b"/", b"", EXPECT, length=5))
    problem(answer, status)
    assert answer.interim == []
    assert world.is_silent()


def test_B2_another_expectation_is_417_or_passed_over(world):
    client = world.connect()
    client.send(post(b"/", b"hello", b"Expect: a-miracle"))
    world.settle()
    if world.origin.silent():
        problem(client.answer(), 417)
    else:
        got = world.origin.request()
        assert got.body() == b"hello"
        got.answer()
        assert client.answer().status == 200


@pytest.mark.needs("tries")
@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"LOCK"])
def test_B3_what_is_not_idempotent_is_never_sent_twice(world, method):
    client, got = world.ask(get())
    got.answer()
    client.answer()
    client.send(post(b"/", b"once", method=method))
    second = got.line.request()
    assert second.body() == b"once"
    got.line.reset()
    problem(client.answer(), 502, "connection_terminated")
    assert world.is_silent()


def test_B4_every_piece_of_an_answer_is_passed_on_at_once(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = client.head()
    pieces = client.body(answer)
    for number in range(5):
        event = b"data: %d\n\n" % number
        got.send(b"%x\r\n%s\r\n" % (len(event), event))
        assert next(pieces) == event
    got.send(b"0\r\n\r\n")
    assert list(pieces) == []
    assert world.again(client, got.line)


def test_B4_the_head_of_an_event_stream_does_not_wait_for_its_first_event(world):
    client, got = world.ask(get(b"/", b"Accept: text/event-stream"))
    got.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    assert client.head()[b"content-type"] == b"text/event-stream"
    got.send(b"data: 1\n\n")
    assert client.source.until(b"data: 1\n\n") is not None


def test_B4_every_piece_of_a_request_is_passed_on_at_once(world):
    client, got = world.ask(chunked(b"/", b"one", end=b""))
    pieces = got.pieces()
    assert next(pieces) == b"one"
    for piece in (b"two", b"three"):
        client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        assert next(pieces) == piece
    client.send(b"0\r\n\r\n")
    assert list(pieces) == []
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


def test_B4_a_body_with_a_length_is_passed_on_as_it_comes_and_keeps_its_length(world):
    client, got = world.ask(post(b"/", b"he", length=5))
    assert got[b"content-length"] == b"5"
    assert got.line.source.take(2) == b"he"
    client.send(b"llo")
    assert got.line.source.take(3) == b"llo"
    got.answer()
    assert client.answer().status == 200


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_B5_a_client_that_leaves_before_the_answer_is_noticed_by_the_origin(world, leave):
    client, got = world.ask(get())
    getattr(client, leave)()
    world.advance(LEFT)
    assert got.gone()
    world.until(lambda: world.log)
    assert world.log[-1].status == 499
    assert world.again(world.connect())


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_B5_a_client_that_leaves_in_the_middle_of_an_answer_is_noticed_by_the_origin(world, leave):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    client.head()
    getattr(client, leave)()
    world.advance(LEFT)
    assert got.gone()
    assert world.again(world.connect())


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_B5_a_client_that_leaves_in_the_middle_of_its_request_is_noticed_by_the_origin(world, leave):
    client, got = world.ask(post(b"/", b"he", length=5))
    getattr(client, leave)()
    world.advance(LEFT)
    assert got.breaks_off()
    assert world.again(world.connect())


def test_B5_a_client_that_closes_its_half_after_the_request_gets_its_answer(world):
    client, got = world.ask(get())
    client.half_close()
    world.settle()
    got.answer(body=b"hello")
    assert client.answer().body == b"hello"
    assert client.ends()


@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
def test_B6_what_is_compressed_passes_as_it_is(world, encoding):
    body = bytes(range(256)) * 20
    client, got = world.ask(get(b"/", b"Accept-Encoding: gzip, br"))
    assert got[b"accept-encoding"] == b"gzip, br"
    got.answer(200, b"Content-Encoding: " + encoding, b'ETag: "x"', b"Vary: Accept-Encoding", body=body)
    answer = client.answer()
    assert answer.body == body
    assert answer[b"content-encoding"] == encoding
    assert answer[b"etag"] == b'"x"'
    assert b"Accept-Encoding" in answer.all(b"vary")
    assert answer[b"content-length"] == b"%d" % len(body)


def test_B6_ranges_pass_as_they_are(world):
    client, got = world.ask(get(b"/", b"Range: bytes=0-1", b'If-Range: "x"'))
    assert got[b"range"] == b"bytes=0-1"
    assert got[b"if-range"] == b'"x"'
    got.answer(206, b"Content-Range: bytes 0-1/5", body=b"he")
    answer = client.answer()
    assert (answer.status, answer[b"content-range"], answer.body) == (206, b"bytes 0-1/5", b"he")


def test_B7_429_explains_says_when_to_come_again_and_is_never_stored(world):
    world.serve(rate_limit=Rate(1, 60.0))
    client, got = world.ask(get())
    got.answer()
    client.answer()
    answer = client.ask(get())
    assert problem(answer, 429)["detail"]
    assert 1 <= int(answer[b"retry-after"]) <= 60
    assert answer[b"cache-control"] == b"no-store"
    assert world.is_silent()
    assert client.goes_on()


def test_B7_431_is_never_stored(world):
    answer = world.connect().ask(get(b"/", *[b"X-%d: %s" % (n, b"a" * 1000) for n in range(40)]))
    assert problem(answer, 431)["detail"]
    assert answer[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"QUERY"]
)
def test_methods_pass_as_they_are(world, method):
    client, got = world.ask(post(b"/", b"hello", method=method))
    assert (got.method, got.body()) == (method, b"hello")
    got.answer(body=b"x")
    assert client.answer().body == b"x"
    assert world.again(client, got.line)


@pytest.mark.parametrize(
    "status", [200, 201, 202, 203, 205, 207, 226, 300, 301, 308, 400, 404, 418, 451, 500, 503, 599]
)
def test_status_codes_pass_as_they_are(world, status):
    world.own_faults = status == 500
    client, got = world.ask(get())
    got.answer(status, b"Location: /x", body=b"" if status == 205 else b"hello")
    answer = client.answer()
    assert answer.status == status
    assert answer[b"location"] == b"/x"
    assert b"proxy-status" not in answer
    assert world.again(client, got.line)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3 * MEGABYTE])
def test_bodies_of_any_size_pass_both_ways(world, size):
    world.serve(max_body=4 * MEGABYTE)
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    client = world.connect()
    sending = Sending(client, post(b"/", body))
    got = world.origin.request()
    assert got.body() == body
    sending.join()
    sending = Sending(got, answered(body))
    assert client.answer().body == body
    sending.join()
    assert world.again(client, got.line)


def test_bodies_in_chunks_pass_both_ways(world):
    pieces = [b"a", b"b" * 1000, b"c" * 70_000, b"\r\n", b"0\r\n\r\n"]
    client = world.connect()
    sending = Sending(client, chunked(b"/", *pieces))
    got = world.origin.request()
    assert got.body() == b"".join(pieces)
    sending.join()
    sending = Sending(got, in_chunks(*pieces))
    assert client.answer().body == b"".join(pieces)
    sending.join()
    assert world.again(client, got.line)


def test_requests_that_wait_behind_another_are_answered_in_their_order(world):
    client = world.connect()
    client.send(
        post(b"/1", b"one") + get(b"/2") + chunked(b"/3", b"three") + get(b"/4", method=b"HEAD") + get(b"/5")
    )
    for number, body in enumerate([b"one", b"", b"three", b"", b""], 1):
        got = world.origin.request()
        assert (got.target, got.body()) == (b"/%d" % number, body)
        assert world.is_silent(), "one at a time"
        got.answer(200, body=b"" if number == 4 else b"%d" % number)
    answers = [client.answer(method=b"HEAD" if number == 4 else b"GET") for number in range(1, 6)]
    assert [answer.body for answer in answers] == [b"1", b"2", b"3", b"", b"5"]
    assert client.goes_on()


def test_a_refused_request_among_others_is_answered_in_its_place(world):
    client = world.connect()
    client.send(get(b"/1") + get(b"/%zz") + get(b"/3"))
    world.origin.request().answer(body=b"1")
    assert client.answer().body == b"1"
    problem(client.answer(), 400)
    world.origin.request().answer(body=b"3")
    assert client.answer().body == b"3"


def test_what_is_no_request_behind_a_good_one_does_not_swallow_its_answer(world):
    client = world.connect()
    client.send(get(b"/1") + b"GARBAGE\r\n\r\n")
    world.origin.request().answer(body=b"1")
    assert client.answer().body == b"1"
    problem(client.answer(), 400)
    assert client.ends()
    assert world.is_silent()


def test_nothing_behind_close_is_a_request(world):
    client = world.connect()
    client.send(get(b"/1", b"Connection: close") + get(b"/2"))
    world.origin.request().answer(body=b"1")
    assert client.answer().body == b"1"
    assert client.ends()
    assert world.is_silent()


def test_cors_covers_the_gateway_s_own_refusals(world):
    world.serve(cors=Cors(origins=("https://shop.example",)), max_body=4)
    client = world.connect()
    answer = client.ask(post(b"/", b"hello", b"Origin: https://shop.example"))
    problem(answer, 413)
    assert answer[b"access-control-allow-origin"] == b"https://shop.example"
