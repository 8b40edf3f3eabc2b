"""The memory bus's log and positions, kept in an SQLite file of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from micro.bus.message import Message, Partition, Record
from micro.bus.ports import Bounds, JournalState
from micro.store.sqlite_file import SqliteFile
from micro.store.sqlite_transaction import atomically

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SCHEMA = (
    """create table if not exists record (
        topic text not null, partition integer not null, offset integer not null,
        key text not null, value blob not null, headers text not null, timestamp real not null,
        primary key (topic, partition, offset)) strict, without rowid""",
    """create table if not exists tail (
        topic text not null, partition integer not null, next integer not null,
        primary key (topic, partition)) strict, without rowid""",
    """create table if not exists position (
        subscriber text not null, topic text not null, partition integer not null, offset integer not null,
        primary key (subscriber, topic, partition)) strict, without rowid""",
)

_APPEND = "insert into record (topic, partition, offset, key, value, headers, timestamp) values (?, ?, ?, ?, ?, ?, ?)"
_EXTEND = """insert into tail (topic, partition, next) values (?, ?, ?)
    on conflict do update set next = max(next, excluded.next)"""
_COMMIT = """insert into position (subscriber, topic, partition, offset) values (?, ?, ?, ?)
    on conflict do update set offset = excluded.offset"""
_READ = """select offset, key, value, headers, timestamp from record
    where topic = ? and partition = ? and offset >= ? and timestamp >= ? order by offset limit ?"""
_TRIM = """delete from record where topic = :topic and partition = :partition and offset < coalesce(
    (select offset from record where topic = :topic and partition = :partition and timestamp >= :since
     order by offset limit 1), :next)"""
_BOUNDS = """select topic, partition, next, (select min(offset) from record
    where record.topic = tail.topic and record.partition = tail.partition) as first from tail"""


class SqliteJournal:
    """`micro.bus.ports.Journal` in the file at `path`: one transaction and one crossing to its thread per call.

    Safe to call concurrently; calls take effect in the order they were made. Survives the end of the process, however
    it ends; the last moments before a power cut may be lost. Raises `StoreUnavailable`, else `StoreError`;
    `UniqueViolation` for an offset that was used before.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, readers=1)

    async def open(self) -> None:
        """Lock the file and connect. See `micro.store.sqlite_file.SqliteFile.open`."""
        await self._file.open()
        await self._file.write(atomically, _create)

    async def close(self) -> None:
        """Close the connections and give the lock back. Idempotent."""
        await self._file.close()

    async def append(self, records: Sequence[Record]) -> None:
        """See `micro.bus.ports.Journal.append`."""
        rows = [
            (*record.partition, record.offset, message.key, message.value, _pack(message), record.timestamp)
            for record in records
            for message in (record.message,)
        ]
        ends = [(*record.partition, record.offset + 1) for record in records]
        await self._file.write(atomically, _run_many, (_APPEND, rows), (_EXTEND, ends))

    async def read(
        self, partition: Partition, offset: int, limit: int, *, since: float = 0.0
    ) -> list[Record]:
        """See `micro.bus.ports.Journal.read`."""
        rows = await self._file.read(_fetch, _READ, (*partition, offset, since, limit))
        return [
            Record(partition, at, Message(partition.topic, key, value, _unpack(headers)), timestamp)
            for at, key, value, headers, timestamp in rows
        ]

    async def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """See `micro.bus.ports.Journal.commit`."""
        rows = [(group, *partition, offset) for partition, offset in positions.items()]
        await self._file.write(atomically, _run_many, (_COMMIT, rows))

    async def load(self, *, keep_since: float) -> JournalState:
        """See `micro.bus.ports.Journal.load`. A record that is newer keeps those after it in its partition."""
        return await self._file.write(atomically, _trim_and_load, keep_since)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)


def _run_many(connection: sqlite3.Connection, *work: tuple[str, list[tuple[Any, ...]]]) -> None:
    for sql, rows in work:
        connection.executemany(sql, rows)


def _fetch(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
    return connection.execute(sql, parameters).fetchall()


def _trim_and_load(connection: sqlite3.Connection, since: float) -> JournalState:
    for topic, partition, end in connection.execute("select topic, partition, next from tail").fetchall():
        connection.execute(_TRIM, {"topic": topic, "partition": partition, "next": end, "since": since})
    bounds = {
        Partition(topic, number): Bounds(end if first is None else first, end)
        for topic, number, end, first in connection.execute(_BOUNDS).fetchall()
    }
    positions: dict[str, dict[Partition, int]] = {}
    for subscriber, topic, number, offset in connection.execute(
        "select subscriber, topic, partition, offset from position"
    ).fetchall():
        positions.setdefault(subscriber, {})[Partition(topic, number)] = offset
    return JournalState(bounds=bounds, positions=positions)


def _pack(message: Message) -> str:
    """The headers as JSON; Latin-1 keeps every byte."""
    return json.dumps([(name, value.decode("latin-1")) for name, value in message.headers])


def _unpack(headers: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode("latin-1")) for name, value in json.loads(headers))
