"""JSON bodies: what is read, and what every kind of bad one gets."""

from __future__ import annotations

import json
import time
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect

from micro.web.body import MAX_BODY, MAX_DEPTH, JsonBody, depth_of, read_all
from micro.web.problems import Problem


class Form(Struct):
    """A body."""

    title: Annotated[str, Meta(min_length=1)]
    size: int = 0
    extra: dict[str, int] | None = None


FORM = JsonBody(Form)


def refusal(raw: bytes, reader=FORM) -> Problem:
    with pytest.raises(Problem) as caught:
        reader.decode(raw)
    return caught.value


def status_of(raw: bytes) -> int:
    try:
        FORM.decode(raw)
    except Problem as problem:
        return problem.status
    return 200


def pointers(problem: Problem) -> list[str]:
    return [fault["pointer"] for fault in problem.errors]


def scope(*headers: tuple[bytes, bytes]):
    return {"headers": list(headers)}


JSON = (b"content-type", b"application/json")


def receiver(*pieces: bytes, end=True):
    """An ASGI receive that gives pieces, then the end of the body or of the connection."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if end:
        messages[-1]["more_body"] = False
    else:
        messages.append({"type": "http.disconnect"})
    waiting = iter(messages)

    async def receive():
        return next(waiting)

    return receive


async def read(raw: bytes, *headers, reader=FORM):
    return await reader.read(scope(*(headers or (JSON,))), receiver(raw))


async def test_a_good_body_is_decoded():
    """Into the declared struct."""
    assert await read(b'{"title":"Milk","size":2}') == Form("Milk", 2)


async def test_a_body_in_pieces_is_put_together():
    """Wherever the cuts are, also inside a character."""
    raw = '{"title":"Käse"}'.encode()
    receive = receiver(raw[:12], raw[12:13], b"", raw[13:])
    assert await FORM.read(scope(JSON), receive) == Form("Käse")


async def test_a_cut_body_is_never_handled():
    """A disconnect is not the end of a body, even when what came so far is complete JSON."""
    with pytest.raises(ClientDisconnect):
        await FORM.read(scope(JSON), receiver(b'{"title":"Milk"}', end=False))


@pytest.mark.parametrize(
    "value",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b'Application/JSON;charset="UTF-8"',
        b"application/merge-patch+json",
        b"application/vnd.api.v1+json; charset=utf8",
        b"application/json;",
    ],
)
async def test_json_media_types_are_taken(value):
    """Also those with a JSON suffix (RFC 6839), and with the one charset there is."""
    assert await read(b'{"title":"a"}', (b"content-type", value)) == Form("a")


@pytest.mark.parametrize(
    "value",
    [
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"application/jsonp",
        b"application/json; charset=latin-1",
        b"application/json, text/plain",
        b"multipart/form-data; boundary=x",
        b"",
        b"json",
        b"application/json\xff",
    ],
)
async def test_other_media_types_are_415(value):
    """And the answer says what to send."""
    with pytest.raises(Problem) as caught:
        await read(b'{"title":"a"}', (b"content-type", value))
    assert caught.value.status == 415
    assert caught.value.headers["Accept"] == "application/json"


async def test_a_missing_media_type_is_415():
    """Nothing is guessed."""
    with pytest.raises(Problem) as caught:
        await FORM.read(scope((b"content-length", b"2")), receiver(b"{}"))
    assert caught.value.status == 415


async def test_a_content_coding_is_415():
    """RFC 9110 section 15.5.16; a bomb is never unpacked."""
    with pytest.raises(Problem) as caught:
        await read(b"\x1f\x8b", JSON, (b"content-encoding", b"gzip"))
    assert caught.value.status == 415
    assert caught.value.headers["Accept-Encoding"] == "identity"


async def test_the_identity_coding_is_taken():
    """It says that there is none."""
    assert await read(b'{"title":"a"}', JSON, (b"content-encoding", b"Identity")) == Form("a")


async def test_a_declared_size_above_the_limit_is_413_before_anything_is_read():
    """The body is never asked for."""

    async def receive():
        raise AssertionError("read")

    with pytest.raises(Problem) as caught:
        await FORM.read(scope(JSON, (b"content-length", str(MAX_BODY + 1).encode())), receive)
    assert caught.value.status == 413


@pytest.mark.parametrize("length", [b"9" * 30, b"99999999999999999999999"])
async def test_an_absurd_size_is_413(length):
    """Digits beyond 64 bits are no smaller for that."""
    with pytest.raises(Problem) as caught:
        await FORM.read(scope(JSON, (b"content-length", length)), receiver(b"{}"))
    assert caught.value.status == 413


async def test_a_body_that_grows_above_the_limit_is_413():
    """Without a declared size it is counted as it comes."""
    reader = JsonBody(Form, limit=10)
    with pytest.raises(Problem) as caught:
        await reader.read(scope(JSON, (b"transfer-encoding", b"chunked")), receiver(b"12345", b"678901"))
    assert caught.value.status == 413


async def test_a_body_of_just_the_limit_is_read():
    """The limit itself is allowed."""
    assert await read_all(receiver(b"12345", b"67890"), 10) == b"1234567890"


async def test_an_optional_body_may_be_absent():
    """Then there is none."""
    reader = JsonBody(Form, optional=True)
    assert await reader.read(scope(), receiver(b"")) is None
    assert await reader.read(scope(JSON, (b"content-length", b"0")), receiver(b"")) is None


async def test_an_optional_body_that_comes_is_checked():
    """Optional is not unchecked: media type and shape hold."""
    reader = JsonBody(Form, optional=True)
    assert await read(b'{"title":"a"}', reader=reader) == Form("a")
    with pytest.raises(Problem) as caught:
        await reader.read(scope((b"transfer-encoding", b"chunked")), receiver(b"{}"))
    assert caught.value.status == 415


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"title":"a"} x',
        b"{'title':'a'}",
        b'{"title":"a",}',
        b'{"size":NaN}',
        b'{"size":Infinity}',
        b'{"size":01}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"title":"\xed\xa0\x80"}',
        b'{"other":"\xff"}',
        b'{"title":"a\x00b"}',
        b'{"title":"\\x41"}',
        b'{"title":"a',
        b'{"title":"\\',
        b'{"title":"\\ud800',
        b'{"\\ud800":NaN}',
    ],
)
def test_what_is_not_json_is_400(raw):
    """By RFC 8259: UTF-8 without a mark, and nothing that some parsers let through."""
    assert refusal(raw).status == 400


def test_a_wrong_shape_with_bad_syntax_behind_it_is_400():
    """Malformed comes first, wherever it stands."""
    assert refusal(b'{"title":1,"size":').status == 400


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_up_to_64_is_taken(opening):
    """The limit itself is allowed."""
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * (MAX_DEPTH - 1) + b"1" + closing * (MAX_DEPTH - 1)
    assert FORM.decode(b'{"title":"a","unknown":' + deep + b"}") == Form("a")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("levels", [MAX_DEPTH, 1_000, 150_000])
def test_nesting_deeper_than_64_is_400(opening, levels):
    """However deep, without recursion, closed or not."""
    closing = b"]" if opening == b"[" else b"}"
    deep = b'{"title":"a","unknown":' + opening * levels + b"1" + closing * levels + b"}"
    assert "deeper than 64" in refusal(deep).detail
    assert refusal(deep[: len(deep) // 2]).status == 400


def test_brackets_in_strings_do_not_nest():
    """Escaped quotes included."""
    title = '[{"' * 200
    assert FORM.decode(json.dumps({"title": title}).encode()).title == title


@pytest.mark.parametrize(
    "raw",
    [
        b'"' + b'\\"' * 400_000,
        b'"\\' * 300_000,
        b"[]" * 400_000,
        b'["' * 300_000,
        b'{"a":"' + b"\\\\" * 400_000,
    ],
)
def test_finding_the_depth_takes_linear_time(raw):
    """No input of a megabyte buys more than a moment of the event loop."""
    started = time.process_time()
    depth_of(raw)
    assert time.process_time() - started < 10.0


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=30,
    )
)
def test_the_depth_is_the_one_that_a_parser_sees(value):
    """For any JSON value."""

    def depth(part) -> int:
        if isinstance(part, dict):
            return 1 + max(map(depth, part.values()), default=0)
        return 1 + max(map(depth, part), default=0) if isinstance(part, list) else 0

    assert depth_of(json.dumps(value).encode()) == depth(value)
    assert depth_of(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) == depth(value)


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b'{"title":"a\\u0000b"}', "/title"),
        (b'{"title":"\\ud800"}', "/title"),
        (b'{"title":"\\uDFFF"}', "/title"),
        (b'{"title":"\\ude00\\ud83d"}', "/title"),
        (b'{"title":"a","extra":{"\\u0000":1}}', "/extra/\x00"),
        (b'{"title":"a","unknown":["x",{"y":"\\ud800"}]}', "/unknown/1/y"),
    ],
)
def test_nul_and_lone_surrogates_are_422_wherever_they_stand(raw, where):
    """In values, member names and members that nobody asked for: no store could keep them."""
    problem = refusal(raw)
    assert problem.status == 422
    assert pointers(problem) == [where]


def test_a_lone_surrogate_in_a_name_can_be_told():
    """The pointer itself must be text that can be sent."""
    problem = refusal(b'{"\\ud800":1}')
    assert pointers(problem) == ["/\\ud800"]
    assert msgspec.json.encode(problem.errors)


def test_all_unclean_places_are_told():
    """Not only the first."""
    problem = refusal(b'{"title":"\\u0000","a":"\\ud800","b":["\\u0000"]}')
    assert pointers(problem) == ["/title", "/a", "/b/0"]


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b'{"title":"\\ud83d\\ude00"}', "😀"),
        (b'{"title":"\\\\u0000"}', "\\u0000"),
        (b'{"title":"\\\\ud800"}', "\\ud800"),
        (b'{"title":"\\u00e9"}', "é"),
    ],
)
def test_escapes_that_only_look_unclean_are_taken(raw, title):
    """A surrogate pair is one character, an escaped backslash no escape."""
    assert FORM.decode(raw).title == title


def test_every_wrong_member_is_told_at_once():
    """One round trip for a person who fills in a form."""
    problem = refusal(b'{"title":"","size":"big","extra":{"a/b":"x","c~d":null}}')
    assert problem.status == 422
    assert pointers(problem) == ["/title", "/size", "/extra/a~1b", "/extra/c~0d"]


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"1", b"true"])
def test_what_is_no_object_is_422_at_the_root(raw):
    """The pointer of the whole document is empty."""
    assert pointers(refusal(raw)) == [""]


@pytest.mark.parametrize("number", [b"9" * 5_000, b"-" + b"9" * 100_000, b"1e400", b"1.5", b"-0.1e-5"])
def test_numbers_that_do_not_fit_are_422(number):
    """Without a quadratic conversion, and never a 500."""
    started = time.process_time()
    problem = refusal(b'{"title":"a","size":' + number + b"}")
    assert problem.status == 422
    assert pointers(problem) == ["/size"]
    assert time.process_time() - started < 1.0


def test_of_a_repeated_member_the_last_one_counts():
    """As in JavaScript, and the same everywhere in micro."""
    assert FORM.decode(b'{"title":"a","title":"b"}').title == "b"


def test_members_that_nobody_asked_for_are_ignored():
    """Unless the struct forbids them."""
    assert FORM.decode(b'{"title":"a","colour":"red"}') == Form("a")


@given(st.binary(max_size=200))
def test_no_bytes_make_anything_but_a_value_or_a_problem(raw):
    """Never another exception: no input is a 500."""
    assert status_of(raw) in {200, 400, 422}


@given(st.text(alphabet='{}[]",:\\u0dD8\x00 tile1.eE-', max_size=60))
def test_no_text_that_looks_like_json_makes_anything_but_a_value_or_a_problem(text):
    """The same, nearer to the parser's edges."""
    assert status_of(text.encode()) in {200, 400, 422}
