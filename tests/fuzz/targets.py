"""What is fuzzed: each target takes bytes, and raises where the gateway reads them otherwise than a strict reader.

The strict readers here are written for this purpose, as plainly as RFC 9112 puts it, and share nothing with the gateway.
"""

from __future__ import annotations

import re

from micro.gateway.headers import HOP_BY_HOP, read, returned
from micro.gateway.upstream.answer import AnswerReader
from micro.gateway.upstream.frames import FrameWatch
from micro.gateway.upstream.ports import UpstreamError
from micro.web.problems import Problem
from micro.web.server.chunks import Chunks
from micro.web.server.head import CHUNKED, NO_BODY, Head, HeadReader, again

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
VALUE = rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/(1\.[01])")
STATUS = re.compile(
    rb"HTTP/(1\.[01]) ([1-5][0-9][0-9])(?: [^\r\n]*)?"
)  # no reason goes on, whatever is in it
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*(" + VALUE + rb")[ \t]*")
LONGEST_HEADER = 14
"""Bytes of a frame's header, of the widest length and masked."""
SIZE = re.compile(rb"([0-9A-Fa-f]+)((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")


def heads(data: bytes) -> None:
    """A request's head: what is accepted has one meaning, which is the strict one."""
    head = data.replace(b"\r\n\r\n", b"\r\n").lstrip(b"\r\n") + b"\r\n\r\n"
    head = head[: head.index(b"\r\n\r\n") + 4]
    reader = HeadReader()
    try:
        read = reader.read(head, "http")
    except Problem:
        return
    line, *lines = head[:-4].split(b"\r\n")
    match = LINE.fullmatch(line)
    assert match, line
    assert read.method == match[1].decode()
    fields = [FIELD.fullmatch(each) for each in lines]
    assert all(fields), head
    said = [(each[1].lower(), each[2]) for each in fields if each]
    lengths = [value for name, value in said if name == b"content-length"]
    codings = [value for name, value in said if name == b"transfer-encoding"]
    if codings:
        assert [coding.lower() for coding in codings] == [b"chunked"]
        assert not lengths
        assert match[3] == b"1.1"
        assert read.fields.length == CHUNKED
    elif lengths:
        [length] = lengths
        assert re.fullmatch(rb"[0-9]+", length)
        assert read.fields.length == int(length)
    else:
        assert read.fields.length == NO_BODY
    kept = {b"host", b"expect"}
    assert [pair for pair in read.fields.headers if pair[0] not in kept] == [
        pair for pair in said if pair[0] not in kept
    ]
    target = match[2]
    if target.startswith(b"/"):
        assert read.path + (b"?" + read.query if b"?" in target else b"") == target
    _recognizes(read, head)


def _recognizes(read: Head, head: bytes) -> None:
    """A head that is recognized by its fields says what it said when it was read."""
    said = again(head, read)
    if said is not None:
        assert (said.method, said.path, said.query, said.version) == (
            read.method,
            read.path,
            read.query,
            read.version,
        )


def bodies(data: bytes) -> None:
    """A body in chunks: the strict one's meaning, and the same however the bytes come."""
    outcomes = [_chunked(data, step) for step in (len(data) or 1, 1, 3)]
    assert outcomes[0] == outcomes[1] == outcomes[2], outcomes
    body, done, rest = outcomes[0]
    if done:
        strict = unchunked(data)
        assert strict is not None
        assert (body, rest) == strict


def _chunked(data: bytes, step: int) -> tuple[bytes, bool, bytes]:
    """Body, whether it is done, and what is behind it; what was read before a refusal doesn't count."""
    chunks, body, rest = Chunks(), b"", b""
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        if chunks.done:
            rest += piece
            continue
        try:
            body += b"".join(chunks.feed(piece))
        except Problem:
            return b"refused", False, b""
        rest = chunks.rest
    return body, chunks.done, rest if chunks.done else b""


def unchunked(data: bytes) -> tuple[bytes, bytes] | None:
    """A body in chunks, and what is behind it; nothing where it isn't one."""
    body = b""
    while True:
        line, mark, data = data.partition(b"\r\n")
        match = SIZE.fullmatch(line)
        if not mark or match is None:
            return None
        size = int(match[1], 16)
        if not size:
            break
        body, data = body + data[:size], data[size:]
        if not data.startswith(b"\r\n"):
            return None
        data = data[2:]
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return None
        if not line:
            return body, data
        if not FIELD.fullmatch(line):
            return None


def answers(data: bytes) -> None:
    """An instance's answer: the strict one's meaning, and the same however the bytes come."""
    outcomes = [_answer(data, step) for step in (len(data) or 1, 1, 5)]
    whole = [outcome for outcome in outcomes if outcome is not None]
    if not whole:
        return
    assert len({(status, body) for status, body in whole}) == 1, outcomes
    status, body = whole[0]
    strict = answered(data)
    assert strict is not None, data
    assert (status, body) == strict


def _answer(data: bytes, step: int) -> tuple[int, bytes] | None:
    """Status and body of an answer that is complete; nothing for one that is refused or goes on."""
    reader, body = AnswerReader(), b""
    for start in range(0, len(data), step):
        try:
            reader.feed(data[start : start + step])
        except UpstreamError:
            return None
        if reader.pieces:
            body += reader.take()
        if reader.status == 101:
            return None
        if reader.done:
            return reader.status, body
    return None


def answered(data: bytes) -> tuple[int, bytes] | None:
    """Status and body of the first final answer in `data`, strictly; nothing where there is none."""
    while True:
        head, mark, data = data.lstrip(b"\r\n").partition(
            b"\r\n\r\n"
        )  # empty lines between heads mean nothing
        line, *lines = head.split(b"\r\n")
        match = STATUS.fullmatch(line)
        if not mark or match is None or not all(FIELD.fullmatch(each) for each in lines):
            return None
        if match[2] >= b"200":
            break
    fields = [found.groups() for found in map(FIELD.fullmatch, lines) if found]
    said = {name.lower(): value for name, value in fields}
    status = int(match[2])
    if status in {204, 304}:
        return status, b""
    if b"transfer-encoding" in said:
        strict = unchunked(data)
        return None if strict is None else (status, strict[0])
    length = said.get(b"content-length", b"x")
    if not re.fullmatch(rb"[0-9]+", length) or len(data) < int(length):
        return None
    return status, data[: int(length)]


def fields(data: bytes) -> None:
    """Header handling: nothing of a connection passes, whatever `Connection` says, and all else does, in its order."""
    pairs = [(each[1].lower(), each[2]) for each in map(FIELD.fullmatch, data.split(b"\n")) if each]
    listed = b",".join(value for name, value in pairs if name == b"connection").lower()
    named = {option.strip(b" \t") for option in listed.split(b",")}
    found, kept = read(pairs)
    assert set(found) == {name for name, _ in pairs}
    _passed(pairs, list(kept), named)
    back, length = returned(pairs)
    _passed(pairs, back, named)
    lengths = [value for name, value in pairs if name == b"content-length"]
    assert length == (b", ".join(lengths) if lengths else None)


def _passed(pairs: list[tuple[bytes, bytes]], kept: list[tuple[bytes, bytes]], named: set[bytes]) -> None:
    names = {name for name, _ in kept}
    assert not names & HOP_BY_HOP
    assert not (names & named) - {b"content-length", b"host"}
    order = iter(pairs)
    assert all(pair in order for pair in kept), "in another order, or made up"
    for name in (b"content-length", b"host", b"set-cookie", b"x-a"):
        if name not in named or name in {b"content-length", b"host"}:
            assert [pair for pair in kept if pair[0] == name] == [pair for pair in pairs if pair[0] == name]


def frames(data: bytes) -> None:
    """WebSocket frames in a tunnel: what passes is what came, and the same however it comes; little is held back."""
    outcomes = [_watched(data, step) for step in (len(data) or 1, 1, 7)]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def _watched(data: bytes, step: int) -> tuple[bytes, int, bool]:
    watch, passed = FrameWatch(), b""
    for start in range(0, len(data), step):
        passed += watch.feed(data[start : start + step])
    assert data.startswith(passed)
    assert watch.code or len(data) - len(passed) < LONGEST_HEADER
    return passed, watch.code, watch.closing


TARGETS = {"heads": heads, "bodies": bodies, "answers": answers, "fields": fields, "frames": frames}

SEEDS = {
    "heads": [
        b"GET /a?b HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\n\r\n",
        b"POST http://localhost/ HTTP/1.0\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        b"PUT * HTTP/1.1\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\n\r\n",
    ],
    "bodies": [b"5;a=b\r\nhello\r\n0\r\nX-A: 1\r\n\r\nrest", b"1\r\na\r\n0a\r\n0123456789\r\n000\r\n\r\n"],
    "answers": [
        b"HTTP/1.1 103 X\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-A\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 304 Not Modified\r\nETag: x\r\nConnection: keep-alive\r\n\r\n",
    ],
    "frames": [
        b"\x81\x85abcdhello\x89\x00\x02\x7e\x00\x80" + b"a" * 128 + b"\x80\x00\x88\x02\x03\xe8",
        b"\x82\xff\x00\x00\x00\x00\x01\x00\x00\x00abcd" + b"a" * 50,
    ],
    "fields": [
        b"connection: x-a, close\nx-a: 1\nhost: a\ncontent-length: 5\nset-cookie: a\nset-cookie: b\nte: x"
    ],
}
"""What a fuzzer begins with."""
