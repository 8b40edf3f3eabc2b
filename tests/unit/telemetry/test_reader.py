"""Reading logs back: since when, which level, what comes next, one request's records."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from micro.telemetry.files import RotatingFile, rotated
from micro.telemetry.reader import POLL, LogQuery, find_requests, follow_logs, lines_backwards, read_logs
from micro.testing import FakeClock

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def line(seconds, message="", **fields):
    return (
        json.dumps({"time": at(seconds).isoformat(), "level": "info", "message": message} | fields).encode()
        + b"\n"
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def messages(query):
    return [fields["message"] for fields in read_logs(query)]


def write(folder, name, *lines, **options):
    file = RotatingFile(folder / f"{name}.log", **options)
    for one in lines:
        file.write(one)
    file.close()


def test_lines_come_newest_first_over_every_rotated_file(tmp_path):
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=20, keep=5)
    for number in range(10):
        file.write(b"line %d\n" % number)
    file.close()
    assert rotated(path, 4).exists()
    assert list(lines_backwards(path)) == [b"line %d" % number for number in range(9, -1, -1)]


def test_lines_longer_than_a_block_come_whole(tmp_path):
    path = tmp_path / "x.log"
    wanted = [b"a" * 100_000, b"b" * 200_000, b"c", b"d" * 65_536]
    path.write_bytes(b"\n".join(wanted) + b"\n")
    assert list(lines_backwards(path)) == wanted[::-1]


def test_a_file_without_a_last_line_end_gives_its_torn_line(tmp_path):
    (tmp_path / "x.log").write_bytes(b"whole\nto")
    assert list(lines_backwards(tmp_path / "x.log")) == [b"to", b"whole"]


def test_there_may_be_no_file_or_only_rotated_ones(tmp_path):
    assert list(lines_backwards(tmp_path / "x.log")) == []
    (tmp_path / "x.log.1").write_bytes(b"old\n")
    assert list(lines_backwards(tmp_path / "x.log")) == [b"old"]


def test_all_services_are_read_in_the_order_of_time(folder):
    write(folder, "task", line(1, "a"), line(3, "c"))
    write(folder, "user", line(2, "b"), line(4, "d"))
    write(folder, "access", line(0, "not a log"))
    assert messages(LogQuery(folder=folder)) == ["a", "b", "c", "d"]


def test_lines_of_one_moment_keep_their_order(folder):
    write(folder, "task", *(line(1, str(number)) for number in range(5)))
    assert messages(LogQuery(folder=folder)) == ["0", "1", "2", "3", "4"]


def test_one_service_is_read_alone_and_may_have_logged_nothing(folder):
    write(folder, "task", line(1, "a"))
    write(folder, "user", line(2, "b"))
    assert messages(LogQuery(folder=folder, services=("user",))) == ["b"]
    assert messages(LogQuery(folder=folder, services=("none",))) == []


def test_only_lines_since_a_moment_are_read_rotated_files_included(folder):
    write(folder, "task", *(line(60 * number, str(number)) for number in range(20)), max_bytes=300, keep=9)
    query = LogQuery(folder=folder, since=at(60 * 12))
    assert messages(query) == [str(number) for number in range(12, 20)]


def test_a_line_somewhat_out_of_order_is_found(folder):
    write(folder, "task", line(10, "late"), line(5, "early"), line(11, "last"))
    assert messages(LogQuery(folder=folder, since=at(10))) == ["late", "last"]


def test_only_lines_of_a_level_and_above_are_read(folder):
    levels = ("debug", "info", "warning", "error", "critical")
    write(folder, "task", *(line(number, level, level=level) for number, level in enumerate(levels)))
    assert messages(LogQuery(folder=folder, level="warning")) == ["warning", "error", "critical"]


def test_a_level_of_someone_elses_is_shown_rather_than_hidden(folder):
    write(folder, "task", line(1, "odd", level="notice"))
    assert messages(LogQuery(folder=folder, level="error")) == ["odd"]


def test_what_is_not_a_line_of_ours_is_skipped(folder):
    write(folder, "task", line(1, "a"), b"{torn\n", b"[]\n", b'{"no": "time"}\n', b"\n", line(2, "b"))
    assert messages(LogQuery(folder=folder)) == ["a", "b"]


class Following:
    """A follower whose lines are taken as they come."""

    def __init__(self, query):
        self.clock = FakeClock()
        self.seen = []
        self._query = query

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        await self.settled()
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self):
        async with aclosing(follow_logs(self._query, self.clock)) as lines:
            async for fields in lines:
                self.seen.append(fields["message"])

    async def settled(self):
        async with asyncio.timeout(60):
            await self.clock.until_sleeping()

    async def poll(self):
        await self.clock.advance(POLL)
        await self.settled()
        return self.seen


async def test_following_shows_what_is_there_and_then_what_is_written(folder):
    write(folder, "task", line(1, "a"))
    async with Following(LogQuery(folder=folder)) as following:
        assert following.seen == ["a"]
        write(folder, "task", line(2, "b"))
        assert await following.poll() == ["a", "b"]
        write(folder, "task", line(3, "c"), line(4, "d", level="debug"))
        assert await following.poll() == ["a", "b", "c", "d"]


async def test_following_waits_for_the_end_of_a_line(folder):
    whole = line(1, "a")
    (folder / "task.log").write_bytes(b"")
    async with Following(LogQuery(folder=folder)) as following:
        with (folder / "task.log").open("ab") as file:
            file.write(whole[:10])
        assert await following.poll() == []
        with (folder / "task.log").open("ab") as file:
            file.write(whole[10:])
        assert await following.poll() == ["a"]


async def test_following_goes_on_over_a_rotation(folder):
    file = RotatingFile(folder / "task.log", max_bytes=200)
    file.write(line(1, "a"))
    async with Following(LogQuery(folder=folder)) as following:
        file.write(line(2, "b"))
        file.write(line(3, "c"))
        assert (folder / "task.log.1").exists()
        assert await following.poll() == ["a", "b", "c"]
    file.close()


async def test_following_finds_a_service_that_starts_to_log(folder):
    async with Following(LogQuery(folder=folder)) as following:
        write(folder, "user", line(1, "new"))
        await following.poll()
        assert await following.poll() == ["new"]


async def test_following_one_service_waits_for_its_first_line(folder):
    async with Following(LogQuery(folder=folder, services=("user",))) as following:
        write(folder, "task", line(1, "other"))
        assert await following.poll() == []
        write(folder, "user", line(2, "mine"))
        assert await following.poll() == ["mine"]


async def test_following_leaves_out_what_is_not_asked_for(folder):
    write(folder, "task", line(1, "a"))
    async with Following(LogQuery(folder=folder, level="error")) as following:
        write(folder, "task", line(2, "b"), line(3, "c", level="error"))
        assert await following.poll() == ["c"]


async def test_following_forgets_a_file_that_is_deleted(folder):
    write(folder, "task", line(1, "a"))
    async with Following(LogQuery(folder=folder)) as following:
        (folder / "task.log").unlink()
        assert await following.poll() == ["a"]
        write(folder, "task", line(2, "b"))
        assert await following.poll() == ["a", "b"]


def access(seconds, request, correlation=None, **fields):
    return line(seconds, request_id=request, correlation_id=correlation or request, **fields)


def test_a_request_is_found_by_its_id_and_by_its_correlation_id(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(access(1, "r1", "c1") + access(2, "r2", "c1") + access(3, "r3", "c3"))
    assert [found["request_id"] for found in find_requests(path, {"r2"}, since=START)] == ["r2"]
    assert [found["request_id"] for found in find_requests(path, {"c1"}, since=START)] == ["r1", "r2"]
    assert [found["request_id"] for found in find_requests(path, {"c3", "r1"}, since=START)] == ["r1", "r3"]


def test_a_request_is_found_in_the_files_of_several_gateways(tmp_path):
    (tmp_path / "access.1.log").write_bytes(access(1, "a", "c") + access(3, "b", "c") + access(5, "d", "c"))
    (tmp_path / "access.12.log").write_bytes(access(2, "e", "c") + access(4, "f", "c"))
    path = tmp_path / "access.log"
    found = find_requests(path, {"c"}, since=START)
    assert [each["request_id"] for each in found] == ["a", "e", "b", "f", "d"]
    assert [each["request_id"] for each in find_requests(path, {"c"}, since=START, limit=2)] == ["f", "d"]


def test_an_id_that_stands_elsewhere_in_a_record_is_not_its_request(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(access(1, "r1", upstream="r2"))
    assert find_requests(path, {"r2"}, since=START) == []


def test_the_search_stops_at_the_time_bound(tmp_path):
    path = tmp_path / "access.log"
    file = RotatingFile(path, max_bytes=2_000, keep=50)
    for number in range(300):
        file.write(access(10 * number, "mine" if number % 100 == 0 else f"r{number}"))
    file.close()
    rotated(path, 20).write_bytes(b"\xff not even text\n" * 3)
    found = find_requests(path, {"mine"}, since=at(10 * 150))
    assert [fields["time"] for fields in found] == [at(2000).isoformat()]


def test_the_newest_records_are_kept_where_there_are_too_many(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(b"".join(access(number, "r", path=f"/{number}") for number in range(10)))
    assert [found["path"] for found in find_requests(path, {"r"}, since=START, limit=3)] == ["/7", "/8", "/9"]


def test_a_torn_record_is_skipped(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(access(1, "r1") + b'{"request_id": "r1", "ti\n' + access(2, "r1")[:-5])
    assert len(find_requests(path, {"r1"}, since=START)) == 1


def test_a_record_without_ids_is_no_match(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(access(1, None, "c1") + line(2))
    assert len(find_requests(path, {"c1"}, since=START)) == 1
