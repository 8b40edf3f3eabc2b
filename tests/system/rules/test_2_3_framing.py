"""Reference 2.3: where a message ends, and that two readers can't disagree about it."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import pytest
from rig.client import problem
from rig.written import HOST, answered, chunked, get, in_chunks, post

from micro.spec.upstream import UpstreamSpec

LEFT = 1.5
"""Seconds within which a client that is gone is noticed by whoever looks."""
SMUGGLED = get(b"/smuggled")


def refused(world, data, *statuses):
    """Send what must not be understood: it is refused, the connection ends, and the origin hears of nothing.

    What ends no line as HTTP does is a head that never ends: refused, too, when its time is over.
    """
    client = world.connect()
    client.send(data)
    world.settle()
    if client.nothing():
        world.advance(12)
        statuses = (408,)
    answer = client.answer()
    assert answer.status in statuses
    problem(answer, answer.status)
    assert answer[b"connection"] == b"close"
    assert client.ends()
    assert world.is_silent()


BOTH = {
    "length first": (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "chunked first": (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "length 0": (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    "in capitals": (b"CONTENT-LENGTH: 5", b"TRANSFER-ENCODING: CHUNKED"),
}


@pytest.mark.parametrize("fields", BOTH.values(), ids=BOTH)
def test_S1_content_length_beside_transfer_encoding_is_refused(world, fields):
    refused(world, get(b"/", *fields, method=b"POST") + b"0\r\n\r\n" + SMUGGLED, 400)


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("fields", BOTH.values(), ids=BOTH)
def test_S1_an_answer_with_both_is_never_passed_on_with_both(world, fields):
    """Refused, or read as chunks and its connection closed (RFC 9112 section 6.3)."""
    client, got = world.ask(get())
    got.send(b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"", b"5\r\nhello\r\n0\r\n\r\n"]))
    answer = client.answer()
    if answer.status == 200:
        assert answer.body == b"hello"
        assert answer.length in {None, 5}
    else:
        problem(answer, 502, "http_protocol_error")
    assert got.gone()
    assert world.again(client)


@pytest.mark.parametrize(
    "coding", [b"gzip", b"identity", b"xchunked", b"chunked;q=1", b"chunked, gzip", b"gzip, chunked"]
)
def test_S2_a_transfer_coding_but_chunked_is_refused(world, coding):
    refused(
        world, get(b"/", b"Transfer-Encoding: " + coding, method=b"POST") + b"0\r\n\r\n" + SMUGGLED, 400, 501
    )


def test_S2_a_transfer_coding_in_http_1_0_is_faulty(world):
    refused(
        world,
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST", version=b"HTTP/1.0") + b"0\r\n\r\n",
        400,
    )


def test_S2_a_client_of_http_1_0_is_sent_no_transfer_coding(world):
    client, got = world.ask(get(version=b"HTTP/1.0"))
    got.send(in_chunks(b"he", b"llo"))
    answer = client.answer()
    assert b"transfer-encoding" not in answer
    assert answer.body == b"hello"
    assert client.ends()
    assert world.again(world.connect(), got.line)


def test_S2_a_client_of_http_1_0_that_wants_to_stay_is_told_the_length(world):
    client, got = world.ask(get(b"/", b"Connection: keep-alive", version=b"HTTP/1.0"))
    got.answer(body=b"hello")
    answer = client.answer()
    assert answer.body == b"hello"
    assert answer.all(b"connection") in ([b"keep-alive"], [b"close"])
    if answer[b"connection"] == b"keep-alive":
        assert world.again(client, got.line)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED"])
def test_S2_chunked_is_taken_in_any_case(world, coding):
    client, got = world.ask(
        get(b"/", b"Transfer-Encoding: " + coding, method=b"POST") + b"5\r\nhello\r\n0\r\n\r\n"
    )
    assert got.body() == b"hello"
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize(
    "coding", [b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"chunked, gzip"]
)
def test_S2_an_answer_in_another_transfer_coding_is_502(world, coding):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % coding)
    problem(client.answer(), 502, "http_response_transfer_coding")
    assert got.gone()
    assert world.again(client)


LENGTHS = {
    "empty": b"",
    "a sign": b"+5",
    "negative": b"-5",
    "an underscore": b"5_0",
    "hexadecimal": b"0x5",
    "a fraction": b"5.0",
    "an exponent": b"5e0",
    "a space in it": b"5 0",
    "a letter": b"5a",
    "other digits": "\u0665".encode(),
    "quoted": b'"5"',
    "beyond 64 bits": b"18446744073709551621",
    "very long": b"0" * 200 + b"5",
    "two that differ": b"5, 6",
    "a form feed": b"\x0c5",
}


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_S3_S4_a_content_length_is_one_number_in_digits(world, length):
    data = get(b"/", b"Content-Length: " + length, method=b"POST") + b"hello" + SMUGGLED
    client = world.connect()
    answer = client.ask(data)
    problem(answer, answer.status)
    assert answer.status in {400, 413}
    assert client.ends()
    assert world.is_silent()


def test_S3_two_lengths_that_differ_are_refused(world):
    refused(
        world,
        get(b"/", b"Content-Length: 5", b"Content-Length: 6", method=b"POST") + b"hello" + SMUGGLED,
        400,
    )


@pytest.mark.parametrize("fields", [(b"Content-Length: 5", b"Content-Length: 5"), (b"Content-Length: 5, 5",)])
def test_S3_one_length_said_twice_is_refused_or_sent_on_once(world, fields):
    client = world.connect()
    client.send(get(b"/", *fields, method=b"POST") + b"hello" + SMUGGLED)
    answer = client.answer()
    problem(answer, 400)
    assert client.ends()
    assert world.is_silent()


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_S3_S4_an_answer_s_length_is_one_number_or_it_is_502(world, length):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\nhello" % length)
    problem(client.answer(), 502, "http_protocol_error")
    assert got.gone()
    assert world.again(client)


@pytest.mark.needs("bytes of an answer")
def test_S3_an_answer_with_two_lengths_that_differ_is_502(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    problem(client.answer(), 502, "http_protocol_error")
    assert got.gone()
    assert world.again(client)


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("fields", [b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: 5, 5"])
def test_S3_an_answer_s_length_said_twice_is_passed_on_once_or_502(world, fields):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\n%s\r\n\r\nhello" % fields)
    answer = client.answer()
    if answer.status == 200:
        assert answer[b"content-length"] == b"5"
        assert answer.body == b"hello"
        assert world.again(client)
    else:
        problem(answer, 502, "http_protocol_error")
        assert got.gone()


@pytest.mark.parametrize("gap", [b" ", b"\t", b"  "])
def test_S5_a_space_before_the_colon_is_refused(world, gap):
    refused(world, get(b"/", b"X-A%s: 1" % gap), 400)
    refused(world, get(b"/", b"Content-Length%s: 5" % gap, method=b"POST") + b"hello", 400)


@pytest.mark.needs("bytes of an answer")
def test_S5_a_space_before_the_colon_of_an_answer_is_taken_out_or_it_is_502(world):
    client, got = world.ask(get())
    got.send(answered(b"hello", b"X-A : 1"))
    answer = client.answer()
    if answer.status == 200:
        assert answer[b"x-a"] == b"1"
    else:
        problem(answer, 502, "http_protocol_error")
        assert got.gone()


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\n "])
def test_S5_a_folded_line_is_refused(world, fold):
    refused(world, get(b"/", b"X-A: 1" + fold + b"2"), 400)
    refused(world, get(b"/", b"Transfer-Encoding:" + fold + b"chunked", method=b"POST") + b"0\r\n\r\n", 400)


@pytest.mark.needs("bytes of an answer")
def test_S5_a_folded_line_of_an_answer_is_502_or_one_line(world):
    client, got = world.ask(get())
    got.send(answered(b"hello", b"X-A: 1\r\n 2"))
    answer = client.answer()
    if answer.status == 200:
        assert answer[b"x-a"].split() == [b"1", b"2"]
    else:
        problem(answer, 502, "http_protocol_error")
        assert got.gone()


WRONG_VALUES = {
    "CR": b"X-A: 1\r2",
    "CR before the end": b"X-A: 1\r",
    "LF": b"X-A: 1\nX-B: 2",
    "NUL": b"X-A: 1\x002",
    "DEL": b"X-A: 1\x7f2",
    "a bell": b"X-A: \x07",
    "an escape": b"X-A: 1\x1b2",
}


@pytest.mark.parametrize("field", WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_S6_control_characters_in_a_field_are_refused(world, field):
    refused(world, get(b"/", field, b"X-C: 3"), 400)


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("field", WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_S6_control_characters_in_a_field_of_an_answer_are_502(world, field):
    client, got = world.ask(get())
    got.send(answered(b"hello", field))
    problem(client.answer(), 502, "http_protocol_error")
    assert got.gone()
    assert world.again(client)


def test_S6_lines_that_end_in_a_line_feed_alone_are_refused(world):
    refused(world, b"GET / HTTP/1.1\nHost: localhost\n\n", 400)
    refused(world, b"GET / HTTP/1.1\r\nHost: localhost\nX-A: 1\r\n\r\n", 400)
    refused(world, b"GET / HTTP/1.1\r\nHost: localhost\r\n\nGET /smuggled HTTP/1.1\r\n\r\n", 400)


SIZES = {
    "none": b"",
    "no digit": b"g",
    "negative": b"-5",
    "a sign": b"+5",
    "a prefix": b"0x5",
    "an underscore": b"0_5",
    "a space before": b" 5",
    "a space behind": b"5 ",
    "a tab behind": b"5\t",
    "LF in place of CR LF": b"5\n",
    "CR in it": b"5\r5",
    "NUL": b"5\x00",
    "beyond 64 bits": b"f" * 17,
    "an extension without a name": b"5;\n",
    "other digits": "\u0665".encode(),
    "NUL in an extension": b"5;a=\x00",
    "CR in an extension": b"5;a\rb",
    "LF in an extension": b"5;a\nb",
}
SOUND = {
    "a sound extension": b"5;a=b",
    "a quoted extension": b'5;a="b;\t c"',
    "capitals": b"05",
    "zeros": b"000005",
}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_S7_a_chunk_size_is_some_hexadecimal_digits(world, size):
    """What was sent on before it is never ended well."""
    client = world.connect()
    client.send(
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + size + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED
    )
    problem(client.answer(), 400)
    assert client.ends()
    assert world.got_nothing_whole()


@pytest.mark.parametrize("size", SOUND.values(), ids=SOUND)
def test_S7_chunk_extensions_are_ignored_and_go_no_further(world, size):
    client, got = world.ask(
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + size + b"\r\nhello\r\n0\r\n\r\n"
    )
    assert got.body() == b"hello"
    assert b";" not in got.line.source.taken.split(b"\r\n\r\n", 1)[1]
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


def test_S7_the_digits_of_a_size_are_bounded(world):
    client = world.connect()
    client.send(
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"0" * 17 + b"5\r\nhello\r\n0\r\n\r\n"
    )
    problem(client.answer(), 400)
    assert client.ends()
    assert world.got_nothing_whole()


def test_S7_a_size_beyond_32_bits_is_not_cut_down_to_them(world):
    client, got = world.ask(
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"100000005\r\nhello\r\n0\r\n\r\n"
    )
    world.settle()
    client.reset()
    world.advance(LEFT)
    assert got.breaks_off()
    assert world.is_silent()


def test_S7_chunk_extensions_are_bounded(world):
    """Many bytes that are none of the body: a client could send them for ever (CVE-2023-39326)."""
    client = world.connect()
    client.send(
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"1;" + b"a" * 70_000 + b"\r\nh\r\n"
    )
    problem(client.answer(), 400)
    assert client.ends()


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_S7_an_answer_with_a_chunk_size_that_is_none_is_502_or_broken_off(world, size):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n")
    answer = client.head()
    if answer.status == 200:
        assert client.breaks_off(answer)
        assert client.part == b""
    else:
        assert answer.status == 502
        assert answer[b"proxy-status"] == b"micro; error=http_protocol_error"
    assert got.gone()
    assert world.again(world.connect())


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("size", SOUND.values(), ids=SOUND)
def test_S7_chunk_extensions_of_an_answer_go_no_further(world, size):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n")
    assert client.answer().body == b"hello"
    assert world.again(client, got.line)


def test_S7_a_chunk_longer_than_it_says_is_refused(world):
    client = world.connect()
    client.send(
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nhello!\r\n0\r\n\r\n" + SMUGGLED
    )
    problem(client.answer(), 400)
    assert client.ends()
    assert world.got_nothing_whole()


TRAILERS = b"0\r\nAuthorization: Bearer x\r\nHost: evil\r\nContent-Length: 100\r\nX-A: 1\r\n\r\n"


def test_S8_trailers_of_a_request_are_dropped(world):
    client, got = world.ask(chunked(b"/", b"hello", fields=[b"Trailer: X-A"], end=TRAILERS))
    assert {b"authorization", b"x-a", b"trailer"}.isdisjoint(got.names)
    assert got.body() == b"hello"
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


@pytest.mark.needs("bytes of an answer")
def test_S8_trailers_of_an_answer_are_dropped(world):
    client, got = world.ask(get())
    got.send(in_chunks(b"hello", fields=[b"Trailer: X-A"], end=b"0\r\nSet-Cookie: a=1\r\nX-A: 1\r\n\r\n"))
    answer = client.answer()
    assert answer.body == b"hello"
    assert {b"set-cookie", b"x-a", b"trailer"}.isdisjoint(answer.names)
    assert world.again(client, got.line)


@pytest.mark.parametrize("trailer", [b"X-A : 1", b"X-A", b": 1", b" X-A: 1", b"X-A: 1\x00", b"X-A: 1\n"])
def test_S8_malformed_trailers_are_refused(world, trailer):
    client = world.connect()
    client.send(chunked(b"/", b"hello", end=b"0\r\n%s\r\n\r\n" % trailer) + SMUGGLED)
    problem(client.answer(), 400)
    assert client.ends()
    assert world.got_nothing_whole()


def test_S8_trailers_are_bounded(world):
    client = world.connect()
    client.send(chunked(b"/", b"hello", end=b"0\r\n" + b"X-A: 1\r\n" * 20_000 + b"\r\n"))
    answer = client.answer()
    problem(answer, answer.status)
    assert answer.status in {400, 431}
    assert client.ends()


def test_S9_a_request_line_of_8000_octets_passes(world):
    target = b"/" + b"a" * 8000
    client, got = world.ask(get(target))
    assert got.target == target
    got.answer()
    assert client.answer().status == 200
    assert world.again(client, got.line)


def test_S9_a_longer_request_line_than_is_taken_is_414(world):
    client = world.connect()
    answer = client.ask(get(b"/" + b"a" * 40_000))
    problem(answer, 414)
    assert client.ends()
    assert world.is_silent()


def test_S9_a_longer_head_than_is_taken_is_431(world):
    client = world.connect()
    problem(client.ask(get(b"/", *[b"X-%d: %s" % (number, b"a" * 1000) for number in range(40)])), 431)
    assert client.ends()
    assert world.is_silent()


def test_S9_the_limit_of_the_head_is_a_setting(world):
    world.serve(max_head=2000)
    client, got = world.ask(get(b"/", b"X-A: " + b"a" * 1700))
    got.answer()
    assert client.answer().status == 200
    problem(client.ask(get(b"/", b"X-A: " + b"a" * 2000)), 431)
    assert client.ends()


def test_S9_a_head_that_grows_beyond_the_limit_is_refused_before_it_ends(world):
    client = world.connect()
    client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" + b"X-A: 1\r\n" * 10_000)
    problem(client.answer(), 431)
    assert client.ends()
    assert world.is_silent()


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1 x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.7\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\n\r\n\r\nGET\r\n\r\n",
        b"()/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_S9_what_is_no_request_is_400_and_the_connection_ends(world, data):
    refused(world, data, 400, 505)


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"])
def test_S9_empty_lines_before_a_request_mean_nothing(world, before):
    client = world.connect()
    client.send(before + get())
    world.origin.request().answer()
    assert client.answer().status == 200
    assert client.goes_on()


def test_S10_a_body_that_nobody_read_is_never_taken_for_a_request(world):
    """The origin answers at once; what then comes of the body looks like a request, and is none."""
    client, got = world.ask(post(b"/", b"", length=len(SMUGGLED) * 3))
    got.answer(403, body=b"no")
    answer = client.answer()
    assert answer.status == 403
    client.send(SMUGGLED * 3)
    if answer.all(b"connection") == [b"close"]:
        assert client.ends()
    else:
        client.send(get(b"/after"))
        assert world.origin.request().answer(body=b"x").target == b"/after"
        assert client.answer().body == b"x"
    world.settle()
    assert all(line.source.rest == b"" for line in world.origin.lines if line is not got.line)


def test_S10_a_refusal_before_the_body_leaves_the_connection_in_step(world):
    client = world.connect()
    client.send(post(b"/", b"", length=2 << 20))
    problem(answer := client.answer(), 413)
    if answer.all(b"connection") == [b"close"]:
        assert client.ends()
    else:
        client.send(SMUGGLED * ((2 << 20) // len(SMUGGLED)) + b"x" * ((2 << 20) % len(SMUGGLED)))
        assert client.goes_on()
    assert world.is_silent()


@pytest.mark.needs("connections")
def test_S10_a_connection_to_an_instance_with_half_a_request_on_it_is_not_used_again(world):
    client, got = world.ask(post(b"/", b"he", length=5))
    assert got.line.source.take(2) == b"he"
    got.answer(403, body=b"no")
    assert client.answer().status == 403
    client.close()
    assert world.again(world.connect())
    assert world.origin.lines[-1] is not got.line
    assert got.gone()


SHORT = {
    "a body shorter than its length": (b"Content-Length: 10\r\n\r\nhello", b"hello"),
    "no byte of a body": (b"Content-Length: 10\r\n\r\n", b""),
    "a chunk cut off": (b"Transfer-Encoding: chunked\r\n\r\na\r\nhello", b"hello"),
    "a chunk without its end": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello", b"hello"),
    "no last chunk": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"hello"),
    "half of the last chunk": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", b"hello"),
    "no chunk at all": (b"Transfer-Encoding: chunked\r\n\r\n", b""),
}


@pytest.mark.parametrize("leave", ["close", "reset", "half_close"])
@pytest.mark.parametrize(("data", "part"), SHORT.values(), ids=SHORT)
def test_S11_a_truncated_answer_breaks_the_client_s_off(world, data, part, leave):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\n" + data)
    if data.endswith(b"\r\n\r\n"):
        getattr(got.line, leave)()
        answer = client.answer_or_break()
        assert answer is None or answer.status == 502
    else:
        answer = client.head()
        getattr(got.line, leave)()
        assert client.breaks_off(answer)
        assert part.startswith(client.part)
    assert world.again(world.connect())


def test_S11_a_whole_answer_that_ends_with_the_connection_is_whole(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")
    got.line.close()
    answer = client.answer()
    assert answer.body == b"hello"
    assert answer.length is None
    assert client.goes_on()


def test_S11_a_request_that_breaks_off_is_never_ended_well(world):
    for data in (post(b"/", b"he", length=5), chunked(b"/", b"he", end=b"")):
        client, got = world.ask(data)
        assert got.line.source.rest in {b"", b"he", b"2\r\nhe\r\n"}
        client.close()
        assert got.breaks_off()
        assert world.again(world.connect())


@pytest.mark.needs("connections")
def test_S12_a_stale_connection_costs_a_request_that_may_be_sent_again_nothing(world):
    world.serve(upstream=UpstreamSpec())
    client, got = world.ask(get())
    got.answer()
    client.answer()
    client.send(get(b"/again"))
    got.line.request()
    got.line.close()
    world.advance(0.1)
    second = world.origin.request()
    assert second.target == b"/again"
    second.answer(body=b"again")
    assert client.answer().body == b"again"


@pytest.mark.needs("connections")
def test_S12_a_connection_that_the_instance_closed_while_idle_is_not_used(world):
    client, got = world.ask(get())
    got.answer()
    client.answer()
    got.line.close()
    world.settle()
    client.send(post(b"/", b"once"))
    second = world.origin.request()
    assert second.body() == b"once"
    second.answer()
    assert client.answer().status == 200
    assert second.line is not got.line
