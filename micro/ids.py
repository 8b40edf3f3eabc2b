"""Identifiers: UUIDv7 (RFC 9562 section 5.7) and W3C trace context ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from micro.clock import Clock

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

# A list member: key and value, which doesn't end in a space.
_STATE = rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_STATE_MEMBERS = 32

TRACE_FLAGS = 0b11
"""The flags of a ``traceparent`` that are defined: sampled, and random trace id. All others are sent as zero."""


def new_id(clock: Clock) -> str:
    """A UUIDv7 in canonical lower case: 48 bits of Unix milliseconds, then 74 random bits.

    Ids of different milliseconds sort by time; within one millisecond their order is random.
    """
    return id_at(clock.now(), clock.randbits(74))


def id_at(moment: datetime, noise: int) -> str:
    """The UUIDv7 of that moment with the lowest 74 bits of `noise`: the same arguments give the same id."""
    milliseconds = int(moment.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    value = (
        milliseconds << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62 | noise & ((1 << 62) - 1)
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in canonical lower-case form."""
    return _UUID.match(text) is not None


def new_traceparent(clock: Clock) -> str:
    """A new root trace: version 00, random ids, not sampled."""
    return f"00-{_nonzero(clock, 128):032x}-{_nonzero(clock, 64):016x}-00"


def child_traceparent(parent: str | None, clock: Clock) -> str:
    """The same trace with a new parent id; a new trace where `parent` is missing or invalid.

    A higher version is read as version 00
    (W3C Trace Context, processing model: https://www.w3.org/TR/trace-context/#processing-model).
    """
    if parent is None or not is_traceparent(parent):
        return new_traceparent(clock)
    return f"00-{parent[3:35]}-{_nonzero(clock, 64):016x}-{int(parent[53:55], 16) & TRACE_FLAGS:02x}"


def is_traceparent(text: str) -> bool:
    """Whether `text` is a valid ``traceparent``: version 00 exactly, a higher one by its first four fields."""
    match = _TRACEPARENT.match(text)
    if match is None:
        return False
    rest = text[match.end() :]
    return not rest if text.startswith("00") else not rest or rest.startswith("-")


def is_tracestate(value: bytes) -> bool:
    """Whether `value` is a ``tracestate`` with something to pass on: 1 to 32 well-formed members, no key twice.

    https://www.w3.org/TR/trace-context/#tracestate-header; members may be empty.
    """
    members = [member for part in value.split(b",") if (member := part.strip(b" \t"))]
    if not 0 < len(members) <= _STATE_MEMBERS or not all(re.fullmatch(_STATE, member) for member in members):
        return False
    return len({member.partition(b"=")[0] for member in members}) == len(members)


def _nonzero(clock: Clock, bits: int) -> int:
    return clock.randbits(bits) or 1
