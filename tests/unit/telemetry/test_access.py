"""The access log: buffered, bounded, written off the event loop."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from datetime import UTC, datetime

import pytest

from micro.telemetry.access import FLUSH_EVERY, PIECE, SLICE, WARN_EVERY, AccessLog, AccessRecord
from micro.telemetry.files import rotated
from micro.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "access.log"


def record(**fields):
    given = {
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "request_id": "r1",
        "correlation_id": "c1",
        "method": "GET",
        "path": "/tasks",
        "status": 200,
        "duration_ms": 1.5,
    }
    return AccessRecord(**given | fields)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_record_is_one_json_line_with_every_field(path, clock):
    log = AccessLog(path, clock=clock)
    log.write(record(trace_id="t" * 32, client="127.0.0.1", bytes=12, upstream="task"))
    await log.close()
    assert read(path) == [
        {
            "time": "2026-01-01T00:00:00Z",
            "request_id": "r1",
            "correlation_id": "c1",
            "method": "GET",
            "path": "/tasks",
            "status": 200,
            "duration_ms": 1.5,
            "service": "gateway",
            "trace_id": "t" * 32,
            "client": "127.0.0.1",
            "bytes": 12,
            "upstream": "task",
            "received": 0,
            "error": "",
            "instance": "",
            "tries": 0,
            "upstream_ms": None,
            "subject": "",
        }
    ]


async def test_a_mapping_is_taken_as_well(path, clock):
    log = AccessLog(path, clock=clock)
    log.write({"request_id": "r2", "status": 404})
    await log.close()
    assert read(path) == [{"request_id": "r2", "status": 404}]


async def test_its_task_writes_a_few_times_a_second(path, clock):
    log = AccessLog(path, clock=clock)
    task = asyncio.create_task(log.run())
    log.write(record())
    await clock.until_sleeping()
    assert not path.exists()
    await clock.advance(FLUSH_EVERY)
    async with asyncio.timeout(60):
        await clock.until_sleeping()
    assert len(read(path)) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await log.close()


async def test_flush_returns_once_everything_is_in_the_file(path, clock):
    log = AccessLog(path, clock=clock)
    for number in range(5):
        log.write(record(request_id=f"r{number}"))
    await log.flush()
    assert [line["request_id"] for line in read(path)] == [f"r{n}" for n in range(5)]
    await log.close()


async def test_many_records_leave_in_few_writes_and_in_their_order(path, clock, monkeypatch):
    log, sizes = AccessLog(path, clock=clock), []
    plain = log._file.write
    monkeypatch.setattr(log._file, "write", lambda lines: (sizes.append(lines.count(b"\n")), plain(lines)))
    for number in range(PIECE * SLICE + 1):
        log.write(record(status=number))
    await log.close()
    assert sizes == [PIECE * SLICE, 1]
    assert [line["status"] for line in read(path)] == list(range(PIECE * SLICE + 1))


async def test_what_waits_is_lines_but_for_the_latest_records(path, clock):
    """A record is much larger than its line, and in no cache any more when it is old."""
    log = AccessLog(path, clock=clock)
    for _ in range(3 * SLICE - 1):
        log.write(record())
    assert len(log._records) == SLICE - 1
    assert [lines.count(b"\n") for lines, _ in log._slices] == [SLICE, SLICE]
    await log.close()


async def test_close_writes_the_rest_and_may_be_repeated(path, clock):
    log = AccessLog(path, clock=clock)
    log.write(record())
    await log.close()
    await log.close()
    assert len(read(path)) == 1


async def test_a_full_buffer_drops_the_oldest_slice_counts_it_and_warns(path, clock, caplog):
    log = AccessLog(path, clock=clock, capacity=2 * SLICE)
    for number in range(3 * SLICE):
        log.write(record(status=number))
    assert log.dropped == SLICE
    with caplog.at_level(logging.WARNING):
        await log.flush()
    assert [line["status"] for line in read(path)] == list(range(SLICE, 3 * SLICE))
    assert caplog.messages == [f"access log: {SLICE} records lost, {SLICE} in all: the disk is too slow"]
    await log.close()


async def test_a_slice_that_the_thread_takes_while_room_is_made_for_another_is_not_lost(path, clock):
    class Taken(deque):
        """As if the thread had come first."""

        def popleft(self):
            super().popleft()
            return super().popleft()

    log = AccessLog(path, clock=clock, capacity=SLICE)
    log._slices = Taken()
    for _ in range(2 * SLICE):
        log.write(record())
    assert (log.dropped, len(log._slices)) == (0, 1)


async def test_warnings_about_losses_are_seldom(path, clock, caplog):
    log = AccessLog(path, clock=clock, capacity=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            for _ in range(2 * SLICE):
                log.write(record())
            await log.flush()
        assert len(caplog.messages) == 1
        await clock.advance(WARN_EVERY)
        await log.flush()
    assert (
        caplog.messages[1]
        == f"access log: {2 * SLICE} records lost, {3 * SLICE} in all: the disk is too slow"
    )
    await log.close()


async def test_a_failing_disk_is_counted_and_told_and_later_records_are_written(
    path, clock, caplog, monkeypatch
):
    log = AccessLog(path, clock=clock)
    log.write(record())
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(
            "os.write", lambda handle, data: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        await log.flush()
    assert log.dropped == 1
    assert caplog.messages == ["access log: 1 records lost, 1 in all: No space left on device"]
    log.write(record(request_id="later"))
    await log.close()
    assert [line["request_id"] for line in read(path)] == ["later"]


async def test_a_record_that_json_cannot_express_spoils_no_other(path, clock):
    log = AccessLog(path, clock=clock)
    log.write(record(request_id="before"))
    log.write(record(path="/\ud800"))
    log.write({"odd": object()})
    log.write(record(request_id="after"))
    await log.close()
    lines = read(path)
    assert [line.get("request_id") for line in lines] == ["before", None, None, "after"]
    assert "\\ud800" in lines[1]["unreadable"]


async def test_it_rotates_by_size(path, clock):
    log = AccessLog(path, clock=clock, max_bytes=1000, keep=1)
    for _ in range(10):
        log.write(record())
        await log.flush()
    await log.close()
    assert path.stat().st_size <= 1000
    assert rotated(path, 1).exists()
    assert not rotated(path, 2).exists()


async def test_records_written_while_the_thread_writes_are_kept(path, clock):
    log = AccessLog(path, clock=clock)
    flushes = []
    for number in range(200):
        log.write(record(request_id=str(number)))
        if number % 10 == 0:
            flushes.append(asyncio.create_task(log.flush()))
            await asyncio.sleep(0)  # noqa: TID251 - no time passes: the flush gets its turn
    await asyncio.gather(*flushes)
    await log.close()
    assert [line["request_id"] for line in read(path)] == [str(number) for number in range(200)]
