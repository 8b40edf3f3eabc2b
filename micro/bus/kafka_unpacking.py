"""Records out of what the brokers send, whoever wrote them.

The driver takes a header's name for UTF-8 and gives up where it isn't, and with that the partition, for ever. Brokers don't
look at names. Here a name has U+FFFD for what is no UTF-8, as it has for Kafka's own clients.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import codec
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = struct.Struct(">qi")
"""Of a batch: its first offset, and the bytes that follow this."""
_HEAD = struct.Struct(">qiibIhiqqqhii")
"""Of a batch: the number of its records comes last (https://kafka.apache.org/documentation/#recordbatch)."""
_CODECS = {
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}


class Fetched(MemoryRecords):  # type: ignore[misc] # the driver has no types
    """What was fetched of a partition, batch by batch."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data = data
        self._at = 0

    def next_batch(self) -> _Batch | None:
        """The next batch, or nothing behind the last whole one. Raises `CorruptRecordException`."""
        batch = super().next_batch()
        if batch is None:
            return None
        start = self._at
        self._at += _PREFIX.size + _PREFIX.unpack_from(self._data, start)[1]
        return _Batch(batch, self._data, start)


class _Batch:
    """One of the driver's batches, unpacked by it, or here where it can't."""

    __slots__ = ("_batch", "_data", "_start")

    def __init__(self, batch: Any, data: bytes, start: int) -> None:
        self._batch = batch
        self._data = data
        self._start = start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        taken = 0
        try:
            for record in self._batch:
                yield record
                taken += 1
        except UnicodeDecodeError:
            yield from islice(self._unpack(), taken, None)

    def _unpack(self) -> Iterator[_Unpacked]:
        batch, start = self._batch, self._start
        _, size, *_, count = _HEAD.unpack_from(self._data, start)
        content = self._data[start + _HEAD.size : start + _PREFIX.size + size]
        decode = _CODECS.get(batch.compression_type)
        fields = _Fields(content if decode is None else decode(content))
        for _ in range(count):
            fields.number()  # its length
            fields.take(1)  # attributes, of which there are none
            timestamp = batch.first_timestamp + fields.number()
            offset = batch.base_offset + fields.number()
            key, value = fields.sized(), fields.sized()
            headers = [
                ((fields.sized() or b"").decode("utf-8", "replace"), fields.sized())
                for _ in range(fields.number())
            ]
            kind = batch.timestamp_type
            yield _Unpacked(offset, batch.max_timestamp if kind else timestamp, kind, key, value, headers)


class _Unpacked(NamedTuple):
    """A record with what the driver's have."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class _Fields:
    """The fields of records, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        self._at = 0

    def number(self) -> int:
        """The next one, of variable length."""
        found, self._at = decode_varint(self._data, self._at)
        return int(found)

    def take(self, size: int) -> bytes:
        """The next bytes."""
        start, self._at = self._at, self._at + size
        return bytes(self._data[start : self._at])

    def sized(self) -> bytes | None:
        """The next bytes behind their number; nothing for a negative one."""
        size = self.number()
        return None if size < 0 else self.take(size)
