"""Reads log files back, rotated ones too: what was logged since, what comes next, and one request's access records.

Files are read from their end, in blocks, and no further back than asked. A line that is not a JSON object (cut short by
a crash) is skipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from micro.telemetry.files import rotated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterator
    from pathlib import Path

    from micro.clock import Clock

LEVELS = ("debug", "info", "warning", "error", "critical")
"""From the least to the most severe."""

POLL = 0.2
"""Seconds between two looks at files that are followed."""

_BLOCK = 1 << 16
_LONGEST_LINE = 1 << 20
_OLDEST = 1000
_CLOSED = -1
_ACCESS = "access"
_LOOK_AT_TIME = 64
"""A record that doesn't match is decoded only once in so many, to see how far back the search has got."""
_DISORDER = timedelta(seconds=60)
"""How far a line may be out of order: threads, and a wall clock that was set back."""


class _Cause(msgspec.Struct):
    time: datetime
    request_id: str | None = ""
    correlation_id: str | None = ""


class _Line(NamedTuple):
    time: datetime
    fields: dict[str, Any]


_cause = msgspec.json.Decoder(_Cause)
_fields = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines of the services' logs."""

    folder: Path
    services: tuple[str, ...] = ()
    """Empty: all. A service that has not logged anything has no lines."""
    since: datetime | None = None
    level: str = "debug"
    """The least level, one of `LEVELS`."""

    def paths(self) -> list[Path]:
        """The files to read."""
        if self.services:
            own = (self.folder / f"{name}.log" for name in self.services)
            instances = (path for name in self.services for path in self.folder.glob(f"{name}.*.log"))
            return [*own, *sorted(instances)]
        return sorted(path for path in self.folder.glob("*.log") if _owner(path) != _ACCESS)

    def takes(self, line: _Line) -> bool:
        """Whether a line is asked for."""
        level = line.fields.get("level")
        wanted = level not in LEVELS or LEVELS.index(level) >= LEVELS.index(self.level)
        return wanted and (self.since is None or line.time >= self.since)


def read_logs(query: LogQuery) -> list[dict[str, Any]]:
    """The matching lines of all services, oldest first."""
    return _read(query, {})


async def follow_logs(query: LogQuery, clock: Clock) -> AsyncGenerator[dict[str, Any]]:
    """What `read_logs` returns, then every matching line as it is written, without end. Survives rotation.

    Close it (`aclose`) to let go of the files.
    """
    tails = {path: _Tail(path) for path in query.paths()}
    try:
        for fields in _read(query, {path: tail.position for path, tail in tails.items()}):
            yield fields
        while True:
            lines = [line for tail in tails.values() for line in tail.read()]
            for line in sorted(lines, key=_time):
                if query.takes(line):
                    yield line.fields
            await clock.sleep(POLL)
            tails |= {path: _Tail(path, new=True) for path in query.paths() if path not in tails}
    finally:
        for tail in tails.values():
            tail.close()


def find_requests(
    path: Path, ids: Collection[str], *, since: datetime, limit: int = 10_000
) -> list[dict[str, Any]]:
    """The access records since then whose request id or correlation id is among `ids`, oldest first.

    At most `limit`, the newest. `path` is the access log of the only gateway; those of several (`access.1.log`) are read,
    too, and rotated files as far back as `since` asks.
    """
    numbered = sorted(path.parent.glob(f"{path.stem}.*{path.suffix}"))
    found = [line for each in (path, *numbered) for line in _requests(each, ids, since=since, limit=limit)]
    return [line.fields for line in sorted(found, key=_time)[-limit:]]


def _requests(path: Path, ids: Collection[str], *, since: datetime, limit: int) -> list[_Line]:
    needles = [msgspec.json.encode(wanted) for wanted in ids]
    found: list[_Line] = []
    for number, raw in enumerate(lines_backwards(path)):
        hit = any(needle in raw for needle in needles)
        if not hit and number % _LOOK_AT_TIME:
            continue
        try:
            cause = _cause.decode(raw)
        except msgspec.MsgspecError:
            continue
        if cause.time < since - _DISORDER or len(found) == limit:
            break
        if hit and cause.time >= since and (cause.request_id in ids or cause.correlation_id in ids):
            found.append(_Line(cause.time, _fields.decode(raw)))
    return found[::-1]


def lines_backwards(path: Path, *, end: int | None = None) -> Iterator[bytes]:
    """The lines of a file (up to the byte `end`) and of its rotated predecessors, newest first, without line ends.

    Holds one block and one line at a time; a line longer than a megabyte is cut.
    """
    for number in range(_OLDEST):
        try:
            handle = os.open(rotated(path, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if number:
                return
            continue
        try:
            size = os.fstat(handle).st_size
            yield from _backwards(handle, size if number or end is None else min(end, size))
        finally:
            os.close(handle)


def _backwards(handle: int, position: int) -> Iterator[bytes]:
    rest = b""
    while position:
        start = max(0, position - _BLOCK)
        block = os.pread(handle, position - start, start) + rest[:_LONGEST_LINE]
        position = start
        rest, *lines = block.split(b"\n")
        yield from (line for line in reversed(lines) if line)
    if rest:
        yield rest


def _read(query: LogQuery, ends: dict[Path, int]) -> list[dict[str, Any]]:
    found: list[_Line] = []
    for path in query.paths():
        for raw in lines_backwards(path, end=ends.get(path)):
            line = _decode(raw)
            if line is None:
                continue
            if query.since is not None and line.time < query.since - _DISORDER:
                break
            if query.takes(line):
                found.append(line)
    found.reverse()  # the sort is stable: lines of one time keep the file's order
    return [line.fields for line in sorted(found, key=_time)]


def _owner(path: Path) -> str:
    """Whose file it is: NAME.log, or NAME.NUMBER.log of one instance."""
    return path.name.partition(".")[0]


def _decode(raw: bytes) -> _Line | None:
    try:
        return _Line(_cause.decode(raw).time, _fields.decode(raw))
    except msgspec.MsgspecError:
        return None


def _time(line: _Line) -> datetime:
    return line.time


class _Tail:
    """What is appended to a file from now on (or, for a `new` one, from its start), across rotations."""

    def __init__(self, path: Path, *, new: bool = False) -> None:
        self._path = path
        self._handle = _CLOSED
        self._rest = b""
        self.position = 0
        self._open()
        if self._handle != _CLOSED and not new:
            self.position = os.fstat(self._handle).st_size

    def read(self) -> list[_Line]:
        """The lines that are complete and were not read yet."""
        data = self._rest + self._drain()
        if self._replaced():
            self.close()
            self._open()
            data += self._drain()
        *lines, self._rest = data.split(b"\n")
        return [line for raw in lines if (line := _decode(raw)) is not None]

    def close(self) -> None:
        """Let go of the file."""
        if self._handle != _CLOSED:
            handle, self._handle = self._handle, _CLOSED
            os.close(handle)

    def _open(self) -> None:
        self.position = 0
        try:
            self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._handle = _CLOSED

    def _drain(self) -> bytes:
        data = b""
        while self._handle != _CLOSED and (block := os.pread(self._handle, _BLOCK, self.position)):
            self.position += len(block)
            data += block
        return data

    def _replaced(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        return self._handle == _CLOSED or os.fstat(self._handle).st_ino != now.st_ino
