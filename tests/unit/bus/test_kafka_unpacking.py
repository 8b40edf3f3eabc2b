"""Whatever brokers take, consumers read: names of headers that are no UTF-8 among it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from foreign import CODECS, NAME, in_latin

from micro.bus import kafka_member
from micro.bus.kafka_records import to_records
from micro.bus.kafka_unpacking import Fetched
from micro.bus.message import Partition

PLACE = TopicPartition("t", 0)


def batch(*records, first=0):
    """A batch of `(key, value, headers)`, as the driver packs it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
    for number, (key, value, headers) in enumerate(records):
        assert builder.append(number, 1000 + number, key, value, headers) is not None
    packed = bytearray(builder.build())
    packed[:8] = first.to_bytes(8)
    return bytes(packed)


def read(data, *, offset=0, unpacked=Fetched):
    """The records in what was fetched from `offset` on, as the driver's consumers hand them out."""
    return [*fetcher.PartitionRecords(PLACE, unpacked(data), None, offset, None, None, True, 0)]


def headers_of(records):
    return [each.headers for each in records]


PLAIN = [
    (b"k", b"first", []),
    (None, b"second", [("a", b"1"), ("\u00e9", None)]),
    (b"k", None, [("a", b"x" * 300)]),
]
FOREIGN = [(b"k", b"%d" % n, [("a", b"1"), (NAME, b"v"), ("b", None)] if n % 2 else []) for n in range(5)]


def test_the_drivers_consumers_unpack_in_this_way():
    assert kafka_member.fetcher is fetcher
    assert fetcher.MemoryRecords is Fetched


@pytest.mark.parametrize("packed", [None, *CODECS])
def test_a_name_that_is_no_utf8_is_replaced_where_it_is_not_and_all_else_is_as_it_was(packed):
    found = read(in_latin(batch(*FOREIGN), packed))
    plain = read(batch(*FOREIGN))
    replaced = [
        tuple((name.replace(NAME, "gr\ufffdsse"), value) for name, value in each.headers) for each in plain
    ]
    assert headers_of(found) == replaced
    assert [replace(each, headers=()) for each in found] == [replace(each, headers=()) for each in plain]


def test_what_the_driver_can_unpack_comes_from_the_driver():
    both = batch(*PLAIN) + batch(*FOREIGN, first=3)
    [*by_driver] = read(both, unpacked=Fetched.__base__)
    assert read(both) == by_driver
    assert len(by_driver) == 8


def test_batches_before_and_behind_are_untouched_and_a_part_of_one_is_left_for_the_next_fetch():
    behind = in_latin(batch(*FOREIGN, first=3), "gzip") + batch(*PLAIN, first=8)
    found = read(batch(*PLAIN) + behind + batch(*PLAIN, first=11)[:-1])
    assert [each.offset for each in found] == [*range(11)]
    assert [each.offset for each in read(behind, offset=5)] == [*range(5, 11)]


def test_the_time_is_the_logs_where_the_topic_wants_that():
    by_log = bytearray(batch(*FOREIGN))
    by_log[22] |= 8
    found = read(in_latin(bytes(by_log)))
    assert {each.timestamp for each in found} == {1004}
    assert {each.timestamp_type for each in found} == {1}


def test_a_record_without_key_value_or_header_values_is_told_as_ours():
    [record] = to_records(Partition("t", 0), read(in_latin(batch((None, None, [(NAME, None)])))))
    assert (record.message.key, record.message.value) == ("", b"")
    assert record.message.headers == (("gr\ufffdsse", b""),)


def test_a_batch_of_the_old_format_is_read_as_before():
    builder = LegacyRecordBatchBuilder(1, 0, 10_000)
    builder.append(0, timestamp=7, key=b"k", value=b"v")
    [record] = read(bytes(builder.build()))
    assert (record.key, record.value, record.timestamp) == (b"k", b"v", 7)


def test_nothing_at_all_is_no_batch():
    assert Fetched(b"").next_batch() is None
    assert read(b"") == []
