"""The access log: one JSON line for every request that the gateway answered."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from micro.telemetry.files import RotatingFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from micro.clock import Clock

logger = logging.getLogger("micro.gateway.access")

FLUSH_EVERY = 0.2
"""Seconds between two writes to the file."""

SLICE = 64
"""Records made into lines at a time: at once, as long as they are in the processor's caches, and seldom enough to be cheap."""

PIECE = 32
"""Slices that leave in one write. After each the thread has to wait for the interpreter, and the event loop for the thread."""

WARN_EVERY = 10.0
"""Least number of seconds between two warnings about lost records."""

_encoder = msgspec.json.Encoder()


class AccessRecord(msgspec.Struct, gc=False):
    """One request and its answer."""

    time: datetime
    """When the answer was complete, in UTC. So the records of a file are in the order of their times."""
    request_id: str
    correlation_id: str
    method: str
    path: str
    """The raw path without the query, which may hold secrets."""
    status: int
    duration_ms: float
    service: str = "gateway"
    """Who answered: `gateway`, or a service on its own port."""
    trace_id: str = ""
    """The 32 hex digits of the W3C trace."""
    client: str = ""
    bytes: int = 0
    """Size of the answer's body."""
    upstream: str = ""
    """The service that the request was meant for; empty where the gateway answers by itself."""
    received: int = 0
    """Size of the request's body, as far as it came."""
    error: str = ""
    """The RFC 9209 error type, where the gateway answered in the service's place or broke the answer off."""
    instance: str = ""
    """Address of the instance that was asked last, on the network."""
    tries: int = 0
    """How often the request was sent."""
    upstream_ms: float | None = None
    """From sending it, the last time, to the head of the answer, where that was measured."""
    subject: str = ""
    """Whom the credentials speak for."""


class AccessLog:
    """Buffers lines and appends them to a file a few times a second, off the event loop.

    Never blocks its caller: when the disk can't keep up and `capacity` records wait, the oldest `SLICE` of them are
    dropped, counted in `dropped`, and a warning is logged. Use it from one event loop.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        capacity: int = 20_000,
        max_bytes: int = 10_000_000,
        keep: int = 3,
    ) -> None:
        self.dropped = 0
        """Records lost so far: to a full buffer, or to a failing disk."""
        self._clock = clock
        self._file = RotatingFile(path, max_bytes=max_bytes, keep=keep)
        self._records: list[AccessRecord | Mapping[str, Any]] = []
        """The latest, fewer than a slice."""
        self._slices: deque[tuple[bytes, int]] = deque()
        """Lines to be written, and how many."""
        self._most = max(1, capacity // SLICE)
        self._writing = threading.Lock()
        self._reported = 0
        self._reason = "the disk is too slow"
        self._warn_after = float("-inf")

    def number(self, number: int) -> None:
        """Write to NAME.NUMBER.log, as one of several that each have a file. Call it before anything is written."""
        path = self._file.path
        self._file.path = path.with_name(f"{path.stem}.{number}{path.suffix}")

    def write(self, record: AccessRecord | Mapping[str, Any]) -> None:
        """Keep a record to be written soon; a mapping has the fields of `AccessRecord`."""
        records = self._records
        records.append(record)
        if len(records) >= SLICE:
            self._cut()

    async def run(self) -> None:
        """Write what waits, for as long as the task runs. Call `close` afterwards."""
        while True:
            await self._clock.sleep(FLUSH_EVERY)
            if self._records or self._slices or self.dropped > self._reported:
                await self.flush()

    async def flush(self) -> None:
        """Return once everything kept until now is in the file. Never raises for a failing disk: that is counted."""
        self._cut()
        await asyncio.to_thread(self._write_out)
        self._report()

    async def close(self) -> None:
        """Write the rest and close the file. Idempotent."""
        await self.flush()
        with self._writing:
            self._file.close()

    def _cut(self) -> None:
        """Make lines of the latest records."""
        if not self._records:
            return
        records, self._records = self._records, []
        if len(self._slices) >= self._most:
            with suppress(IndexError):  # the thread has just written it
                self.dropped += self._slices.popleft()[1]
        self._slices.append((_encode(records), len(records)))

    def _write_out(self) -> None:
        with self._writing:
            while slices := [self._slices.popleft() for _ in range(min(len(self._slices), PIECE))]:
                self._append(b"".join(lines for lines, _ in slices), sum(records for _, records in slices))

    def _append(self, lines: bytes, records: int) -> None:
        try:
            self._file.write(lines)
        except OSError as error:
            self.dropped += records
            self._reason = error.strerror or str(error)

    def _report(self) -> None:
        lost = self.dropped - self._reported
        now = self._clock.monotonic()
        if lost and now >= self._warn_after:
            self._reported, self._warn_after = self.dropped, now + WARN_EVERY
            logger.warning("access log: %d records lost, %d in all: %s", lost, self.dropped, self._reason)


def _encode(records: list[AccessRecord | Mapping[str, Any]]) -> bytes:
    try:
        return _encoder.encode_lines(records)
    except (TypeError, UnicodeEncodeError, msgspec.MsgspecError):
        return b"".join(_encode_one(record) for record in records)


def _encode_one(record: AccessRecord | Mapping[str, Any]) -> bytes:
    """One line; a record that JSON can't express (a lone surrogate) is kept as its escaped text."""
    try:
        return _encoder.encode(record) + b"\n"
    except (TypeError, UnicodeEncodeError, msgspec.MsgspecError):
        return _encoder.encode({"unreadable": ascii(record)}) + b"\n"
