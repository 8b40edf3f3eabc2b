"""Reads a JSON request body strictly, and says everything that is wrong with it at once."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from starlette.requests import ClientDisconnect

from micro.web.faults import faults_of, unclean
from micro.web.problems import Problem

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

T = TypeVar("T")

MAX_BODY = 1 << 20
MAX_DEPTH = 64

_STRING = re.compile(rb'"(?s:[^"\\]|\\.?)*+"?')
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS = bytes(set(range(256)) - _STEP.keys())
_SUSPICIOUS_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_MEDIA_TYPE = re.compile(
    rb"application/(?:[\w.+-]+\+)?json[ \t]*(?:;[ \t]*charset=\"?utf-?8\"?[ \t]*)?;?\Z", re.IGNORECASE
)


class JsonBody(Generic[T]):
    """Reads bodies of one type.

    Raises a `Problem`: 415 for another media type or a content coding, 413 above `limit` bytes, 400 for what is not
    JSON in UTF-8 or nests deeper than 64, 422 with every fault for NUL, lone surrogates and a wrong shape. Of a
    repeated member the last one counts, as in JavaScript.
    """

    def __init__(self, type: Any, *, limit: int = MAX_BODY, optional: bool = False) -> None:
        self.type = type
        self.limit = limit
        self.optional = optional
        self._decoder = msgspec.json.Decoder(type)

    async def read(self, scope: Scope, receive: Receive) -> T | None:
        """The decoded body; nothing for an empty one where it is optional.

        Raises `ClientDisconnect` when the client goes before the end of its body.
        """
        media_type, length = _framing(scope)
        if length > self.limit:
            raise Problem(413, detail=f"At most {self.limit} bytes are taken.")
        if media_type is None and length == 0 and self.optional:
            return None
        if media_type is None or not _MEDIA_TYPE.match(media_type):
            raise Problem(
                415, detail="Send application/json in UTF-8.", headers={"Accept": "application/json"}
            )
        raw = await read_all(receive, self.limit)
        return None if self.optional and not raw else self.decode(raw)

    def decode(self, raw: bytes) -> T:
        """The value in `raw`. Raises as the class says."""
        check_text(raw)
        try:
            return self._decoder.decode(raw)  # type: ignore[no-any-return] # the decoder is made for T
        except msgspec.ValidationError as error:
            raise Problem(422, errors=faults_of(_parse(raw), self.type, error)) from error
        except msgspec.DecodeError as error:
            raise _malformed(error) from error


async def read_all(receive: Receive, limit: int) -> bytes:
    """The whole request body. Raises a 413 `Problem` above `limit` bytes, `ClientDisconnect` when it is cut off."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        # A disconnect is not the end of a body: what came so far must never be handled.
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise Problem(413, detail=f"At most {limit} bytes are taken.")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def check_text(raw: bytes) -> None:
    """Raise a `Problem` unless `raw` is UTF-8, nests at most 64 deep and holds only text that a store can keep."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise _malformed(error) from error
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and depth_of(raw) > MAX_DEPTH:
        raise Problem(400, detail=f"The body nests deeper than {MAX_DEPTH}.")
    if _SUSPICIOUS_ESCAPE.search(raw):
        errors = unclean(_parse(raw))
        if errors:
            raise Problem(422, errors=errors)


def depth_of(raw: bytes) -> int:
    """How deep the brackets outside of strings nest. Linear, without recursion, whatever the bytes are."""
    brackets = _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _framing(scope: Scope) -> tuple[bytes | None, int]:
    media_type: bytes | None = None
    length = 0
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value
        elif name == b"content-length":
            length = int(value[:19]) if value.isdigit() else 0
        elif name == b"transfer-encoding":
            length = -1
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise Problem(
                415, detail="Send the body without a content coding.", headers={"Accept-Encoding": "identity"}
            )
    return media_type, length


def _parse(raw: bytes) -> Any:
    # The standard parser, because it lets lone surrogates through and puts no bound on numbers: those are 422, not 400.
    try:
        return json.loads(raw.decode(), parse_int=_number, parse_constant=_no_constant)
    except ValueError as error:
        raise _malformed(error) from error


def _number(digits: str) -> int:
    return int(digits[:40])  # more digits change no answer, and int() costs the square of their number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _malformed(error: Exception) -> Problem:
    reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    return Problem(400, detail=f"The body is not JSON: {reason}.")
